import dataclasses
import doctest
import io
import json
import re

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.checkpoint import training_state
from mnist_keras.checkpoint.storage import DamagedError
from mnist_keras.checkpoint.training_state import Position, StateMismatchError, TrainingState

X = np.random.default_rng(0).random((40, 8, 3), dtype=np.float32)
Y = np.random.default_rng(1).random((40, 8, 2), dtype=np.float32)
PLACE = Position(step=7, epoch=1, step_in_epoch=2)


def make_model(seed, optimizer, *, units=4, dtype="float32", metrics=("mae",)):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(units, dtype=dtype),
        keras.layers.BatchNormalization(dtype=dtype),
        keras.layers.Dropout(0.5, dtype=dtype),
        keras.layers.Dense(2, dtype=dtype),
    ]
    model = TapeModel(keras.Sequential([keras.Input((3,)), *layers]))
    model.compile(optimizer=optimizer, loss="mse", metrics=list(metrics))
    return model


def build(model):
    """Create the variables of the optimizer and the metrics without a training step."""
    model.test_on_batch(X[0], Y[0])
    model.optimizer.build(model.trainable_variables)
    return model


def train(model, steps):
    """Train on batches in turn; returns the running metrics after each."""
    train_function = model.make_train_function()
    logs = [train_function(iter([(X[step], Y[step])])) for step in steps]
    return [{name: float(value) for name, value in log.items()} for log in logs]


def groups(model):
    return {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }


def arrays(model):
    """Everything that a step depends on or changes."""
    return [
        np.array(keras.ops.convert_to_numpy(v), np.float32)
        for g in groups(model).values()
        for v in g
    ]


def same(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def through_the_disk(state):
    return TrainingState.from_files(state.to_files())


def keys(state, pattern):
    """The keys of the variables whose path matches the pattern."""
    return [e["key"] for e in state.description["variables"] if re.search(pattern, e["path"])]


def adam():
    return keras.optimizers.Adam(
        0.05,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=4,
        gradient_accumulation_steps=3,
    )


def scaled_momentum():
    inner = keras.optimizers.SGD(0.05, momentum=0.9)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=4)


# optimizer: (how to make it, {item: pattern of its variables' paths})
ITEMS = {
    "adam": (
        adam,
        {
            "weights": r"dense\w*/(kernel|bias)$",
            "moving statistics of a layer": "/moving_(mean|variance)$",
            "seed generator": "seed_generator_state$",
            "iterations": "/iteration$",
            "learning rate": "/learning_rate$",
            "first moments": "_momentum$",
            "second moments": "_velocity$",
            "accumulated gradients": "_gradient_accumulator$|_accumulator$",
            "moving average of the weights": "_average$",
            "metrics in mid-epoch": "/(total|count)$",
        },
    ),
    "scaled momentum": (
        scaled_momentum,
        {
            "momenta": "_momentum$",
            "steps since the scale grew": "/step_counter$",
            "loss scale": "/dynamic_scale$",
        },
    ),
}


@pytest.fixture(scope="module", params=ITEMS)
def interrupted(request):
    """(state in mid-epoch, result without interruption, another model, items)."""
    make_optimizer, items = ITEMS[request.param]
    model = make_model(1, make_optimizer())
    train(model, range(5))
    model.optimizer.learning_rate = 0.02
    train(model, range(5, 7))
    state = training_state.capture(model, [], PLACE)
    logs = train(model, range(7, 16))
    other = make_model(2, make_optimizer())
    train(other, [30, 31, 32, 33])
    return state, (logs, arrays(model)), other, items


def went_on(state, model):
    training_state.restore(state, model, [])
    training_state.restore_metrics(state, model)
    return train(model, range(7, 16)), arrays(model)


def test_a_restored_model_continues_bit_for_bit(interrupted):
    state, (expected_logs, expected), other, _ = interrupted
    logs, found = went_on(through_the_disk(state), other)
    assert logs == expected_logs
    assert same(found, expected)


def test_omitting_any_saved_item_changes_the_training(interrupted):
    state, (expected_logs, expected), other, items = interrupted
    found_in_any = set()
    for item, pattern in items.items():
        forgotten = keys(state, pattern)
        assert forgotten, item
        found_in_any.update(forgotten)
        training_state.restore(state, other, [])
        training_state.restore_metrics(state, other)
        train(other, [20, 21])
        other.optimizer.learning_rate = 0.3
        present = training_state.capture(other, [], PLACE).arrays
        without = {**state.arrays, **{key: present[key] for key in forgotten}}
        logs, found = went_on(TrainingState(PLACE, without, state.description), other)
        assert logs != expected_logs or not same(found, expected), item
    if len(items) > 5:
        # Other tests may have drawn from the global generators.
        own = {key for key in state.arrays if not key.startswith("global/")}
        assert own - found_in_any == set(keys(state, "/(gamma|beta)$"))


