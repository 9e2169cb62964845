import collections
import copy
import dataclasses
import doctest
import enum
import itertools
import json
import time
import types
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.callbacks import GracefulShutdown
from mnist_keras.checkpoint import attribute_values, callback_attributes
from mnist_keras.checkpoint.callback_attributes import CallbackAttributes


class Own(keras.callbacks.Callback):
    pass


def type_name(value):
    return type(value).__name__


def with_values(**values):
    callback = Own()
    vars(callback).update(values)
    return callback


def through_a_checkpoint(change, first=None):
    """The attribute ``it`` of a new callback, after that of another one was changed and saved."""
    unchanged = copy.deepcopy(first)
    callback, arrays = with_values(it=first), {}
    attributes = CallbackAttributes([callback])
    change(callback)
    saved = json.loads(json.dumps(attributes.capture(arrays)))
    another = with_values(it=unchanged)
    assert CallbackAttributes([another]).restore(saved, arrays) == []
    return another.it


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(callback_attributes).failed == 0
    assert doctest.testmod(attribute_values).failed == 0


VALUES = [
    7,
    0.1,
    float("nan"),
    "warm up",
    None,
    [1, (2.5, "a"), {"b": b"c"}],
    {3: "a key that is a number"},
    {(1, 2): [np.float32(0.5)], "__set__": [1]},
    {"a", "b"},
    collections.deque([1, 2], maxlen=2),
    np.float32(0.1),
    np.arange(6).reshape(2, 3),
    np.zeros(300_000),
    [0.5] * 5000,
    [2**40] * 5000,
    [2**63, -1] * 5000,
    [2**70] * 5000,
    tf.constant([1.0, 2.0]),
]


@pytest.mark.parametrize("value", VALUES, ids=type_name)
def test_a_value_of_any_plain_type_is_restored(value):
    def change(callback):
        callback.it = value

    found = through_a_checkpoint(change, first="something else")
    assert type(found) is type(value)
    if tf.is_tensor(value):
        found, value = found.numpy(), value.numpy()
    np.testing.assert_equal(found, value)


def test_what_grows_in_place_is_restored():
    found = through_a_checkpoint(lambda c: c.it["loss"].append(1.5), collections.defaultdict(list))
    assert found == {"loss": [1.5]}
    assert found["accuracy"] == []  # It is still a defaultdict.


def test_variables_are_assigned_and_not_replaced():
    callback = with_values(it=[tf.Variable(1.0), keras.Variable(2.0)])
    attributes, arrays = CallbackAttributes([callback]), {}
    callback.it[0].assign(5.0)
    saved = attributes.capture(arrays)
    another = with_values(it=[tf.Variable(1.0), keras.Variable(2.0)])
    before = list(another.it)
    CallbackAttributes([another]).restore(saved, arrays)
    assert [float(variable) for variable in before] == [5.0, 2.0]


def test_a_variable_of_another_shape_is_named():
    callback, arrays = with_values(it=tf.Variable([1.0])), {}
    attributes = CallbackAttributes([callback])
    callback.it.assign([2.0])
    saved = attributes.capture(arrays)
    another = CallbackAttributes([with_values(it=tf.Variable([1.0, 1.0]))])
    another.restore(saved, arrays)
    assert another.unsaved() == ["Own.it"]


def test_variables_of_the_model_are_not_saved_twice():
    variables = [tf.Variable(1.0), tf.Variable(1.0)]
    callback, arrays = with_values(it=variables), {}
    attributes = CallbackAttributes([callback])
    for variable in variables:
        variable.assign(2.0)
    saved = attributes.capture(arrays, known=variables[:1])
    another = with_values(it=[tf.Variable(1.0), tf.Variable(1.0)])
    CallbackAttributes([another]).restore(saved, arrays)
    assert [float(variable) for variable in another.it] == [1.0, 2.0]


@pytest.mark.parametrize("value", [object(), [object()], types.SimpleNamespace(a=1)])
def test_objects_are_left_alone(value):
    def change(callback):
        callback.it = value

    assert through_a_checkpoint(change, first="first") == "first"


def test_a_constant_that_the_program_has_changed_is_kept():
    callback, arrays = with_values(patience=3, count=0), {}
    attributes = CallbackAttributes([callback])
    callback.count = 4
    another = with_values(patience=5, count=0)
    CallbackAttributes([another]).restore(attributes.capture(arrays), arrays)
    assert (another.patience, another.count) == (5, 4)


