import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint.training_state import Position
from mnist_keras.data import batches
from mnist_keras.model.callback_list import FitCallbacks
from mnist_keras.model.multi_step import MultiStepFunction
from mnist_keras.model.pace import Pace


class Recorder(StepCallback):
    """Records its calls; asks for stops and records at some steps."""

    def __init__(self, *, stops=(), records=(), order=None, name="", closed=None, journal=None):
        super().__init__()
        self.journal = [] if journal is None else journal
        self._name, self._closed = name, closed
        self._stops, self._records = set(stops), set(records)
        if order is not None:
            self.priority = order

    def breaks_execution_at(self, step):
        return step in self._stops

    def needs_gradient_norm(self, step):
        return step in self._records

    def on_train_batch_begin(self, batch, logs=None):
        self.journal.append(f"{self._name}begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.journal.append(f"{self._name}end {batch}")

    def close(self):
        if self._closed is not None:
            self._closed.append(self._name)


class Steps:
    """A model reduced to its step counter; it records the runs of its steps."""

    def cuts_arrays(self, phase):
        return False

    def __init__(self, *, steps_per_execution, steps_in_data=10**9, chooses_steps=False):
        self.steps_per_execution = steps_per_execution
        self.chooses_steps = chooses_steps
        self.steps_trained = 0
        self.stop_training = False
        self.train_function = MultiStepFunction.__new__(MultiStepFunction)
        self.train_function.fingerprints = self.train_function.examples = None
        self.distribute_strategy = tf.distribute.get_strategy()
        self.ran = []
        self._left = steps_in_data

    def run(self, iterator, begin, end, *, due, prints, stream):
        count = min(end - begin, self._left)
        self._left -= count
        self.ran.append((begin, begin + count, due[:count]))
        self.steps_trained += count
        return count, {"loss": float(begin)}

    def get_metrics_result(self):
        return {"loss": "so far"}

    def epoch(self, callbacks, *, steps):
        """One epoch as Keras runs it; the logs of its last execution."""
        callbacks.steps_per_epoch = steps
        logs = None
        callbacks.on_epoch_begin(0)
        for begin in range(0, steps, self.steps_per_execution):
            callbacks.on_train_batch_begin(begin)
            logs = callbacks.run_window(iter(()), self.run)
            callbacks.on_train_batch_end(begin + self.steps_per_execution - 1, logs)
        callbacks.on_epoch_end(0, {})
        return logs


class Slow(Steps):
    """Each step takes a given number of seconds of its clock."""

    def __init__(self, *, seconds, **arguments):
        super().__init__(**arguments)
        self._seconds, self.now = seconds, 0.0

    def run(self, iterator, begin, end, **arguments):
        self.now += self._seconds * (end - begin)
        return super().run(iterator, begin, end, **arguments)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.001, [(0, 1), (1, 100), (100, 200), (200, 250)]),
        (0.009, [(0, 1), (1, 56), (56, 100), (100, 155), (155, 200), (200, 250)]),
        (60.0, [(step, step + 1) for step in range(250)]),
    ],
)
def test_with_automatic_steps_callbacks_are_called_twice_a_second(seconds, expected, monkeypatch):
    model = Slow(seconds=seconds, steps_per_execution=100, chooses_steps=True)
    monkeypatch.setattr(
        "mnist_keras.model.callback_list.Pace", functools.partial(Pace, clock=lambda: model.now)
    )
    model.epoch(fit_callbacks(model), steps=250)
    assert [(begin, end) for begin, end, _ in model.ran] == expected


def fit_callbacks(model, *callbacks, stream=None):
    callbacks = FitCallbacks(model, list(callbacks), stream=stream, verbose=0, epochs=2)
    callbacks.on_train_begin()
    return callbacks