def test_metrics_are_restored_separately(interrupted):
    state, _, other, _ = interrupted
    other.reset_metrics()
    training_state.restore(state, other, [])
    assert [float(variable) for variable in other.metrics_variables] == [0.0] * 4
    training_state.restore_metrics(state, other)
    assert all(float(variable) > 0 for variable in other.metrics_variables)


def test_a_state_is_a_copy(interrupted):
    _, _, other, _ = interrupted
    state = training_state.capture(other, [], PLACE)
    before = {key: array.copy() for key, array in state.arrays.items()}
    train(other, [0])
    assert same(state.arrays.values(), before.values())


def test_a_state_is_read_back_from_disk_unchanged():
    model = build(make_model(1, "adam", dtype="bfloat16"))
    history = keras.callbacks.History()
    history.set_model(model)
    history.on_train_begin()
    history.on_epoch_end(0, {"loss": 0.5, "each": np.arange(3)})
    state = training_state.capture(model, [history], PLACE)
    assert {a.dtype.name for a in state.arrays.values()} >= {"bfloat16", "float32", "int64"}

    files = state.to_files()
    assert sorted(files) == ["state.json", "state.npz"]
    back = TrainingState.from_files(files)
    assert back.position == PLACE
    assert back.description == json.loads(json.dumps(state.description))
    assert list(back.arrays) == list(state.arrays)
    for key, array in state.arrays.items():
        assert back.arrays[key].dtype == array.dtype, key
        assert back.arrays[key].shape == array.shape, key
        assert back.arrays[key].tobytes() == array.tobytes(), key

    other = build(make_model(2, "adam", dtype="bfloat16"))
    training_state.restore(back, other, [keras.callbacks.History()])
    training_state.restore_metrics(back, other)
    assert same(arrays(other), arrays(model))


# Strictness


def model_of(**changes):
    """A model that differs from the saved one in one property."""
    return build(make_model(5, changes.pop("optimizer", "adam"), **changes))


OTHERS = {
    "another shape": (
        lambda: model_of(units=5),
        r"Received: \S*dense\S*/kernel \(3, 4\) float32. Expected: \S*/kernel \(3, 5\) float32",
    ),
    "another dtype": (
        lambda: model_of(dtype="float16"),
        r"Received: \S*/kernel \(3, 4\) float32. Expected: \S*/kernel \(3, 4\) float16",
    ),
    "a variable too many in the model": (
        lambda: model_of(metrics=["mae", "mse"]),
        "lacks a variable. Received: none. Expected: mean_squared_error/total",
    ),
    "a variable too many in the state": (
        lambda: model_of(metrics=[]),
        "has an extra variable. Received: mean_absolute_error/total. Expected: none",
    ),
    "another metric": (
        lambda: model_of(metrics=["mse"]),
        "Received: mean_absolute_error/total.* Expected: mean_squared_error/total",
    ),
    "another optimizer": (
        lambda: model_of(optimizer="sgd"),
        r"Received: adam\S*/iteration .* Expected: (sgd|SGD)\S*/iteration",
    ),
    "an optimizer that is not built": (
        lambda: make_model(5, "adam"),
        r"has an extra variable. Received: \S*mean_absolute_error/total|adam\S*momentum",
    ),
}


@pytest.fixture(scope="module")
def saved():
    model = make_model(1, "adam")
    train(model, [0, 1])
    return training_state.capture(model, [], PLACE)


@pytest.mark.parametrize("row", OTHERS)
def test_another_models_state_is_refused_by_name_and_changes_nothing(row, saved):
    make, message = OTHERS[row]
    model = make()
    before = arrays(model)
    with pytest.raises(StateMismatchError, match=message) as error:
        training_state.restore(saved, model, [])
    assert "\n" not in str(error.value)
    assert same(arrays(model), before)


def test_the_state_of_other_callbacks_is_refused_and_changes_nothing(saved):
    model = model_of()
    before = arrays(model)
    history = keras.callbacks.History()
    history.on_train_begin()
    with pytest.raises(StateMismatchError, match=r"Received: none\. Expected: History\."):
        training_state.restore(saved, model, [history])
    assert same(arrays(model), before)
    assert (history.epoch, history.history) == ([], {})


def test_an_identical_model_in_the_same_process_accepts_the_state(saved):
    # Keras names its layers dense_7 instead of dense_2.
    for optimizer in (keras.optimizers.Adam(), keras.optimizers.get("adam")):
        model = model_of(optimizer=optimizer)
        training_state.restore(saved, model, [])
        assert same(arrays(model)[:2], list(saved.arrays.values())[:2])


