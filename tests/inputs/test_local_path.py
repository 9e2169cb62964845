import doctest
import pathlib

import keras
import numpy as np
import pytest

from mnist_keras import callbacks
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.callbacks import sinks
from mnist_keras.callbacks.sinks import json_lines
from mnist_keras.callbacks.tensorboard.event_log import read_scalars
from mnist_keras.data import Examples, load, map_idx, read_idx, write_idx, write_shards
from mnist_keras.errors import UsageError
from mnist_keras.inputs import directory_watch, local_path
from mnist_keras.inputs.directory_watch import DirectoryWatch
from mnist_keras.photos.reading import read

URL = "gs://bucket/logs"


def some():
    return Examples(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))


def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


TAKES_A_PATH = {
    "StepLogger": callbacks.StepLogger,
    "EventCallback": callbacks.EventCallback,
    "HParams": lambda path: callbacks.HParams(path, {}),
    "Profiler": lambda path: callbacks.Profiler(path, first=0, last=1),
    "LearningRateFinder": callbacks.LearningRateFinder,
    "Checkpoint": callbacks.Checkpoint,
    "start_from": lambda path: callbacks.Checkpoint("own", start_from=path),
    "load_weights": lambda path: callbacks.load_weights(network(), path),
    "CsvSink": sinks.CsvSink,
    "JsonLinesSink": sinks.JsonLinesSink,
    "MlflowSink": sinks.MlflowSink,
    "read_rows": json_lines.read_rows,
    "read_scalars": lambda path: read_scalars(path, "train"),
    "data_dir": lambda path: load("mnist", data_dir=path),
    "cache_dir": lambda path: load("synthetic", cache_dir=path),
    "read_idx": read_idx,
    "map_idx": map_idx,
    "write_idx": lambda path: write_idx(path, np.arange(3)),
    "write_shards": lambda path: write_shards(path, some(), count=1),
    "a photo": read,
    "RunDirectory": RunDirectory,
    "RunConfig": lambda path: RunConfig(logdir=str(path)),
}


@pytest.mark.parametrize("kind", [str, pathlib.Path])
@pytest.mark.parametrize("name", TAKES_A_PATH)
def test_whatever_takes_a_path_refuses_a_url(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^a path is a URL\. Received: .*gs:.*bucket/logs\. Exp"):
        TAKES_A_PATH[name](kind(URL))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["s3://a", "hdfs://a/b", "HTTPS://a/b", "gs:/a", "file://host/a"])
def test_a_url_of_another_place_is_refused(url):
    with pytest.raises(UsageError) as caught:
        local_path.local_path(url)
    assert str(caught.value) == (
        f"a path is a URL. Received: {url}. Expected: a path of this machine."
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file:/a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("file:///a%20b/%E6%95%B0", "/a b/数"),
        (pathlib.Path("file:///a"), "/a"),
    ],
)
def test_a_file_url_is_its_path(url, path):
    assert local_path.local_path(url) == path


@pytest.mark.parametrize(
    "path",
    ["logs", "/logs", "a:b", "run:", "run:/", "./gs://a", "c:/logs", "10:30:/a", "数://a", ""],
)
def test_every_other_path_stays_as_it_is(path):
    assert local_path.local_path(path) is path


@pytest.mark.parametrize("end", ["removed", "replaced", "moved"])
def test_a_directory_that_is_gone_is_noticed(end, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    watch = DirectoryWatch(directory)
    assert not watch.is_gone()
    directory.rename(tmp_path / "moved") if end == "moved" else directory.rmdir()
    if end == "replaced":
        directory.mkdir()
    assert watch.is_gone()
    watch.close()


def test_a_directory_that_cannot_be_opened_is_not_watched(tmp_path):
    assert not DirectoryWatch(tmp_path / "none").is_gone()


@pytest.mark.parametrize("module", [local_path, directory_watch])
def test_the_examples_in_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0
