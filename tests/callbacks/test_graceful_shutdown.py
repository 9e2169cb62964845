import doctest
import math
import signal
import sys
import threading

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import (
    Checkpoint,
    GracefulShutdown,
    Interrupted,
    StepLogger,
    graceful_shutdown,
)
from mnist_keras.callbacks.checkpoint import CheckpointError
from mnist_keras.checkpoint.storage import Disk
from mnist_keras.console import exit_signals
from tests import forks

SIGNALS = list(exit_signals.SIGNALS)
DEFAULT = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Signal(keras.callbacks.Callback):
    """Sends this process a signal during a step, or at the end of an epoch or of the training."""

    def __init__(self, *, step=None, epoch=None, at_end=False, signum=signal.SIGTERM):
        super().__init__()
        self._step, self._epoch, self._at_end, self._signum = step, epoch, at_end, signum
        self._seen = 0
        self._sent = threading.Event()  # No checkpoint sets it back.

    def on_train_batch_end(self, batch, logs=None):
        self._seen = getattr(self.model, "steps_trained", self._seen + 1)
        if self._step is not None and self._seen >= self._step and not self._sent.is_set():
            self._sent.set()
            signal.raise_signal(self._signum)

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            signal.raise_signal(self._signum)

    def on_train_end(self, logs=None):
        if self._at_end:
            signal.raise_signal(self._signum)


@pytest.fixture
def former():
    """The program's signal handlers, which have to be restored."""
    before = {s: signal.getsignal(s) for s in SIGNALS}
    own = {s: lambda signum, frame: None for s in SIGNALS}
    for signum, handler in own.items():
        signal.signal(signum, handler)
    yield own
    for signum, handler in before.items():
        signal.signal(signum, handler)


def handlers():
    return {s: signal.getsignal(s) for s in SIGNALS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "when", "steps_per_execution", "boundary"),
    [
        (signal.SIGINT, {"step": 5}, 1, 5),
        (signal.SIGTERM, {"step": 5}, 1, 5),
        (signal.SIGHUP, {"step": 5}, 1, 5),
        (signal.SIGTERM, {"step": 5}, 4, 7),
        (signal.SIGTERM, {"epoch": 0}, 1, 7),
    ],
)
def test_a_signal_saves_and_ends_training_at_a_batch_boundary(
    signum, when, steps_per_execution, boundary, make_model, stream, tmp_path, steps_in, former
):
    model = make_model(steps_per_execution=steps_per_execution)
    callbacks = [
        GracefulShutdown(),  # It runs after the others at any position in the list.
        Signal(**when, signum=signum),
        Checkpoint(tmp_path, every_steps=100),
    ]
    with pytest.raises(Interrupted) as stopped:
        model.fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert (stopped.value.signum, stopped.value.code) == (signum, 128 + signum)
    assert str(stopped.value) == (
        f"{signal.Signals(signum).name} stopped training between two steps; "
        "a TapeModel with a Checkpoint can resume from there."
    )
    assert model.steps_trained == boundary
    assert steps_in(tmp_path) == [boundary]
    assert handlers() == former


# The signal that stops each session except the last.
CHAINS = {
    "amid epochs and at their ends": [{"step": 2}, {"epoch": 0}, {"step": 9}, {"step": 13}],
    "at the last batch of an epoch": [{"step": 7}, {"step": 14}],
}


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_interrupted_sessions_together_equal_one_run(
    chain, model_of_a_session, stream, tmp_path, points_of, capsys
):
    def fit(directory, *others):
        begins = not list(directory.glob("checkpoints/*"))
        model = model_of_a_session(begins=begins, steps_per_execution=1)
        callbacks = [
            StepLogger(directory, every_steps=3),
            Checkpoint(directory / "checkpoints", every_steps=100),
            GracefulShutdown(),
            *others,
        ]
        history = model.fit(stream, epochs=3, verbose=0, callbacks=callbacks).history
        return history, model.get_weights()

    expected, expected_weights = fit(tmp_path / "whole")
    expected_printed = capsys.readouterr().out
    for where in CHAINS[chain]:
        with pytest.raises(Interrupted):
            fit(tmp_path / "resumed", Signal(**where))
    history, weights = fit(tmp_path / "resumed")

    assert history == expected
    for found, array in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(found, array)
    assert capsys.readouterr().out == expected_printed
    found, points = points_of(tmp_path / "resumed/train"), points_of(tmp_path / "whole/train")
    del found["examples_per_second"], points["examples_per_second"]
    assert found == points


@pytest.mark.slow
def test_a_plain_keras_model_is_stopped_and_saved_as_well(
    make_plain, stream, tmp_path, steps_in, former
):
    model = make_plain()
    callbacks = [Signal(step=9), Checkpoint(tmp_path, every_steps=100), GracefulShutdown()]
    with pytest.raises(Interrupted):
        model.fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert steps_in(tmp_path) == [9]
    assert handlers() == former
    callbacks[1].close()


@pytest.mark.slow
@pytest.mark.parametrize("make", ["make_model", "make_plain"])
def test_a_signal_after_the_last_boundary_is_not_lost(make, request, stream, former):
    model = request.getfixturevalue(make)()
    with pytest.raises(Interrupted):
        model.fit(stream, verbose=0, callbacks=[Signal(at_end=True), GracefulShutdown()])
    assert handlers() == former