def test_other_test_data_are_refused_if_an_identity_was_saved(saved):
    model, data = model_of(), {"sha256": "12", "test_sha256": "34"}
    training_state.restore(saved.noting(data={"sha256": "12"}), model, [], data=data)
    with pytest.raises(StateMismatchError) as caught:
        training_state.restore(
            saved.noting(data={**data, "test_sha256": "56"}), model, [], data=data
        )
    assert str(caught.value) == (
        "the data differ from those of the checkpoint. "
        "Received: test_sha256 34. Expected: test_sha256 56."
    )


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_other_versions_spell_an_optimizers_class_differently(spelling):
    def built():
        model = build(make_model(1, keras.optimizers.SGD(0.5, momentum=0.9)))
        model.second = keras.optimizers.SGD(0.5)
        model.second.build(model.trainable_variables)
        return model

    state = training_state.capture(built(), [], PLACE)
    for entry in state.description["variables"]:
        entry["path"] = re.sub(
            "sgd(?=[_/0-9])", lambda m: spelling(m[0]), entry["path"], flags=re.I
        )
    paths = {entry["path"] for entry in state.description["variables"]}
    name = spelling("sgd")
    assert any(re.search(rf"^{name}(_\d+)?/iteration", path) for path in paths)
    assert any(re.search(rf"^second/{name}(_\d+)?/iteration", path) for path in paths)
    training_state.restore(through_the_disk(state), built(), [])


def test_the_letter_case_of_a_layers_name_is_compared(saved):
    state = through_the_disk(saved)
    entry = next(it for it in state.description["variables"] if it["path"].endswith("/kernel"))
    entry["path"] = entry["path"].replace("dense", "Dense")
    with pytest.raises(StateMismatchError, match=r"Received: .*Dense"):
        training_state.restore(state, model_of(), [])


# What is finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_non_finite_weight_or_momentum_is_detected(dtype, value):
    good = np.array(keras.ops.convert_to_numpy(keras.ops.ones((2, 3), dtype)))
    bad = good.copy()
    bad[1, 2] = value
    count = np.array([2**32 - 1], np.uint32)

    def is_finite(**named):
        state = TrainingState(PLACE, {k.replace("_", "/"): v for k, v in named.items()}, {})
        return training_state.is_finite(state)

    assert is_finite(model_0=good, optimizer_0=good, model_1=count)
    assert not is_finite(model_0=bad, optimizer_0=good)
    assert not is_finite(model_0=good, optimizer_0=bad)
    assert is_finite(model_0=good, metrics_0=bad, callbacks_0=bad)


def test_a_large_float64_number_is_finite():
    state = TrainingState(PLACE, {"model/0000": np.array([1e300])}, {})
    assert training_state.is_finite(state)


def compressed_arrays():
    packed = io.BytesIO()
    np.savez_compressed(packed, weight=np.zeros(9))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [("state.json", b"[" * 100_000), ("state.json", b"{}"), ("state.npz", compressed_arrays())],
    ids=["nested", "empty", "compressed"],
)
def test_files_without_a_training_state_are_damaged(name, content):
    files = {"state.json": b'{"bfloat16": [], "position": {}}', "state.npz": b"", name: content}
    with pytest.raises(DamagedError, match="the checkpoint does not hold a training state"):
        TrainingState.from_files(files)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(training_state).failed == 0


def with_arrays(change):
    """The files of a state whose arrays were changed, as somebody who can write them does."""

    def files(model):
        state = training_state.capture(model, [], PLACE, place={"draws": 3})
        arrays = dict(state.arrays)
        change(arrays)
        return dataclasses.replace(state, arrays=arrays).to_files()

    return files


def with_position(**changes):
    def files(model):
        position = dataclasses.replace(PLACE, **changes)
        return training_state.capture(model, [], position).to_files()

    return files


def with_place(**place):
    return lambda model: training_state.capture(model, [], PLACE, place=place).to_files()


KERNEL = "model/0000"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            with_arrays(lambda arrays: arrays.update({KERNEL: arrays[KERNEL].T})),
            r"ValueError: \(4, 3\) float32 for .*kernel \(3, 4\) float32",
        ),
        (
            with_arrays(lambda arrays: arrays.update({KERNEL: arrays[KERNEL].astype("i8")})),
            r"ValueError: \(3, 4\) int64 for .*kernel \(3, 4\) float32",
        ),
        (with_arrays(lambda arrays: arrays.pop(KERNEL)), "KeyError: 'model/0000'"),
        (with_position(step_in_epoch=-5), "ValueError: step_in_epoch -5"),
        (with_position(step=10**30), f"ValueError: step {10**30}"),
        (with_position(epoch=True), "ValueError: epoch True"),
        (with_place(draws=-1), "ValueError: draws -1"),
        (with_place(workers=[{"draws": 1}, {"draws": -7}]), "ValueError: draws -7"),
    ],
)
def test_a_sealed_state_that_cannot_be_is_damaged(files, reason):
    with pytest.raises(DamagedError, match=f"not hold a training state. Received: {reason}"):
        TrainingState.from_files(files(make_model(0, "sgd")))
