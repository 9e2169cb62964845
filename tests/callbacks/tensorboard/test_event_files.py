import doctest
import os

from mnist_keras.callbacks.tensorboard import event_files
from mnist_keras.callbacks.tensorboard.event_log import EventLog


def write(logdir, *subdirectories):
    log = EventLog(logdir, step=0)
    for subdirectory in subdirectories:
        log.scalar(subdirectory, "loss", 0.5, 0)
    log.close()


def test_a_runs_files_are_not_those_of_runs_below_it(tmp_path):
    write(tmp_path, ".", "train")
    write(tmp_path / "another", ".", "train")
    write(tmp_path / "earlier-12", ".")
    (tmp_path / "train" / "events.out.tfevents.1.host.1.0.v2").touch()
    found = event_files.files_of_run(tmp_path)
    assert [path.parent for path in found] == [tmp_path, tmp_path / "train"]
    assert all(path.name.endswith(".mnist_keras") for path in found)


def test_a_named_pipe_is_not_an_event_file(tmp_path):
    write(tmp_path, "train")
    os.mkfifo(tmp_path / "train" / "events.out.tfevents.1.host.1.mnist_keras")
    [path] = event_files.files_of_run(tmp_path)
    tags = [event_files.tags_of(event) for *_, event in event_files.events_in(path)]
    assert {"loss"} in tags


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(event_files).failed == 0
