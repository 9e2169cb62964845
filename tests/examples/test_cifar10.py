"""The example with another data set, on files in the format of CIFAR-10."""

import collections
import io
import runpy
import sys

import keras
import numpy as np
import pytest

from tests.test_examples import EXAMPLES

PROGRAM = str(EXAMPLES / "cifar10.py")


@pytest.fixture
def example():
    return runpy.run_path(PROGRAM)


@pytest.fixture
def files(example, tmp_path):
    """(directory in the format of CIFAR-10, its examples as {file: `Examples`})."""
    directory = tmp_path / "files"
    directory.mkdir()
    counts = {"data_batch_1": 120, "data_batch_2": 80, "test_batch": 50}
    stored = {}
    for seed, (name, count) in enumerate(counts.items()):
        stored[name] = found = example["draw"](count, seed=seed)
        planes = found.images.transpose(0, 3, 1, 2).reshape(count, -1)
        np.concatenate([found.labels[:, np.newaxis], planes], 1).tofile(directory / f"{name}.bin")
    return directory, stored


def test_the_files_of_cifar_10_are_read(example, files, capsys):
    directory, stored = files
    train, test = example["load"](directory)
    expected = [stored["data_batch_1"].images, stored["data_batch_2"].images]
    np.testing.assert_array_equal(train.images, np.concatenate(expected))
    np.testing.assert_array_equal(test.images, stored["test_batch"].images)
    np.testing.assert_array_equal(test.labels, stored["test_batch"].labels)
    assert train.description == test.description == example["CIFAR10"]
    assert capsys.readouterr().out == ""


def test_a_directory_that_stdout_cannot_encode_is_escaped(example, tmp_path, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    example["load"](tmp_path / "数字")
    assert stdout.buffer.getvalue().startswith(rf"{tmp_path}/\u6570\u5b57 does not".encode())


def test_without_the_files_it_says_it_draws_shapes(example, tmp_path, capsys):
    train, _ = example["load"](tmp_path)
    assert train.description == example["SHAPES"]
    assert capsys.readouterr().out == (
        f"{tmp_path} does not contain the files of CIFAR-10: coloured shapes are used instead.\n"
    )


@pytest.mark.slow
def test_every_picture_is_shown_with_class_names(
    example, files, tmp_path, monkeypatch, capsys, summaries_of
):
    keras.utils.set_random_seed(0)
    logdir, names = tmp_path / "logs", example["CIFAR10"].names
    arguments = [f"--data_dir={files[0]}", f"--logdir={logdir}", "--epochs=1"]
    monkeypatch.setattr(sys, "argv", [PROGRAM, *arguments])
    runpy.run_path(PROGRAM, run_name="__main__")
    *_, score, first, _, _, _, _ = capsys.readouterr().out.splitlines()
    assert score.startswith("test accuracy: ")
    truth, _, guess = first.partition(": read as ")
    assert {truth, guess.rpartition(" (")[0]} <= set(names)
    found = summaries_of(logdir)
    kinds = collections.Counter(tag.partition("/")[0] for tag in found)
    assert kinds.pop("precision") > 0
    assert kinds == {
        "__run_graph__": 1,
        "mistakes": 1,
        "confusion_matrix": 1,
        "input_sample": 1,
        "first_layer_weights": 1,
        "recall": 10,
        "pr_curve": 10,
        "weights": 8,
        "gradients": 8,
    }
    assert {f"recall/{name}" for name in names} <= found.keys()
    labels = next(logdir.rglob("labels.tsv")).read_text().splitlines()
    assert {label.partition("\t")[0] for label in labels[1:]} == set(names)
