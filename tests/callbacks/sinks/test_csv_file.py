import csv
import doctest

import pandas

from mnist_keras.callbacks.sinks import CsvSink, csv_file

NAMES = ["a,b", 'a "quoted" one', "loss (epoch mean)", "learning_rate/d", "Verlust ß", "two\nlines"]


def write(sink, rows, *, begins=0):
    sink.begin(begins)
    for step, values in rows:
        sink.write(step, values)
    sink.close()


def test_any_name_keeps_a_csv_file_valid(tmp_path):
    sink = CsvSink(tmp_path / "steps.csv")
    for begins in (0, 5):  # The second time the lines are read.
        write(sink, [(begins, dict.fromkeys(NAMES, 1.0))], begins=begins)
    with open(sink.path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "name", "value"]
    names = [name.replace("\n", " ") for name in NAMES]
    assert rows == [[step, name, "1.0"] for step in "05" for name in names]


def test_a_csv_file_becomes_a_column_for_each_name(tmp_path):
    sink = CsvSink(tmp_path / "steps.csv")
    rows = [(0, {"loss": 4.0}), (2, {"loss": 2.0}), (2, {"epoch_loss": 3.0})]
    write(sink, rows)
    frame = pandas.read_csv(sink.path).pivot(index="step", columns="name", values="value")
    assert frame["loss"].dropna().to_dict() == {0: 4.0, 2: 2.0}


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(csv_file).failed == 0