def test_a_large_constant_is_not_copied():
    validation_set = np.zeros(1_000_000)
    attributes, arrays = CallbackAttributes([with_values(it=validation_set)]), {}
    attributes.capture(arrays)
    assert arrays == {}
    assert attributes._first[0]["it"].put_back() is validation_set


def test_a_container_too_long_to_save_is_named():
    callback, arrays = with_values(it=["a"] * 150_000), {}
    attributes = CallbackAttributes([callback])
    assert attributes.capture(arrays) == [["Own", {}, []]]
    assert attributes.unsaved() == []
    callback.it.append("b")
    attributes.capture(arrays)
    assert attributes.unsaved() == ["Own.it"]


def test_an_interruption_is_undone_except_what_the_next_begin_sets():
    callback = with_values(count=0, path="first")
    interrupted = CallbackAttributes([callback])
    callback.count, callback.path, callback.extra = 5, "second", 1
    interrupted.note_end()
    callback.path = "third"  # By the next on_train_begin.
    CallbackAttributes([callback], interrupted=interrupted)
    assert (callback.count, callback.path, hasattr(callback, "extra")) == (0, "third", False)


def test_an_interruption_is_undone_for_each_callback_still_there():
    kept, left_out, new = with_values(it=0), with_values(it=0), with_values(it=0)
    interrupted = CallbackAttributes([left_out, kept])
    kept.it = left_out.it = new.it = 5
    interrupted.note_end()
    CallbackAttributes([new, kept], interrupted=interrupted)
    assert (kept.it, left_out.it, new.it) == (0, 5, 5)


def test_an_attribute_of_the_program_outlives_an_interruption():
    callback = with_values(it=object())
    interrupted = CallbackAttributes([callback])
    callback.it = 5
    interrupted.note_end()
    again = CallbackAttributes([callback], interrupted=interrupted)
    assert (callback.it, again.unsaved()) == (5, ["Own.it"])


def test_two_interruptions_in_turn_are_undone():
    callback = with_values(count=0)
    attributes = None
    for count in (5, 7):
        attributes = CallbackAttributes([callback], interrupted=attributes)
        callback.count = count
        attributes.note_end()
    CallbackAttributes([callback], interrupted=attributes)
    assert callback.count == 0


def test_objects_that_others_hold_are_rewound_in_place():
    losses, schedule, variable = [], Schedule(), tf.Variable(1.0)
    callback = with_values(losses=losses, schedule=schedule, variable=variable)
    interrupted = CallbackAttributes([callback])
    losses.append(0.5)
    schedule.rates.append(0.5)
    schedule.step = 3
    variable.assign(2.0)
    interrupted.note_end()
    again = CallbackAttributes([callback], interrupted=interrupted)
    assert (losses, schedule, float(variable)) == ([], Schedule(), 1.0)
    assert callback.losses is losses
    assert again.unsaved() == []


def test_a_large_array_that_cannot_be_rewound_is_named():
    callback = with_values(it=np.zeros(1_000_000), other=np.zeros(1_000_000))
    interrupted, arrays = CallbackAttributes([callback]), {}
    callback.it += 1
    saved = interrupted.capture(arrays)  # The other one changes only after the checkpoint.
    callback.other += 1
    interrupted.note_end()
    again = CallbackAttributes([callback], interrupted=interrupted)
    again.restore(saved, arrays)
    assert again.unsaved() == ["Own.other"]


@dataclasses.dataclass
class Schedule:
    step: int = 0
    rates: list = dataclasses.field(default_factory=list)


def test_an_object_of_the_programs_own_class_is_restored():
    def change(callback):
        callback.it.step += 3
        callback.it.rates.append(0.5)

    assert through_a_checkpoint(change, Schedule()) == Schedule(3, [0.5])


def test_an_object_that_is_made_later_is_named():
    callback, arrays = with_values(it=None), {}
    attributes = CallbackAttributes([callback])
    callback.it = Schedule(3)
    resumed = CallbackAttributes([another := with_values(it=None)])
    resumed.restore(attributes.capture(arrays), arrays)
    assert another.it is None
    assert resumed.unsaved() == ["Own.it"]


class Curriculum(keras.utils.PyDataset):
    epoch = 0

    def on_epoch_end(self):
        self.epoch += 1


def test_data_that_a_callback_holds_are_left_alone():
    found = through_a_checkpoint(lambda callback: callback.it.on_epoch_end(), Curriculum())
    assert found.epoch == 0


class Phase(enum.Enum):
    WARM_UP = 1
    MAIN = 2


