import doctest
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.callbacks import StepLogger
from mnist_keras.data import batches
from mnist_keras.errors import UsageError
from mnist_keras.model import tape_model
from tests import forks

X = np.random.default_rng(0).random((70, 6), dtype=np.float32)
Y = np.random.default_rng(1).random((70, 3), dtype=np.float32)
WEIGHTS = np.random.default_rng(2).random(70, dtype=np.float32)


def layers():
    return [
        keras.layers.Dense(5, activation="relu", kernel_regularizer="l2"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(3),
    ]


def functional_arguments():
    inputs = keras.Input((6,))
    outputs = inputs
    for layer in layers():
        outputs = layer(outputs)
    return {"inputs": inputs, "outputs": outputs}


def wrapped(base):
    network = keras.Sequential([keras.Input((6,)), *layers()])
    return base(network) if base is TapeModel else network


def functional(base):
    return base(**functional_arguments())


def subclassed(base):
    class Mine(base):
        def __init__(self):
            super().__init__()
            self.stack = layers()

        def call(self, x):
            for layer in self.stack:
                x = layer(x)
            return x

    return Mine()


def trained(make, base, *, compile_arguments, fit_arguments):
    keras.utils.set_random_seed(0)
    model = make(base)
    model.compile(**{"optimizer": "adam", "loss": "mse", **compile_arguments})
    history = model.fit(**{"verbose": 0, "epochs": 2, "batch_size": 16, **fit_arguments}).history
    return history, model.predict(X, verbose=0)


# Each way to make a model; tests/parity has the other trainings.
ROWS = {
    "validation": ({"metrics": ["mae"]}, {"x": X, "y": Y, "validation_split": 0.3}),
    "gradient accumulation and averaging": (
        {
            "optimizer": lambda: keras.optimizers.SGD(
                0.1, momentum=0.9, gradient_accumulation_steps=2, use_ema=True, clipnorm=0.5
            )
        },
        {"x": X, "y": Y, "shuffle": False},
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("make", [wrapped, functional, subclassed])
def test_it_trains_like_keras_model(make, row):
    compile_arguments, fit_arguments = ROWS[row]

    def both(base):
        arguments = {k: v() if callable(v) else v for k, v in compile_arguments.items()}
        return trained(make, base, compile_arguments=arguments, fit_arguments=fit_arguments)

    history, predictions = both(TapeModel)
    expected_history, expected_predictions = both(keras.Model)
    assert history.keys() == expected_history.keys()
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(predictions, expected_predictions, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_updates_are_counted_correctly_for_data_of_unknown_length():
    model = wrapped(TapeModel)
    model.compile(optimizer="adam", loss="mse")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda *_: True).batch(16)
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(data, epochs=2, verbose=0)
    assert (int(model.optimizer.iterations), model.steps_trained) == (10, 10)


def test_a_functional_model_does_not_change_the_class():
    functional(TapeModel)
    assert TapeModel.__bases__ == (keras.Model,)
    assert wrapped(TapeModel)(X[:1]).shape == (1, 3)


def test_keras_treats_a_functional_model_as_functional():
    model = functional(TapeModel)
    assert [layer.name.rstrip("_0123456789") for layer in model.layers] == [
        "input_layer",
        "dense",
        "batch_normalization",
        "dense",
    ]
    part = keras.Model(model.inputs, model.layers[1].output)
    assert part(X[:2]).shape == (2, 5)
    assert isinstance(keras.models.clone_model(model), TapeModel)
    assert keras.saving.get_custom_objects()["mnist_keras>TapeModel"] is TapeModel


@pytest.mark.slow
def test_a_custom_train_step_is_used():
    class Mine(TapeModel):
        def train_step(self, data):
            return {**super().train_step(data), "answer": tf.constant(42.0)}

    model = Mine(keras.Sequential([keras.layers.Dense(3)]))
    model.compile(loss="mse", steps_per_execution=4)
    assert model.fit(X, Y, verbose=0).history["answer"] == [42.0]


@pytest.mark.slow
def test_half_precision_training_learns():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Dense(3, dtype="mixed_float16")])
    model = TapeModel(network)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer=optimizer, loss=SumSquaredError(), steps_per_execution=3)
    losses = model.fit(X, Y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [wrapped, functional])
def test_a_saved_model_loads_in_another_process(make, tmp_path):
    model = make(TapeModel)
    model.compile(optimizer="adam", loss=SumSquaredError(), steps_per_execution="auto")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "predictions.npy", model.predict(X, verbose=0))
    program = (
        "import sys, keras, numpy as np\n"
        "from mnist_keras import TapeModel\n"
        "model = keras.models.load_model('model.keras')\n"
        "assert isinstance(model, TapeModel)\n"
        "predictions = model.predict(np.load('x.npy'), verbose=0)\n"
        "assert (predictions == np.load('predictions.npy')).all()\n"
        "assert model.steps_per_execution == 100\n"
        "model.fit(np.load('x.npy'), predictions, verbose=0)\n"
    )
    done = forks.run([sys.executable, "-c", program], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_each_batch_is_traced_once(make_model, digits):
    traces = []

    class Counting(TapeModel):
        def train_step(self, data):
            traces.append(tf.nest.flatten(data)[0].shape)
            return super().train_step(data)

    model = Counting(make_model().network)
    model.compile(loss=SumSquaredError(), metrics=["accuracy"], steps_per_execution=4)
    stream = batches(*digits, batch_size=150)
    model.fit(stream, epochs=2, verbose=0)
    model.fit(stream, epochs=1, verbose=0)
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_layers_of_any_dtype_are_trained_and_logged(dtype, tmp_path):
    model = TapeModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, dtype=dtype)]))
    model.compile(loss="mse", steps_per_execution=2)
    logger = StepLogger(tmp_path, echo=False)
    assert np.isfinite(model.fit(X, Y, verbose=0, callbacks=[logger]).history["loss"][0])


