import gc
import sys

import pytest

from mnist_keras.callbacks.tensorboard import shared_log
from mnist_keras.callbacks.tensorboard.directory_lock import DirectoryLock
from mnist_keras.callbacks.tensorboard.event_files import files_of_run
from mnist_keras.errors import UsageError
from tests import forks
from tests.callbacks.processes import can_lock, process
from tests.command_line import environment


def steps(points_of, directory):
    return list(points_of(directory)["loss"])


def test_callbacks_share_one_log_and_the_last_closes_it(tmp_path, points_of):
    first, second = shared_log.join(tmp_path), shared_log.join(tmp_path / "." / "")
    assert first is second
    log = first.begin(step=0)
    assert second.begin(step=0) is log
    for step in range(3):
        log.scalar("train", "loss", step, step)
    first.leave()
    log.scalar("train", "loss", 3, 3)
    second.leave()
    assert steps(points_of, tmp_path / "train") == [0, 1, 2, 3]
    assert len(list((tmp_path / "train").iterdir())) == 1


def test_a_fit_after_an_interrupted_one_has_a_new_log(tmp_path, points_of):
    broken_off = shared_log.join(tmp_path)
    log = broken_off.begin(step=0)
    for step in range(3):
        log.scalar("train", "loss", step, step)
    again = shared_log.join(tmp_path)
    assert again is not broken_off
    again.begin(step=2).scalar("train", "loss", 2, 2)
    broken_off.leave()
    again.leave()
    assert steps(points_of, tmp_path / "train") == [0, 1, 2]


def test_a_log_never_opened_leaves_no_files(tmp_path):
    shared_log.join(tmp_path).leave()
    assert list(tmp_path.iterdir()) == []


def test_each_directory_has_its_log_and_unused_logs_are_freed(tmp_path):
    logs = [shared_log.join(tmp_path / name) for name in "ab"]
    assert logs[0] is not logs[1]
    del logs
    gc.collect()
    assert not [path for path in shared_log._LOGS if path.startswith(str(tmp_path))]


def test_a_failed_fit_locks_out_only_other_programs(tmp_path):
    broken_off = shared_log.join(tmp_path)
    broken_off.begin(step=0)
    again = shared_log.join(tmp_path)
    again.begin(step=0)
    broken_off.leave()
    del broken_off
    gc.collect()
    assert "another program" in can_lock(tmp_path)
    again.leave()
    assert can_lock(tmp_path) == "True"
    third = shared_log.join(tmp_path)
    assert third.lock.is_held
    third.leave()
    assert not third.lock.is_held


def test_a_program_may_change_its_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = shared_log.join("logs")
    monkeypatch.chdir("/")
    log.leave()
    assert not log.lock.is_held
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_forked_process_is_another_program(tmp_path):
    log = shared_log.join(tmp_path)

    def join():
        try:
            return shared_log.join(tmp_path)
        except UsageError as error:
            return error

    with process(join) as (_, answer):
        assert "another program" in answer
    log.leave()


def test_a_log_that_is_dropped_unclosed_unlocks_the_directory(tmp_path):
    log = shared_log.join(tmp_path)
    log.begin(step=0)
    del log
    gc.collect()
    lock = DirectoryLock(tmp_path)
    assert lock.is_held
    lock.release()


def test_curves_of_two_fits_in_threads_are_both_kept(tmp_path, points_of):
    first = shared_log.join(tmp_path)
    log = first.begin(step=0)
    log.scalar("train", "loss", 1.0, 0)
    second = shared_log.join(tmp_path)
    second.begin(step=0).scalar("train", "loss", 2.0, 0)
    log.scalar("train", "loss", 1.0, 1)
    first.leave()
    second.leave()
    assert points_of(tmp_path / "earlier-1" / "train") == {"loss": {0: 1.0, 1: 1.0}}
    assert points_of(tmp_path / "train") == {"loss": {0: 2.0}}


PROGRAM = """\
import keras, numpy as np, sys
from mnist_keras import TapeModel
from mnist_keras.callbacks import StepLogger
model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
model.compile(optimizer="sgd", loss="mse")
model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[StepLogger(sys.argv[1])])
"""


@pytest.mark.slow
def test_a_second_program_ends_before_its_first_step(tmp_path):
    log = shared_log.join(tmp_path)
    log.begin(step=0).scalar("train", "loss", 1.0, 0)
    before = {path: path.read_bytes() for path in files_of_run(tmp_path)}
    done = forks.run(
        [sys.executable, "-c", PROGRAM, tmp_path], env=environment(TF_CPP_MIN_LOG_LEVEL="3")
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert (
        f"UsageError: another program is writing TensorBoard files there. Received: {tmp_path}"
        in (done.stderr.splitlines()[-1])
    )
    assert {path: path.read_bytes() for path in files_of_run(tmp_path)} == before
    log.leave()
