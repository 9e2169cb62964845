import doctest

import keras

from mnist_keras.callbacks.tensorboard import run_text
from mnist_keras.callbacks.tensorboard.run_text import RunText


def texts_in(summaries):
    assert {p for values in summaries.values() for p, _ in values.values()} == {"text"}
    return {
        tag: {step: array.item().decode() for step, (_, array) in values.items()}
        for tag, values in summaries.items()
    }


def test_recipe_versions_machine_and_command_are_written_once(
    make_model, stream, tmp_path, summaries_of
):
    model, first = (
        make_model(),
        RunText(tmp_path, {"epochs": 2}, command=["python", "main.py", "a b"]),
    )
    model.fit(stream, epochs=2, verbose=0, callbacks=[first])
    model.fit(stream, epochs=3, initial_epoch=2, verbose=0, callbacks=[RunText(tmp_path, {"x": 0})])
    texts = texts_in(summaries_of(tmp_path))
    assert {tag: list(values) for tag, values in texts.items()} == {
        "recipe": [0],
        "versions": [0],
        "machine": [0],
        "command": [0],
    }
    assert texts["recipe"][0] == "| | |\n| --- | --- |\n| epochs | 2 |"
    assert texts["command"][0] == "    python main.py 'a b'\n"
    assert f"| Keras | {keras.__version__} |" in texts["versions"][0].splitlines()
    assert "CPU:0" in texts["machine"][0]


def test_all_kinds_of_values_stay_within_their_cells():
    table = run_text.table({"none": None, "list": [1, "a|b"], "text": "two\nlines", "": {}})
    assert table.splitlines() == [
        "| | |",
        "| --- | --- |",
        "| none | None |",
        "| list | [1, 'a&#124;b'] |",
        "| text | two lines |",
        "|  | {} |",
    ]


def test_the_example_is_true():
    assert doctest.testmod(run_text).failed == 0