class Point(typing.NamedTuple):
    loss: float


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        (Phase.WARM_UP, Phase.MAIN),
        ([0] * 2000, [0] * 1000 + [1] + [0] * 999),
        (dict.fromkeys(range(2000), 0), {**dict.fromkeys(range(2000), 0), 1000: 1}),
        (np.zeros(10**6), np.arange(10**6) == 5),
        ([np.float32(0.1)] * 2, [np.float32(0.1)] * 2000),
    ],
    ids=type_name,
)
def test_a_change_inside_a_value_is_restored(first, changed):
    def change(callback):
        callback.it = changed

    found = through_a_checkpoint(change, copy.deepcopy(first))
    np.testing.assert_equal(found, changed)
    assert type(found) is type(changed)


def test_a_clone_of_the_model_is_restored():
    def callback():
        keras.utils.set_random_seed(0)
        return with_values(it=keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))

    one, another, arrays = callback(), callback(), {}
    attributes = CallbackAttributes([one])
    one.it.layers[0].kernel.assign([[7.0]])
    CallbackAttributes([another]).restore(attributes.capture(arrays), arrays)
    assert float(another.it.layers[0].kernel[0, 0]) == 7.0


@pytest.mark.parametrize("value", [Point(0.5), frozenset({1}), itertools.cycle([1])], ids=type_name)
def test_what_has_changed_and_cannot_be_saved_is_named(value):
    callback = with_values(it=None)
    attributes = CallbackAttributes([callback])
    callback.it = value
    assert attributes.capture({}) == [["Own", {}, []]]
    assert attributes.unsaved() == ["Own.it"]


def test_a_list_that_the_program_holds_stays_the_same_object():
    attributes, arrays = CallbackAttributes([callback := with_values(it=[])]), {}
    callback.it.append(1)
    losses = []
    CallbackAttributes([with_values(it=losses)]).restore(attributes.capture(arrays), arrays)
    assert losses == [1]


def test_a_value_that_cannot_be_read_ends_nothing():
    endless = []
    endless.append(endless)
    with tf.Graph().as_default():
        symbolic = tf.constant(1.0)
    callback = with_values(it=symbolic, other=endless, count=0)
    attributes = CallbackAttributes([callback])
    callback.count = 1
    assert attributes.capture({}) == [["Own", {"count": 1}, []]]


def test_a_hook_that_runs_twice_changes_an_attribute_once():
    callback = with_values(on=False, count=0)
    attributes, arrays = CallbackAttributes([callback]), {}
    callback.count = 3
    saved = attributes.capture(arrays)
    another = with_values(on=False, count=0)
    restored = CallbackAttributes([another])
    restored.restore(saved, arrays)
    another.on, another.count = not another.on, 9
    restored.restore_again(saved, arrays)
    assert (another.on, another.count) == (False, 3)


def test_names_with_slashes_keep_their_own_arrays():
    value = {"a/b": np.array([1]), "a": {"b": np.array([2])}}
    found = through_a_checkpoint(lambda callback: setattr(callback, "it", value))
    assert (found["a/b"].tolist(), found["a"]["b"].tolist()) == ([1], [2])


def test_long_lists_of_numbers_become_one_array():
    callback, arrays = with_values(whole=[], broken=[]), {}
    attributes = CallbackAttributes([callback])
    callback.whole += range(200_000)
    callback.broken += [0.5] * 200_000
    attributes.capture(arrays)
    assert {array.dtype.name for array in arrays.values()} == {"int64", "float64"}
    assert attributes.unsaved() == []


@pytest.mark.parametrize("kind", [list, dict, tuple, collections.deque], ids=type_name)
def test_arrays_in_containers_are_copies(kind):
    def container(array):
        return {3: array} if kind is dict else kind([array])

    def array_in(callback):
        return callback.it[3] if kind is dict else callback.it[0]

    callback, arrays = with_values(it=None), {}
    attributes = CallbackAttributes([callback])
    callback.it = container(np.zeros(3))
    encoded = attribute_values.encode(callback.it)
    saved = attributes.capture(arrays)
    array_in(callback)[:] = 5  # After it was saved.
    assert array_in(with_values(it=attribute_values.put(None, encoded))).tolist() == [0, 0, 0]
    another = with_values(it=None)
    restored = CallbackAttributes([another])
    restored.restore(saved, arrays)
    array_in(another)[:] = 7
    restored.restore_again(saved, arrays)
    assert array_in(another).tolist() == [0, 0, 0]


MAPPINGS = [
    collections.Counter(a=1),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(list, {4: [1]}),
]


@pytest.mark.parametrize("value", MAPPINGS, ids=type_name)
def test_a_mapping_keeps_its_type_and_order(value):
    found = through_a_checkpoint(lambda callback: callback.it.update(value), type_of(value))
    assert type(found) is type(value)
    assert [*found.items()] == [*value.items()]


