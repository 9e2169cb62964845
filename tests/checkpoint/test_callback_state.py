import itertools
import pathlib

import keras
import numpy as np
import pytest

from mnist_keras.checkpoint import callback_state
from mnist_keras.checkpoint.training_state import Position, TrainingState

callbacks = keras.callbacks


def make_model(dtype="float32"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype=dtype)])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    return model


# No real training: the losses are given, and the weights equal the epoch.
LOSSES = [0.9, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.4]
BATCHES = 2
EVENTS = [
    event
    for epoch, loss in enumerate(LOSSES)
    for event in [
        ("begin", epoch),
        *[("batch", epoch, b) for b in range(BATCHES)],
        ("end", epoch, loss),
    ]
]


class Session:
    """A training with one callback."""

    def __init__(self, callback, model):
        self.callback = callback
        self.model = model
        model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
        model.optimizer.learning_rate = 1.0
        model.stop_training = False
        self.callback.set_model(self.model)
        self.callback.on_train_begin()
        self.noticed = []

    def run(self, events):
        if events and events[0][0] != "begin":
            self.callback.on_epoch_begin(events[0][1])
        for kind, epoch, *value in events:
            if kind == "begin":
                self.callback.on_epoch_begin(epoch)
            elif kind == "batch":
                self.callback.on_train_batch_end(*value, {"loss": 0.1})
            else:
                self.model.set_weights([np.full(w.shape, epoch) for w in self.model.get_weights()])
                self.callback.on_epoch_end(epoch, {"loss": value[0]})
            rate = float(self.model.optimizer.learning_rate)
            self.noticed.append((self.model.stop_training, round(rate, 6)))

    def end(self):
        self.callback.on_train_end()
        return [np.array(w, np.float32).tolist() for w in self.model.get_weights()]


def through_the_disk(states, arrays):
    description = {"variables": [], "callbacks": states}
    state = TrainingState(Position(0, 0, 0), arrays, description)
    state = TrainingState.from_files(state.to_files())
    return state.description["callbacks"], state.arrays


def early_stopping(directory):
    return callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True, verbose=1)


# name: (how to make it, attributes that have to be restored)
KERAS_CALLBACKS = {
    "EarlyStopping": (
        early_stopping,
        ["wait", "stopped_epoch", "best", "best_epoch", "best_weights"],
    ),
    "ReduceLROnPlateau": (
        lambda directory: callbacks.ReduceLROnPlateau("loss", patience=2, factor=0.5, cooldown=2),
        ["wait", "best", "cooldown_counter"],
    ),
    "ModelCheckpoint of the best": (
        lambda directory: callbacks.ModelCheckpoint(
            directory / "{epoch}.weights.h5", "loss", save_best_only=True, save_weights_only=True
        ),
        ["best"],
    ),
    "ModelCheckpoint every 3 batches": (
        lambda directory: callbacks.ModelCheckpoint(
            directory / "{epoch}-{batch}.weights.h5", save_freq=3, save_weights_only=True
        ),
        # Keras 3.12 counts batches the same with or without the last one.
        ["_batches_seen_since_last_saving"] + ["_last_batch_seen"] * (keras.version() >= "3.13"),
    ),
    "History": (lambda directory: callbacks.History(), ["epoch", "history"]),
}


@pytest.fixture
def outcome(tmp_path, capsys, monkeypatch):
    """outcome(make, at, forgotten): all visible results of a training interrupted before an event.

    ``at`` None: no interruption. ``forgotten``: an attribute that is not restored.
    """
    directories = (tmp_path / str(number) for number in itertools.count())
    model = make_model()
    monkeypatch.setattr(model, "save_weights", lambda path, **_: pathlib.Path(path).touch())

    def run(make, at=None, forgotten=None):
        directory = next(directories)
        directory.mkdir()
        last = Session(make(directory), model)
        last.run(EVENTS[:at])
        if at is not None:
            ((name, state),), arrays = through_the_disk(*callback_state.capture([last.callback]))
            state = {key: value for key, value in state.items() if key != forgotten}
            last.callback = make(directory)
            last.callback.set_model(model)
            last.callback.on_train_begin()
            callback_state.restore([[name, state]], arrays, [last.callback])
            last.run(EVENTS[at:])
        return {
            "weights": last.end(),
            "noticed": last.noticed,
            "files": sorted(path.name for path in directory.iterdir()),
            "history": [getattr(last.callback, name, None) for name in ("epoch", "history")],
            "printed": capsys.readouterr().out,
        }

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS_CALLBACKS)
def test_a_resumed_keras_callback_behaves_as_if_uninterrupted(name, outcome):
    make, attributes = KERAS_CALLBACKS[name]
    expected = outcome(make)
    for at in range(1, len(EVENTS) + 1):
        assert outcome(make, at) == expected, EVENTS[at - 1]
    for attribute in attributes:
        assert any(
            outcome(make, at, attribute) != expected for at in reversed(range(1, len(EVENTS) + 1))
        ), attribute


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_best_weights_are_restored_in_their_own_precision(dtype, tmp_path):
    model = make_model(dtype)
    first = Session(early_stopping(tmp_path), model)
    first.run([("begin", 1), ("end", 1, 0.2), ("begin", 2), ("end", 2, 0.3)])
    saved = through_the_disk(*callback_state.capture([first.callback]))
    second = Session(early_stopping(tmp_path), model)
    callback_state.restore(*saved, [second.callback])
    assert [w.dtype.name for w in second.callback.best_weights] == [dtype, dtype]
    assert second.end() == [[[1.0], [1.0]], [1.0]]