@given(
    steps=st.integers(1, 40),
    steps_per_execution=st.integers(1, 50),
    trained=st.integers(0, 100),
    stops=st.lists(st.sets(st.integers(0, 200)), min_size=1, max_size=2),
    records=st.sets(st.integers(0, 200)),
)
def test_executions_are_split_only_where_a_callback_asks(
    steps, steps_per_execution, trained, stops, records
):
    model = Steps(steps_per_execution=steps_per_execution)
    model.steps_trained = trained
    askers = [Recorder(stops=asked, records=records) for asked in stops]
    model.epoch(fit_callbacks(model, *askers, keras.callbacks.Callback()), steps=steps)

    asked = {step - trained for step in set().union(*stops)}
    windows = set(range(0, steps, steps_per_execution)) | {steps}
    ends = sorted((windows | asked) & set(range(1, steps + 1)))
    assert [(begin, end) for begin, end, _ in model.ran] == [*zip([0, *ends], ends, strict=False)]
    due = [flag for *_, flags in model.ran for flag in flags]
    assert due == [step + trained in records for step in range(steps)]
    calls = []
    for begin, end in zip([0, *ends], ends, strict=False):
        calls += [f"begin {begin}", f"end {end - 1}"]
    assert [asker.journal for asker in askers] == [calls] * len(askers)


@pytest.mark.parametrize("steps_per_execution", [1, 3, 5, 7, 100])
@pytest.mark.parametrize("done", [0, 1, 3, 5, 6])
def test_steps_before_an_interruption_are_skipped_without_callbacks(done, steps_per_execution):
    class Resumed(Recorder):
        def resume_position(self, callbacks):
            return Position(step=100 + done, epoch=4, step_in_epoch=done)

    model, resumed = Steps(steps_per_execution=steps_per_execution), Resumed()
    callbacks = fit_callbacks(model, resumed)
    assert callbacks.resume(initial_epoch=0) == 4
    callbacks.steps_per_epoch = 7
    for begin in range(0, 7, steps_per_execution):
        callbacks.on_train_batch_begin(begin)
        callbacks.run_window(iter(()), model.run)
    assert [step for begin, end, _ in model.ran for step in range(begin, end)] == [*range(done, 7)]
    assert resumed.journal[0] == f"begin {done}"

    # The next epoch is complete.
    model.ran.clear()
    callbacks.on_epoch_end(4, {})
    model.epoch(callbacks, steps=7)
    assert [step for begin, end, _ in model.ran for step in range(begin, end)] == [*range(7)]


def test_without_a_checkpoint_training_starts_at_initial_epoch():
    class Fresh(StepCallback):
        def resume_position(self, callbacks):
            asked.append(callbacks)

    asked = []
    callbacks = fit_callbacks(Steps(steps_per_execution=1), Fresh(), Fresh())
    assert callbacks.resume(initial_epoch=3) == 3
    assert asked == [callbacks.callbacks] * 2
    assert fit_callbacks(Steps(steps_per_execution=1)).resume(initial_epoch=5) == 5


def test_callbacks_are_called_by_priority_then_by_position():
    journal = []
    given_in = [("e", 2), ("a", 0), ("d", 1), ("b", None), ("c", 0)]
    nested = [Recorder(name=name, order=order, journal=journal) for name, order in given_in]
    model = Steps(steps_per_execution=1)
    callbacks = fit_callbacks(model, nested[0], nested[1:])
    kinds = [type(callback) for callback in callbacks.callbacks]
    assert kinds == [*[Recorder] * 3, keras.callbacks.History, *[Recorder] * 2]
    model.epoch(callbacks, steps=1)
    assert journal == [f"{name}{what} 0" for what in ("begin", "end") for name in "abcde"]
    assert len(FitCallbacks(model, callbacks, stream=None, verbose=0, epochs=1).callbacks) == 6


def test_a_stream_gets_the_number_of_the_epoch():
    stream = batches(np.zeros((4, 2, 2), np.uint8), np.zeros(4, np.uint8), batch_size=2)
    callbacks = fit_callbacks(Steps(steps_per_execution=1), stream=stream)
    callbacks.on_epoch_begin(5)
    stream.on_epoch_begin()  # as Keras does
    assert stream.epoch == 5


def test_stopped_training_ends_at_the_next_boundary():
    class Stop(Recorder):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    model = Steps(steps_per_execution=10)
    callbacks = fit_callbacks(model, Stop(stops=[4]))
    callbacks.steps_per_epoch = 10
    callbacks.on_train_batch_begin(0)
    callbacks.run_window(iter(()), model.run)
    assert [ran[:2] for ran in model.ran] == [(0, 4)]


def test_exhausted_data_ends_the_epoch():
    model = Steps(steps_per_execution=4, steps_in_data=4)
    callbacks = fit_callbacks(model)
    callbacks.on_train_batch_begin(0)
    assert callbacks.run_window(iter(()), model.run) == {"loss": 0.0}
    callbacks.on_train_batch_begin(4)
    with pytest.raises(StopIteration):
        callbacks.run_window(iter(()), model.run)


