"""Layers that draw, keep state or mask; precision, optimizers and ways of running."""

import keras
import numpy as np
import pytest

from tests.parity.rows import CLASSES, WEIGHTS, WORDS, X, Y, column, dense, fitted, row, sgd, state

LAYERS, OPTIMIZERS, WAYS = "Layers", "Optimizers and precision", "Ways of running"
STEPS = (WORDS[..., None] * [0.1, -0.2]).astype("float32")  # (22, 5, 2)


def sequential(shape, *layers, **arguments):
    return keras.Sequential([keras.Input(shape, **arguments), *layers, keras.layers.Dense(2)])


def hidden(*layers):
    return lambda: sequential((4,), keras.layers.Dense(3), *(layer() for layer in layers))


column("dropout", LAYERS, network=hidden(lambda: keras.layers.Dropout(0.5)))
column("batch normalization", LAYERS, network=hidden(keras.layers.BatchNormalization))
column(
    "other normalizations",
    LAYERS,
    network=hidden(
        keras.layers.LayerNormalization,
        lambda: keras.layers.GroupNormalization(3),
        keras.layers.UnitNormalization,
    ),
)
column("noise", LAYERS, network=hidden(lambda: keras.layers.GaussianNoise(0.3)))
column(
    "spectral normalization",
    LAYERS,
    network=lambda: sequential((4,), keras.layers.SpectralNormalization(keras.layers.Dense(3))),
)
column(
    "convolutions and augmentation",
    LAYERS,
    x=np.repeat(STEPS[..., None], 3, 2)[:, :, :4],
    network=lambda: sequential(
        (5, 4, 1),
        keras.layers.RandomFlip(seed=3),
        keras.layers.Conv2D(2, 2),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
    ),
)
column("an LSTM", LAYERS, x=STEPS, network=lambda: sequential((5, 2), keras.layers.LSTM(3)))
column(
    "a bidirectional GRU with dropout",
    LAYERS,
    x=STEPS,
    network=lambda: sequential(
        (5, 2), keras.layers.Bidirectional(keras.layers.GRU(2, dropout=0.3, recurrent_dropout=0.2))
    ),
)
column(
    "a mask for an LSTM",
    LAYERS,
    x=WORDS,
    network=lambda: sequential(
        (5,), keras.layers.Embedding(7, 3, mask_zero=True), keras.layers.LSTM(3)
    ),
)
column(
    "a mask that reaches the loss",
    LAYERS,
    x=STEPS,
    y=np.repeat(Y[:, None], 5, 1),
    network=lambda: sequential(
        (5, 2), keras.layers.Masking(0.0), keras.layers.LSTM(3, return_sequences=True)
    ),
    compiled={"metrics": ["mae"], "weighted_metrics": ["mse"]},
)
column(
    "a mask that reaches the loss, with weights per time step",
    LAYERS,
    x=WORDS,
    y=np.repeat(Y[:, None], 5, 1),
    sample_weight=np.outer(WEIGHTS, np.arange(1, 6, dtype="float32")),
    network=lambda: sequential(
        (5,), keras.layers.Embedding(7, 3, mask_zero=True), keras.layers.Dense(3)
    ),
    compiled={"metrics": ["mae"], "weighted_metrics": ["mse"]},
)


@row("a stateful RNN", LAYERS)
def _(make):
    network = keras.Sequential(
        [
            keras.Input(batch_shape=(4, 5, 2)),
            keras.layers.GRU(3, stateful=True),
            keras.layers.Dense(2),
        ]
    )
    model = make.wrapped(network)
    model.compile(sgd(), "mse")
    history = model.fit(STEPS[:20], Y[:20], batch_size=4, epochs=2, shuffle=False, verbose=0)
    return history.history, state(model)


@row("attention", LAYERS)
def _(make):
    inputs = keras.Input((5, 2))
    attended = keras.layers.MultiHeadAttention(2, 2, dropout=0.2)(inputs, inputs)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(attended))
    return fitted(make.functional(inputs, outputs), STEPS)


@row("frozen layers", LAYERS)
def _(make):
    network = dense()
    network.layers[0].trainable = False
    model = make.wrapped(network)
    first = fitted(model)
    network.layers[0].trainable = True
    return first, fitted(model)


@row("a frozen batch normalization", LAYERS)
def _(make):
    network = hidden(keras.layers.BatchNormalization)()
    network.layers[1].trainable = False
    return fitted(make.wrapped(network))


@row("nothing to train", LAYERS)
def _(make):
    network = dense()
    network.trainable = False
    model = make.wrapped(network)
    with pytest.warns(UserWarning, match="weights"):
        return fitted(model)