def type_of(value):
    """An empty value of the same type."""
    empty = copy.deepcopy(value)
    empty.clear()
    return empty


def test_a_counter_made_later_is_named():
    attributes, arrays = CallbackAttributes([callback := with_values(it={})]), {}
    callback.it["classes"] = collections.Counter([3, 3, 5])
    another = with_values(it={})
    resumed = CallbackAttributes([another])
    resumed.restore(attributes.capture(arrays), arrays)
    assert (another.it, resumed.unsaved()) == ({}, ["Own.it"])


class Window(list):
    pass


def test_a_list_of_another_class_is_named():
    attributes = CallbackAttributes([callback := with_values(it=Window())])
    callback.it.append(1)
    attributes.capture({})
    assert attributes.unsaved() == ["Own.it"]


def test_a_container_that_has_grown_too_long_is_named():
    attributes = CallbackAttributes([callback := with_values(it=[])])
    callback.it += [np.float32(0.5)] * 150_000
    callback.made_later = list(callback.it)
    attributes.capture({})
    assert attributes.unsaved() == ["Own.it", "Own.made_later"]


def test_a_missing_callback_with_only_an_array_is_reported():
    attributes, arrays = CallbackAttributes([callback := with_values(it=None)]), {}
    callback.it = np.zeros(3)
    saved = attributes.capture(arrays)
    assert CallbackAttributes([]).restore(saved, arrays) == ["Own"]


def test_what_a_hook_changes_again_in_place_is_set_back():
    def new():
        return with_values(
            phases=[0], schedule=Schedule(), variable=keras.Variable(1.0), mean=np.ones(3)
        )

    def hook(callback):
        callback.phases[0] = 1 - callback.phases[0]
        callback.schedule.step = 1 - callback.schedule.step
        callback.variable.assign(1.0 - callback.variable)
        callback.mean *= 2

    one, another, arrays = new(), new(), {}
    attributes, resumed = CallbackAttributes([one]), CallbackAttributes([another])
    saved = attributes.capture(arrays)
    resumed.restore(saved, arrays)
    held = another.phases, another.schedule, another.variable
    hook(another)
    resumed.restore_again(saved, arrays)
    assert (another.phases, another.schedule, float(another.variable)) == ([0], Schedule(), 1.0)
    assert another.mean.tolist() == [1, 1, 1]
    assert (another.phases, another.schedule, another.variable) == held
    assert another.schedule is held[1]
    assert resumed.unsaved() == []


def test_what_a_hook_changed_beyond_repair_is_named():
    callback, arrays = with_values(it=np.ones(1_000_000), began=0.0), {}
    attributes = CallbackAttributes([callback])
    saved = attributes.capture(arrays)
    attributes.restore(saved, arrays)
    callback.it *= 2
    callback.began = time.time()
    attributes.restore_again(saved, arrays)
    assert attributes.unsaved() == ["Own.it"]
    assert callback.began > 0  # The reading of this process.


def test_readings_of_clocks_are_not_restored():
    callback, arrays = with_values(began=0.0, last=0.0, count=0), {}
    attributes = CallbackAttributes([callback])
    callback.began, callback.last = time.time(), time.perf_counter()
    callback.stamp, callback.count = time.time_ns(), 1
    assert attributes.capture(arrays) == [["Own", {"count": 1}, []]]
    assert attributes.unsaved() == []


def test_a_metric_of_the_model_is_left_to_the_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.evaluate(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    model.reset_metrics()
    callback, arrays = with_values(it=model.metrics[0]), {}
    callback.set_model(model)
    attributes = CallbackAttributes([callback])
    saved = attributes.capture(arrays)
    attributes.restore(saved, arrays)
    model.metrics_variables[0].assign(5.0)
    attributes.restore_again(saved, arrays)
    assert float(model.metrics_variables[0]) == 5.0


class CountingShutdown(GracefulShutdown):
    """A callback of this package that a program extends."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.count += 1


def test_of_an_extended_callback_only_the_additions_are_saved():
    with CountingShutdown() as callback:
        attributes = CallbackAttributes([callback])
        callback.set_model(keras.Sequential())
        callback.on_train_begin()  # Sets signal handlers, which cannot be saved.
        callback.on_train_batch_end(0)
        arrays = {}
        saved = attributes.capture(arrays)
    assert attributes.unsaved() == []
    another = CountingShutdown()
    assert CallbackAttributes([another]).restore(saved, arrays) == []
    assert (another.count, another.step) == (1, 0)