def test_data_ending_during_an_execution_keeps_its_logs():
    model = Steps(steps_per_execution=4, steps_in_data=3)
    callbacks = fit_callbacks(model)
    callbacks.on_train_batch_begin(0)
    assert callbacks.run_window(iter(()), model.run) == {"loss": 0.0}


def test_only_the_training_data_sets_the_epoch_length():
    callbacks = fit_callbacks(Steps(steps_per_execution=1), Recorder())
    for length in (7, 2):
        adapter = types.SimpleNamespace(num_batches=length, on_epoch_begin=None, on_epoch_end=None)
        callbacks.set_data(
            types.SimpleNamespace(
                num_batches=length,
                data_adapter=adapter,
                _distributed_dataset=tf.data.Dataset.range(length),
            )
        )
    assert callbacks.steps_per_epoch == 7
    assert [callback.params["steps"] for callback in callbacks.callbacks] == [7, 7]


def test_every_callback_with_close_is_closed():
    closed = []
    callbacks = [Recorder(name="a", closed=closed), Recorder(name="b", closed=closed)]
    fit_callbacks(Steps(steps_per_execution=1), *callbacks, keras.callbacks.Callback()).close()
    assert closed == ["a", "b"]


def test_an_error_in_close_does_not_stop_other_closes():
    class Failing(StepCallback):
        def close(self):
            raise OSError("full")

    closed = []
    other = Recorder(name="a", closed=closed)
    with pytest.raises(OSError, match="full"):
        fit_callbacks(Steps(steps_per_execution=1), Failing(), other).close()
    assert closed == ["a"]


# Resuming with data other than a stream

X = np.random.default_rng(0).random((65, 4), dtype=np.float32)
Y = np.random.default_rng(1).random((65, 2), dtype=np.float32)


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return X[index * 10 : index * 10 + 10], Y[index * 10 : index * 10 + 10]


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(10)


def of_unknown_length():
    return dataset().filter(lambda *_: True)


# name: (arguments of fit, step of the interruption)
DATA = {
    "arrays": (lambda: {"x": X, "y": Y, "batch_size": 10, "shuffle": False}, 10),
    "a tf.data.Dataset": (lambda: {"x": dataset()}, 10),
    "a tf.data.Dataset, at its end": (lambda: {"x": dataset()}, 7),
    "data of unknown length": (lambda: {"x": of_unknown_length()}, 10),
    "data of unknown length, at its end": (lambda: {"x": of_unknown_length()}, 14),
    "data of unknown length with validation": (
        lambda: {"x": of_unknown_length(), "validation_data": dataset().take(2)},
        10,
    ),
    "a keras.utils.PyDataset": (lambda: {"x": Sequence(), "shuffle": False}, 10),
    "an endless one": (lambda: {"x": dataset().repeat(), "steps_per_epoch": 7}, 10),
}


@pytest.fixture(scope="module")
def resumable():
    """(model, arrays of its first state)."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = TapeModel(keras.Sequential([keras.Input((4,)), *layers]))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"], steps_per_execution=3)
    model.optimizer.build(model.trainable_variables)
    return model, [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize("kind", DATA)
def test_training_on_any_ordered_data_resumes_in_mid_epoch(kind, resumable, tmp_path):
    class Crash(StepCallback):
        priority = 3

        def on_train_batch_end(self, batch, logs=None):
            if self.model.steps_trained == step:
                raise RuntimeError("crash")

    make_data, step = DATA[kind]

    model, first = resumable

    def fit(directory, *others, begins):
        variables = [*model.variables, *model.optimizer.variables]
        for variable, array in zip(variables, first, strict=True):
            variable.assign(array if begins else np.full(array.shape, 3, array.dtype))
        model.steps_trained = 0 if begins else 77
        callbacks = [Checkpoint(directory, every_steps=1), *others]
        history = model.fit(**make_data(), epochs=3, verbose=0, callbacks=callbacks)
        assert model.steps_trained == 21
        return history.history, model.get_weights()

    history, weights = fit(tmp_path / "whole", begins=True)
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "resumed", Crash(), begins=True)
    resumed_history, resumed_weights = fit(tmp_path / "resumed", begins=False)
    assert resumed_history == history
    assert len(history["loss"]) == 3
    for found, expected in zip(resumed_weights, weights, strict=True):
        np.testing.assert_array_equal(found, expected)
