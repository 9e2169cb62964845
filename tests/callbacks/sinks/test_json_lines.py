import doctest
import json
import math

import pandas
import pytest

from mnist_keras.callbacks.sinks import JsonLinesSink, json_lines


def write(sink, rows, *, begins=0):
    sink.begin(begins)
    for step, values in rows:
        sink.write(step, values)
    sink.close()


def test_json_lines_are_standard_json_that_pandas_reads_as_numbers(tmp_path):
    def refuse(constant):
        raise ValueError(constant)

    sink = JsonLinesSink(tmp_path / "steps.jsonl")
    write(sink, [(0, {"loss": 1.5}), (1, {"loss": math.nan}), (2, {"loss": math.inf})])
    for line in sink.path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    losses = pandas.read_json(sink.path, lines=True)["loss"].tolist()
    assert losses == [1.5, pytest.approx(math.nan, nan_ok=True), math.inf]


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        f'{{"step": 1, "loss": {"1" * 400}}}',
        f'{{"step": {2**63}, "loss": 1}}',
        '{"step": 1.0, "loss": 1}',
    ],
    ids=["nested", "value of 400 digits", "large step", "step with a fraction"],
)
def test_a_damaged_line_ends_what_is_read(line, tmp_path):
    (tmp_path / "steps.jsonl").write_text(f'{{"step": 0, "loss": 2}}\n{line}\n')
    assert json_lines.read_rows(tmp_path / "steps.jsonl") == [(0, {"loss": 2.0})]


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(json_lines).failed == 0
