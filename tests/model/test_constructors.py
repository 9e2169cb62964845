"""Every way to subclass ``keras.Model`` works with `TapeModel` as the base class."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.checkpoint.model_variables import groups
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).random((12, 6), np.float32)
Y = X.sum(1, keepdims=True)


def network(units=1):
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(units)])


def call_and_attributes(base):
    class Net(base):
        def __init__(self, hidden, rate=0.0, *, outputs=1):
            super().__init__()
            self.hidden, self.rate, self.outputs_ = hidden, rate, outputs
            self.first = keras.layers.Dense(hidden, activation="relu")
            self.dropout = keras.layers.Dropout(rate, seed=1)
            self.last = keras.layers.Dense(outputs)

        def call(self, x, training=False):
            return self.last(self.dropout(self.first(x), training=training))

        def get_config(self):
            return {"hidden": self.hidden, "rate": self.rate, "outputs": self.outputs_}

    return Net


def positional(base):
    return call_and_attributes(base)(4, 0.1)


def by_keyword(base):
    return call_and_attributes(base)(hidden=4, outputs=1)


def two_networks(base):
    class VAE(base):
        def __init__(self, encoder, decoder, **options):
            super().__init__(**options)
            self.encoder, self.decoder = encoder, decoder

        def call(self, x):
            return self.decoder(self.encoder(x))

        def get_config(self):
            return {"encoder": self.encoder, "decoder": self.decoder}

        @classmethod
        def from_config(cls, config):
            return cls(*map(keras.saving.deserialize_keras_object, config.values()))

    decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    return VAE(network(3), decoder, name="vae")


def own_network(base):
    class Diffusion(base):
        def __init__(self, units):
            super().__init__()
            self.units, self.network = units, network(units)

        def call(self, x):
            return self.network(x)

        def get_config(self):
            return {"units": self.units}

    return Diffusion(1)


def functional_by_keyword(base):
    class Functional(base):
        def __init__(self, units=1, **options):
            inputs = keras.Input((6,))
            super().__init__(inputs=inputs, outputs=keras.layers.Dense(units)(inputs), **options)

        def get_config(self):
            return {"units": 1}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    return Functional()


def functional_by_position(base):
    class Functional(base):
        def __init__(self):
            i = keras.Input((6,))
            super().__init__(i, keras.layers.Dense(1)(i))

        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    return Functional()


def functional(base):
    inputs = keras.Input((6,))
    return base(inputs, keras.layers.Dense(1)(inputs), name="functional")


def named_and_typed(base):
    class Named(base):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    return Named(name="named", dtype="float32")


def without_constructor(base):
    class Plain(base):
        def build(self, shape):
            self.dense = keras.layers.Dense(1)
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    return Plain()


def subclass_of_a_subclass(base):
    class Child(call_and_attributes(base)):
        def __init__(self, hidden, scale=2.0):
            super().__init__(hidden, outputs=1)
            self.scale = scale

        def call(self, x, training=False):
            return super().call(x, training=training) * self.scale

        def get_config(self):
            return {"hidden": self.hidden, "scale": self.scale}

    return Child(4)


def beside_another_base(base):
    class Named:
        def __init__(self, *args, label="none", **options):
            super().__init__(*args, **options)
            self.label = label

    class Mixed(Named, base):
        def __init__(self, label="a"):
            super().__init__(label=label)
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            return {"label": self.label}

    return Mixed()


def own_compile(base):
    class Compiled(base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def compile(self, optimizer, loss, **options):
            super().compile(**options)
            self.own_optimizer, self.own_loss = optimizer, keras.losses.MeanSquaredError()

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.own_loss(y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_weights)
            self.own_optimizer.apply(gradients, self.trainable_weights)
            return {"loss": loss}

        def get_config(self):
            return {}

    return Compiled()


WAYS = [
    positional,
    by_keyword,
    two_networks,
    own_network,
    functional_by_keyword,
    functional_by_position,
    functional,
    named_and_typed,
    without_constructor,
    subclass_of_a_subclass,
    beside_another_base,
    own_compile,
]


def trained(make, base):
    """(the model, its History, its weights) after a short training."""
    keras.utils.set_random_seed(1)
    model = make(base)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    return model, history, [np.array(v) for v in model.weights]


@pytest.mark.parametrize("make", WAYS)
def test_a_subclass_trains_and_saves_like_one_of_keras_model(make, tmp_path):
    expected_model, expected_history, expected = trained(make, keras.Model)
    model, history, weights = trained(make, TapeModel)
    assert re.sub(r"_\d+$", "", model.name) == re.sub(r"_\d+$", "", expected_model.name)
    assert history == expected_history
    for array, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert isinstance(model, TapeModel)
    assert groups(model)["others"] == [] or make is own_compile

    model.save(tmp_path / "model.keras")
    kinds = {type(model).__name__: type(model)}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=kinds)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("make", WAYS)
def test_a_network_can_be_wrapped_after_any_subclass(make):
    make(TapeModel)
    model = TapeModel(network())
    assert model.wrapped_network is not None
    model.compile("sgd", "mse")
    assert list(model.fit(X, Y, verbose=0).history) == ["loss"]


def test_a_list_of_layers_is_not_a_network():
    with pytest.raises(UsageError, match=r"Received: list\. Expected:.*keras\.Sequential"):
        TapeModel([keras.layers.Dense(1)])
