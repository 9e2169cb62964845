"""Arrays are cut into batches in the graph: the same batches as Keras's pipeline gives."""

import contextlib
import functools
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel, _keras
from mnist_keras.callbacks import Checkpoint
from mnist_keras.data.array_batches import ArrayBatches
from mnist_keras.data.cut_arrays import cut_arrays
from mnist_keras.model.multi_step import MultiStepFunction
from tests.test_keras_names import epochs_of

EXAMPLES = 22
ROWS = np.arange(3 * EXAMPLES, dtype="float32").reshape(EXAMPLES, 3) / 50
TARGETS = np.cos(ROWS[:, :1])
CLASSES = np.arange(EXAMPLES) % 3


class Two(keras.Model):
    """Takes a dictionary of two inputs; the order in which it adds them shows in the last bits."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(0.3))

    def call(self, inputs):
        return self.dense(inputs["a"]) + inputs["b"]


FITS = {
    "shuffled": {"x": ROWS, "y": TARGETS},
    "in order": {"x": ROWS, "y": TARGETS, "shuffle": False},
    "full batches": {"x": ROWS[:20], "y": TARGETS[:20]},
    "one batch": {"x": ROWS, "y": TARGETS, "batch_size": 64},
    "class weights": {"x": ROWS, "y": CLASSES, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "sample weights": {"x": ROWS, "y": TARGETS, "sample_weight": np.linspace(0, 1, EXAMPLES)},
    "dictionary": {"x": {"b": TARGETS, "a": ROWS}, "y": TARGETS},
    "float64": {"x": ROWS.astype("float64"), "y": TARGETS},
    "integers": {"x": (100 * ROWS).astype("int32"), "y": TARGETS},
    "tensors": {"x": tf.constant(ROWS), "y": tf.constant(TARGETS)},
    "steps amid a pass": {"x": ROWS, "y": TARGETS, "steps_per_epoch": 4},
    "held-out examples": {"x": ROWS, "y": TARGETS, "validation_split": 0.3},
    "steps of validation": {
        "x": ROWS,
        "y": TARGETS,
        "validation_data": (ROWS[5:], TARGETS[5:]),
        "validation_steps": 2,
    },
    "shuffled batches": {"x": ROWS, "y": TARGETS, "shuffle": "batch"},
    "sparse": {"x": tf.sparse.from_dense(ROWS), "y": TARGETS, "shuffle": False},
}


def build(base, fit, *, seed=3, **compile_arguments):
    keras.utils.set_random_seed(seed)
    if isinstance(fit["x"], dict):
        model = type("Model", (Two, base), {})() if base is not keras.Model else Two()
    else:
        layers = [keras.layers.Dense(3), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
        network = keras.Sequential(layers)
        model = network if base is keras.Model else base(network)
    model.compile(optimizer="adam", loss="mse", metrics=["mae"], **compile_arguments)
    return model


def trained(model, fit, *, epochs=3):
    """The History and the weights of some epochs, and an evaluation."""
    arguments = {"batch_size": 5, **fit}
    history = model.fit(**arguments, epochs=epochs, verbose=0).history
    score = model.evaluate(fit["x"], fit["y"], batch_size=4, verbose=0)
    return history, [weight.tolist() for weight in model.get_weights()], score


@functools.cache
def keras_model():
    """(a model, its first state); most fits have it, because tracing takes most of the time."""
    model = build(keras.Model, FITS["shuffled"])
    model.build((None, 3))
    model.optimizer.build(model.trainable_variables)
    return model, [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


@functools.cache
def of_keras(name):
    fit = FITS[name]
    if isinstance(fit["x"], dict):
        return trained(build(keras.Model, fit), fit)
    model, first = keras_model()
    for variable, array in zip((*model.variables, *model.optimizer.variables), first, strict=True):
        variable.assign(array)
    build(keras.Model, fit)  # As many random numbers are drawn as for a new model.
    return trained(model, fit)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in FITS),
        *((name, {"steps_per_execution": 2}) for name in ("shuffled", "steps amid a pass")),
    ],
)
def test_training_on_arrays_gives_the_bits_of_keras(name, options):
    fit = FITS[name]
    assert trained(build(TapeModel, fit, **options), fit) == of_keras(name)


class Noisy:
    """Its step and its evaluation draw a random number, which they return."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        del data
        return {"noise": tf.random.normal([])}

    def test_step(self, data):
        return self.train_step(data)


ARRAYS = {"x": ROWS, "y": TARGETS, "batch_size": 5, "shuffle": True}


def noise_of(base, fits):
    """The noise in the last step of each of several fits of one model, and in evaluations."""
    keras.utils.set_random_seed(3)
    model = type("Model", (Noisy, base), {})()
    model.compile(optimizer="sgd")
    noise = []
    for count, fit in fits:
        arrays = {**ARRAYS, **fit}
        arrays |= {name: arrays[name][:count] for name in ("x", "y")}
        noise += model.fit(**arrays, verbose=0).history["noise"]
        del arrays["shuffle"]
        noise.append(model.evaluate(**arrays, verbose=0, return_dict=True)["noise"])
    return noise


SEVERAL_FITS = {
    "numbers of examples": [(22, {}), (21, {}), (17, {}), (22, {})],
    "full batches": [(20, {}), (15, {}), (10, {})],
    "batch sizes": [(16, {"batch_size": size}) for size in (1, 2, 4, 8, 16)],
    "shuffled or not": [(22, {}), (22, {"shuffle": False}), (22, {})],
    "ranks": [(22, {"y": TARGETS[:, 0]}), (22, {}), (22, {"y": TARGETS[:, 0]})],
}