@pytest.mark.slow
def test_without_a_signal_training_ends_normally_and_restores_handlers(make_model, stream, former):
    seen = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(handlers()))
    model, callback = make_model(), GracefulShutdown()
    for _ in range(2):
        model.fit(stream, verbose=0, callbacks=[look, callback])
        assert handlers() == former
    handled = dict.fromkeys(DEFAULT, callback._handle)
    assert seen == [{**former, **handled}] * 2


@pytest.mark.slow
def test_only_the_requested_signals_are_handled(make_model, stream, former):
    seen = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(handlers()))
    callback = GracefulShutdown(signals=[signal.SIGTERM])
    make_model().fit(stream, verbose=0, callbacks=[look, callback])
    assert seen == [{**former, signal.SIGTERM: callback._handle}]


@pytest.mark.slow
def test_an_exception_restores_the_handlers(make_model, make_plain, stream, crash, former):
    def fail(batch, logs):
        raise RuntimeError("crash")

    failing = keras.callbacks.LambdaCallback(on_train_batch_end=fail)
    with pytest.raises(RuntimeError, match="crash"):
        make_model().fit(stream, verbose=0, callbacks=[GracefulShutdown(), failing])
    assert handlers() == former
    with pytest.raises(RuntimeError, match="crash"), GracefulShutdown() as shutdown:
        make_plain().fit(stream, verbose=0, callbacks=[shutdown, failing])
    assert handlers() == former


@pytest.mark.slow
def test_a_failed_checkpoint_is_reported_and_handlers_are_restored(
    make_model, make_plain, stream, tmp_path, former
):
    class Full(Disk):
        def write(self, path, data):
            raise OSError(28, "No space left on device")

    for model in (make_model(), make_plain()):
        checkpoint = Checkpoint(tmp_path, disk=Full(), notice=lambda line: None)
        with pytest.raises(CheckpointError, match="No space left on device"):
            model.fit(stream, verbose=0, callbacks=[Signal(step=3), checkpoint, GracefulShutdown()])
        assert handlers() == former
        checkpoint.close()


@pytest.mark.slow
def test_outside_the_main_thread_it_does_nothing(make_model, stream, former):
    outcome, seen = [], []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(handlers()))
    model = make_model()

    def fit():
        history = model.fit(stream, verbose=0, callbacks=[look, GracefulShutdown()])
        outcome.append(history.epoch)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert outcome == [[0]]
    assert seen == [former]


def test_ignored_signals_stay_ignored(former):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shutdown = GracefulShutdown()
    shutdown.on_train_begin()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == shutdown._handle
    shutdown.close()
    assert handlers() == {**former, signal.SIGINT: signal.SIG_IGN}


@pytest.mark.slow
def test_signals_within_a_second_count_as_one(make_model, stream, tmp_path, steps_in, former):
    burst = [Signal(step=5, signum=signum) for signum in (*DEFAULT, signal.SIGTERM)]
    callbacks = [GracefulShutdown(), *burst, Checkpoint(tmp_path, every_steps=100)]
    with pytest.raises(Interrupted) as stopped:
        make_model().fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert stopped.value.signum == signal.SIGINT
    assert steps_in(tmp_path) == [5]


def test_the_rest_of_a_burst_does_not_disturb_the_end(former, monkeypatch):
    monkeypatch.setattr(exit_signals, "_received", 0)
    exit_signals.exit_at_signals()
    shutdown = GracefulShutdown()
    shutdown.on_train_begin()
    signal.raise_signal(signal.SIGTERM)
    shutdown.close()
    signal.raise_signal(signal.SIGTERM)
    assert exit_signals.received() == 0
    exit_signals.ignore_the_rest()
    assert handlers() == dict.fromkeys(SIGNALS, signal.SIG_IGN)


SECOND_SIGNAL = """
import os, signal
from mnist_keras.callbacks import GracefulShutdown
for signum in (signal.SIGINT, signal.SIGTERM):
    child = os.fork()
    if child == 0:
        GracefulShutdown(clock=iter([0.0, 5.0, 6.0]).__next__).on_train_begin()
        signal.raise_signal(signum)
        print("noted", flush=True)
        signal.raise_signal(signum)
        print("never printed", flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_a_signal_a_second_later_ends_the_process_at_once():
    program = [sys.executable, "-c", SECOND_SIGNAL]
    done = forks.run(program)
    assert done.stdout == f"noted\n{-signal.SIGINT}\nnoted\n{-signal.SIGTERM}\n", done.stderr


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(graceful_shutdown).failed == 0


class LosesExceptions:
    """Its end loses the exception of a signal's handler, as code in C may do."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_lost_before_training_ends_its_first_step(
    make_model, stream, tmp_path, steps_in, former, monkeypatch
):
    monkeypatch.setattr(exit_signals, "_received", 0)
    monkeypatch.setattr(exit_signals, "_handled_at_s", -math.inf)
    exit_signals.exit_at_signals()
    with pytest.raises(SystemExit) as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 143
    monkeypatch.setattr(exit_signals, "_received", 0)
    monkeypatch.setattr(exit_signals, "_handled_at_s", -math.inf)
    LosesExceptions()
    callbacks = [Checkpoint(tmp_path, every_steps=100), GracefulShutdown()]
    with pytest.raises(Interrupted) as interrupted:
        make_model().fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert interrupted.value.code == 143
    assert steps_in(tmp_path) == [1]