def test_best_weights_that_are_single_numbers_can_be_set_again():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Normalization()])
    assert any(weight.shape == () for weight in model.get_weights())
    first, second = callbacks.EarlyStopping(), callbacks.EarlyStopping()
    first.on_train_begin()
    first.best_weights = model.get_weights()
    callback_state.restore(*through_the_disk(*callback_state.capture([first])), [second])
    model.set_weights(second.best_weights)


class Own(callbacks.Callback):
    def __init__(self, state=None):
        super().__init__()
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


class Doubling(Own):
    """Keeps the state that it is given, and changes it in place."""

    def load_state_dict(self, state):
        self.state = state
        self.state["counts"] *= 2
        self.state["list"].append(2)


class OwnStopping(callbacks.EarlyStopping):
    """A subclass with its own state_dict, which is used instead of its base's."""

    def state_dict(self):
        return {"mine": self.patience}

    def load_state_dict(self, state):
        self.patience = state["mine"]


def test_a_callbacks_state_is_restored_completely():
    state = {
        "none": None,
        "flag": True,
        "text": "a/b",
        "numbers": [1, 2.5, float("inf"), [3]],
        "nested": {"array": np.arange(6, dtype=np.int8).reshape(2, 3), "empty": {}},
        "array": [np.zeros((0, 2)), np.array([True, False])],
        "numpy scalar": np.float32(0.1),
        "scalar array": np.array(7),
        "tensor": keras.ops.convert_to_tensor([1.0, 2.0]),
        "variable": keras.Variable(3.0),
    }
    states, arrays = through_the_disk(*callback_state.capture([Own(state)]))
    own = Own()
    callback_state.restore(states, arrays, [own])
    numbers = own.state.pop("nested").pop("array")
    np.testing.assert_array_equal(numbers, [[0, 1, 2], [3, 4, 5]], strict=False)
    assert numbers.dtype == np.int8
    empty, flags = own.state.pop("array")
    assert (empty.shape, flags.tolist()) == ((0, 2), [True, False])
    assert own.state.pop("tensor").tolist() == [1.0, 2.0]
    assert own.state == {
        "none": None,
        "flag": True,
        "text": "a/b",
        "numbers": [1, 2.5, float("inf"), [3]],
        "numpy scalar": float(np.float32(0.1)),
        "scalar array": 7,
        "variable": 3.0,
    }


def test_a_captured_state_does_not_change_with_the_callback():
    state = {"counts": np.zeros(3), "list": [1]}
    states, arrays = callback_state.capture([Own(state)])
    state["counts"] += 1
    state["list"].append(2)
    assert states == [["Own", {"counts": {"__array__": "callbacks/0/counts"}, "list": [1]}]]
    assert arrays["callbacks/0/counts"].tolist() == [0, 0, 0]


def test_a_callback_that_changes_its_state_leaves_the_saved_one():
    states, arrays = callback_state.capture([Own({"counts": np.ones(3), "list": [1]})])
    own = Doubling()
    callback_state.restore(states, arrays, [own])
    callback_state.restore_foreign(states, arrays, [own])
    assert own.state["counts"].tolist() == [2, 2, 2]
    assert own.state["list"] == [1, 2]
    assert arrays["callbacks/0/counts"].tolist() == [1, 1, 1]


def test_each_callback_gets_only_its_own_state():
    def make(*states):
        return [
            callbacks.LambdaCallback(),
            Own(states[0]),
            callbacks.TerminateOnNaN(),
            OwnStopping(patience=states[1]),
            Own(states[2]),
        ]

    saved = through_the_disk(*callback_state.capture(make([1], 5, [2])))
    assert [name for name, _ in saved[0]] == ["Own", "OwnStopping", "Own"]
    fresh = make(None, 0, None)
    callback_state.restore(*saved, fresh)
    assert (fresh[1].state, fresh[3].patience, fresh[4].state) == ([1], 5, [2])


class NotOurs(Exception):
    pass


OTHERS = {
    "one missing": ([Own()], "Received: Own, History. Expected: Own."),
    "one too many": (
        [Own(), callbacks.History(), Own()],
        "Received: Own, History. Expected: Own, History, Own.",
    ),
    "another order": (
        [callbacks.History(), Own()],
        "Received: Own, History. Expected: History, Own.",
    ),
    "none": ([callbacks.LambdaCallback()], "Received: Own, History. Expected: none."),
}


@pytest.mark.parametrize("row", OTHERS)
def test_the_state_of_other_callbacks_is_refused_by_name(row):
    present, message = OTHERS[row]
    history = callbacks.History()
    history.on_train_begin()
    states, _ = callback_state.capture([Own(), history])
    with pytest.raises(NotOurs, match=f"belongs to other callbacks. {message}$"):
        callback_state.check(states, present, NotOurs)
    callback_state.check(states, [Own(), callbacks.LambdaCallback(), history], NotOurs)