@row("a layer that does not depend on the loss", LAYERS)
def _(make):
    class Idle(make.base):
        def __init__(self):
            super().__init__()
            self.used, self.idle = keras.layers.Dense(2), keras.layers.Dense(3)

        def call(self, x):
            self.idle(x)
            return self.used(x)

    return fitted(Idle())


@row("a variable that call increments", LAYERS)
def _(make):
    class Counting(make.base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)
            self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros")

        def call(self, x, training=False):
            if training:
                self.calls.assign_add(1.0)
            return self.dense(x)

    return fitted(Counting())


@row("a sublayer that is a compiled model", LAYERS)
def _(make):
    inner = dense(3)
    inner.compile("adam", "mse", metrics=["mae"])
    inner.fit(X, np.zeros((22, 3)), verbose=0, shuffle=False)
    return fitted(make.wrapped(sequential((4,), inner)), compiled={"metrics": ["mae"]})


for name, optimizer in {
    "Adam": lambda: keras.optimizers.Adam(0.01),
    "AdamW": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.01),
    "Lion": lambda: keras.optimizers.Lion(0.01),
    "a schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 5)),
    "clipped by norm": lambda: sgd(clipnorm=0.1),
    "clipped by value": lambda: sgd(clipvalue=0.05),
    "clipped by the global norm": lambda: sgd(global_clipnorm=0.1),
    "gradient accumulation": lambda: sgd(gradient_accumulation_steps=2),
    "averaged weights": lambda: sgd(use_ema=True, ema_momentum=0.5),
    "averaged weights that regularly overwrite the weights": lambda: sgd(
        use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
    ),
    "accumulated, averaged and clipped": lambda: sgd(
        gradient_accumulation_steps=2, use_ema=True, clipnorm=0.1
    ),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(
        sgd(), initial_scale=2.0**9, dynamic_growth_steps=3
    ),
}.items():
    column(f"optimizer: {name}", OPTIMIZERS, optimizer=optimizer, epochs=3)


@row("optimizer: a constraint", OPTIMIZERS)
def _(make):
    network = sequential(
        (4,), keras.layers.Dense(3, kernel_constraint=keras.constraints.MaxNorm(0.5))
    )
    return fitted(make.wrapped(network))


@row("optimizer: not built before fit", OPTIMIZERS)
def _(make):
    return fitted(make.wrapped(keras.Sequential([keras.layers.Dense(2)])), optimizer="adam")


def under_policy(policy):
    """Add a row that trains under a global dtype policy."""

    def run(make):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            network = sequential((4,), keras.layers.Dense(8, activation="relu"))
            model = make.wrapped(network)
            return fitted(model, compiled={"metrics": ["mae"]}, epochs=3)
        finally:
            keras.config.set_dtype_policy(before)

    row(f"policy: {policy}", OPTIMIZERS)(run)


for policy in ("mixed_float16", "mixed_bfloat16", "float64"):
    under_policy(policy)


@row("policy: half precision that overflows and recovers", OPTIMIZERS)
def _(make):
    layer = keras.layers.Dense(2, dtype="mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=2.0**20)
    model = make.wrapped(keras.Sequential([keras.Input((4,)), layer]))
    found = fitted(model, 30 * X, optimizer=optimizer, epochs=4)
    return found, float(optimizer.dynamic_scale)


for name, compiled in {
    "eagerly": {"run_eagerly": True},
    "compiled by XLA": {"jit_compile": True},
    "not compiled by XLA": {"jit_compile": False},
}.items():
    column(f"run {name}", WAYS, compiled={"metrics": ["mae"], **compiled})

for steps in (2, 3, 5, 100):
    column(
        f"{steps} steps per execution",
        WAYS,
        compiled={"metrics": ["mae"], "steps_per_execution": steps},
        validation_data=(X[:9], Y[:9]),
        epochs=3,
    )
column(
    "3 steps per execution, eagerly",
    WAYS,
    compiled={"run_eagerly": True, "steps_per_execution": 3},
)
column(
    "2 steps per execution, dropout and gradient accumulation",
    WAYS,
    network=hidden(lambda: keras.layers.Dropout(0.5), keras.layers.BatchNormalization),
    optimizer=lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    compiled={"steps_per_execution": 2, "weighted_metrics": ["mae"]},
    sample_weight=WEIGHTS,
    batch_size=5,
)
column(
    "2 steps per execution, a metric with a vector",
    WAYS,
    network=lambda: dense(3, activation="softmax"),
    y=np.eye(3, dtype="float32")[CLASSES],
    loss="categorical_crossentropy",
    compiled=lambda: {"steps_per_execution": 2, "metrics": [keras.metrics.F1Score()]},
)


@row("Python in call, run eagerly", WAYS)
def _(make):
    seen = []

    class Looking(make.base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            y = self.dense(x)
            seen.append(float(y.numpy().sum()))
            return y

    return fitted(Looking(), compiled={"run_eagerly": True}), seen