@pytest.mark.parametrize("name", SEVERAL_FITS)
def test_several_fits_draw_the_random_numbers_of_keras(name):
    fits = SEVERAL_FITS[name]
    assert noise_of(TapeModel, fits) == noise_of(keras.Model, fits)


def test_fits_with_many_batch_sizes_trace_as_few_loops(monkeypatch):
    model = build(TapeModel, FITS["shuffled"])
    loops = []
    run = MultiStepFunction._run_arrays
    monkeypatch.setattr(
        MultiStepFunction, "_run_arrays", lambda *given: [loops.append(1), run(*given)][1]
    )
    for size in (1, 2, 4, 8, 16):
        model.fit(ROWS[:16], TARGETS[:16], batch_size=size, verbose=0)
    assert len(loops) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize("name", ["shuffled", "steps amid a pass"])
def test_eager_steps_get_the_same_batches(name):
    (history, _, _), (expected, _, _) = (
        trained(build(base, FITS[name], run_eagerly=True), FITS[name], epochs=2)
        for base in (TapeModel, keras.Model)
    )
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "is_cut"),
    [
        ({"x": ROWS, "y": TARGETS, "shuffle": True}, True),
        ({"x": {"a": ROWS, "b": TARGETS}, "y": TARGETS}, True),
        ({"x": ROWS, "y": TARGETS, "shuffle": "batch"}, False),
        ({"x": tf.sparse.from_dense(ROWS), "y": TARGETS}, False),
        ({"x": tf.data.Dataset.from_tensor_slices((ROWS, TARGETS)).batch(5)}, False),
    ],
    ids=["shuffled", "dictionary", "shuffled batches", "sparse", "tf.data"],
)
def test_only_dense_arrays_are_cut_in_the_graph(arguments, is_cut):
    epochs = epochs_of(**arguments)
    spec = epochs.dataset.element_spec
    assert cut_arrays(epochs) is is_cut
    assert isinstance(epochs.dataset, ArrayBatches) is is_cut
    assert epochs.dataset.element_spec == spec


def test_a_train_function_of_ones_own_gets_tf_data_iterators():
    kinds = []

    class Own(TapeModel):
        def make_train_function(self, force=False):
            def train(iterator):
                kinds.append(isinstance(iterator, tf.data.Iterator))
                return self.train_step(next(iterator))

            self.train_function = train
            return train

    model = build(Own, FITS["shuffled"])
    model.fit(ROWS, TARGETS, batch_size=11, verbose=0)
    assert kinds == [True, True]


class Ended(Exception):
    """Ends a training."""


class EndAfter(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps_trained >= self.steps:
            raise Ended


def order_of_interrupted(directory, *, cuts):
    """The first numbers of the batches of three epochs without a seed, ended after 7 steps."""
    seen = []

    class Seeing(TapeModel):
        def cuts_arrays(self, phase):
            return cuts(self.resumes) and super().cuts_arrays(phase)

        def train_step(self, data):
            seen.append(data[0][:, 0].numpy().tolist())
            return super().train_step(data)

    def fit(resumes, callbacks):
        model = build(Seeing, FITS["shuffled"], run_eagerly=True, steps_per_execution=1)
        _keras.context.set_global_seed(None)
        model.resumes = resumes
        saving = Checkpoint(directory, every_steps=1)
        model.fit(ROWS, TARGETS, batch_size=5, epochs=3, verbose=0, callbacks=[saving, *callbacks])

    with pytest.raises(Ended):
        fit(False, [EndAfter(7)])
    del seen[6:]  # The seventh step is not saved.
    fit(True, [])
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["cut first", "pipeline first"])
def test_an_order_without_a_seed_continues_in_either_way(first, tmp_path):
    seen = order_of_interrupted(tmp_path, cuts=lambda resumes: first is not resumes)
    assert len(seen) == 15
    for epoch in range(3):
        numbers = np.sort(np.concatenate(seen[5 * epoch : 5 * epoch + 5]))
        np.testing.assert_array_equal(numbers, ROWS[:, 0])


class EndAtEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise Ended


@pytest.fixture(scope="module")
def tape_model():
    return build(TapeModel, FITS["shuffled"])


@pytest.mark.parametrize("has_seed", [True, False], ids=["seed", "no seed"])
@pytest.mark.parametrize("fails", [False, True], ids=["ends", "fails"])
def test_a_fit_on_arrays_keeps_no_array_alive(has_seed, fails, tape_model):
    model = tape_model
    keras.utils.set_random_seed(3)
    if not has_seed:
        _keras.context.set_global_seed(None)
    model.fit(ROWS, TARGETS, batch_size=5, verbose=0)  # Traces, whose cycles Python looks for.
    arrays = tf.constant(ROWS), tf.constant(TARGETS)
    gc.collect()
    gc.disable()  # Arrays of several fits may not fit into memory until Python looks for cycles.
    try:
        with pytest.raises(Ended) if fails else contextlib.nullcontext():
            callbacks = [EndAtEpoch()] if fails else []
            model.fit(*arrays, batch_size=5, epochs=2, verbose=0, callbacks=callbacks)
        kept = weakref.ref(arrays[0])
        del arrays
        assert kept() is None
    finally:
        gc.enable()