def cut_network():
    keras.utils.set_random_seed(0)
    network = [keras.Input((6,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)]
    return keras.Sequential(network)


def trained_in_parts(parts, **fit_arguments):
    model = TapeModel(cut_network(), batch_parts=parts)
    model.compile(optimizer="adam", loss="mse", metrics=["mae"], steps_per_execution=3)
    history = model.fit(X, Y, epochs=2, shuffle=False, verbose=0, **fit_arguments).history
    return history, model.predict(X, verbose=0), model.evaluate(X, Y, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [16, 23], ids=["last of 6", "last of 1"])
@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_trains_like_the_full_batch(parts, batch_size):
    ours = trained_in_parts(parts, batch_size=batch_size, sample_weight=WEIGHTS)
    whole = trained_in_parts(1, batch_size=batch_size, sample_weight=WEIGHTS)
    assert ours[0].keys() == whole[0].keys()
    for name, values in whole[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=1e-5)
    np.testing.assert_allclose(ours[1], whole[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours[2], whole[2], rtol=1e-5)


@pytest.mark.slow
def test_a_mask_reaches_the_loss_of_each_batch_part():
    def loss(parts, *, mask_zero=True):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Embedding(5, 3, mask_zero=mask_zero), keras.layers.Dense(1)]
        model = TapeModel(keras.Sequential([keras.Input((4,)), *layers]), batch_parts=parts)
        model.compile(loss="mse")
        words = np.arange(28).reshape(7, 4) % 5
        return model.train_on_batch(words, np.ones((7, 4, 1)))

    assert loss(3) == pytest.approx(loss(1), rel=1e-6)
    assert loss(3) != pytest.approx(loss(1, mask_zero=False), rel=1e-3)


def test_a_network_with_several_inputs_and_outputs_is_split():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((3,), name="b")}
    joined = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    outputs = {"sum": keras.layers.Dense(1)(joined), "same": joined}
    network = keras.Model(inputs, outputs)
    ours = tf.function(TapeModel(network, batch_parts=2))({"a": X, "b": Y})
    for name, values in network({"a": X, "b": Y}).items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6)


def test_parts_are_separate_calls_only_inside_a_graph():
    sizes = []

    class Watch(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda size: sizes.append(int(size)), [tf.shape(x)[0]], [])
            return x

    model = TapeModel(Watch(), batch_parts=3)
    model.predict(X[:10], verbose=0)
    assert sorted(sizes) == [3, 3, 4]
    sizes.clear()
    model(X[:10])
    assert sizes == [10]


@pytest.mark.slow
def test_a_model_around_a_built_network_is_built(tmp_path):
    trained, anew = TapeModel(cut_network()), TapeModel(cut_network())
    trained.compile(loss="mse")
    trained.fit(X, Y, verbose=0)
    trained.save_weights(tmp_path / "a.weights.h5")
    anew.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(anew(X), trained(X))
    assert not TapeModel(keras.Sequential([keras.layers.Dense(1)])).built


def test_the_number_of_parts_is_saved_with_the_model(tmp_path):
    model = TapeModel(cut_network(), batch_parts=2)
    model.build((None, 6))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.batch_parts == 2
    np.testing.assert_array_equal(again(X), model(X))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TapeModel(cut_network(), batch_parts=0),
            "batch_parts is wrong. Received: 0. Expected: an integer of at least 1.",
        ),
        (
            lambda: TapeModel(cut_network(), batch_parts="auto"),
            "batch_parts is wrong. Received: 'auto'. Expected: an integer of at least 1.",
        ),
        (
            lambda: TapeModel(**functional_arguments(), batch_parts=2),
            "only the batches of a wrapped network can be split. Received: batch_parts=2. "
            "Expected: TapeModel(network, batch_parts=...), or 1.",
        ),
        (
            lambda: TapeModel(keras.Sequential(layers()), batch_parts=2),
            "batch normalization needs the batch in one part. Received: batch_parts=2. "
            "Expected: 1.",
        ),
    ],
)
def test_batch_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(tape_model).failed == 0


def test_a_stream_that_a_callback_evaluates_is_shared_among_replicas(make_model, monkeypatch):
    images = np.zeros((8, 28, 28), np.uint8), np.zeros(8, np.uint8)
    train, other = batches(*images, batch_size=4), batches(*images, batch_size=4)
    shared = []
    monkeypatch.setattr(type(train), "share_among", lambda stream, _: shared.append(stream))
    model = make_model()
    evaluate = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: model.evaluate(other, verbose=0)
    )
    model.fit(train, verbose=0, callbacks=[evaluate])
    assert shared == [train, other]
