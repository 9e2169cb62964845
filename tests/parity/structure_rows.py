"""Several inputs and outputs, losses and metrics of all shapes."""

import keras
import numpy as np
import tensorflow as tf

from tests.parity.rows import CLASSES, WEIGHTS, X, Y, column, dense, fitted, row

STRUCTURE, LOSSES, METRICS = "Inputs and outputs", "Losses", "Metrics"
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]


def two_by_two(make, *, outputs="list", way="wrapped"):
    """Two inputs, a and b, and two outputs: c with two numbers, d with three."""
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([keras.layers.Dense(3, activation="tanh")(a), b])
    c = keras.layers.Dense(2, name="c")(joined)
    d = keras.layers.Dense(3, name="d", activation="softmax")(joined)
    inputs = {"a": a, "b": b} if outputs == "dict" else [a, b]
    outputs = {"c": c, "d": d} if outputs == "dict" else [c, d]
    if way == "functional":
        return make.functional(inputs, outputs)
    return make.wrapped(keras.Model(inputs, outputs))


AS_LISTS = {"x": [X, Y], "y": [Y, ONE_HOT]}
AS_DICTS = {"x": {"a": X, "b": Y}, "y": {"c": Y, "d": ONE_HOT}}


def both_ways(name, group, *, outputs, **arguments):
    """Add two rows: a wrapped network and a functional model."""
    for way in ("wrapped", "functional"):

        def run(make, way=way):
            made = {key: value() if callable(value) else value for key, value in arguments.items()}
            return fitted(two_by_two(make, outputs=outputs, way=way), **made)

        row(f"{name}, {way}", group, same_for_keras=f"{name}, wrapped")(run)


both_ways("lists", STRUCTURE, outputs="list", **AS_LISTS)
both_ways("dicts", STRUCTURE, outputs="dict", **AS_DICTS)
both_ways(
    "lists, with losses and metrics by name",
    STRUCTURE,
    outputs="list",
    x=[X, Y],
    y={"c": Y, "d": ONE_HOT},
    loss={"c": "mse", "d": "categorical_crossentropy"},
    compiled={"loss_weights": {"c": 0.5, "d": 2.0}, "metrics": {"c": ["mae"], "d": ["accuracy"]}},
)
both_ways(
    "a list of losses with weights, lists of metrics",
    STRUCTURE,
    outputs="list",
    loss=["mse", "categorical_crossentropy"],
    compiled={"loss_weights": [0.5, 2.0], "metrics": [["mae"], ["accuracy", "mse"]]},
    **AS_LISTS,
)
both_ways(
    "losses in a dict with weights, weighted metrics",
    STRUCTURE,
    outputs="dict",
    loss={"c": "mse", "d": "categorical_crossentropy"},
    compiled={
        "loss_weights": {"c": 0.5, "d": 2.0},
        "metrics": {"c": "mae"},
        "weighted_metrics": {"c": ["mse"], "d": ["accuracy"]},
    },
    sample_weight={"c": WEIGHTS, "d": 1 - WEIGHTS},
    **AS_DICTS,
)
both_ways(
    "an output without a loss",
    STRUCTURE,
    outputs="dict",
    x={"a": X, "b": Y},
    y={"c": Y},
    loss={"c": "mse"},
)
both_ways(
    "a tf.data.Dataset of dicts",
    STRUCTURE,
    outputs="dict",
    x=lambda: tf.data.Dataset.from_tensor_slices(
        ({"a": X, "b": Y}, {"c": Y, "d": ONE_HOT}, {"c": WEIGHTS, "d": WEIGHTS})
    ).batch(8),
    y=None,
)


@row("a nested structure", STRUCTURE)
def _(make):
    class Nested(make.base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, inputs):
            (a, b), c = inputs["pair"], inputs["c"]
            sums = self.dense(a) + b
            return {"sums": sums, "more": (sums * c, [sums - 1])}

    x = {"pair": (X, Y), "c": Y}
    y = {"sums": Y, "more": (Y, [Y])}
    model = Nested()
    return fitted(model, x, y, inputs=x, loss="mse")


@row("an argument of call that is not a tensor", STRUCTURE)
def _(make):
    class Scaled(make.base):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, inputs, scale=2.0):
            return scale * self.dense(inputs)

    return fitted(Scaled())


for name, loss in {
    "by name": "mean_absolute_error",
    "a function": lambda: lambda y, p: keras.ops.mean(abs(y - p), -1),
    "summed over the batch": lambda: keras.losses.MeanSquaredError(reduction="sum"),
    "averaged with the weights": lambda: keras.losses.MeanSquaredError(
        reduction="mean_with_sample_weight"
    ),
    "of float64": lambda: keras.losses.MeanSquaredError(dtype="float64"),
}.items():
    weights = None if name == "of float64" else WEIGHTS
    if callable(loss) and name == "a function":
        column(f"a loss, {name}", LOSSES, loss=loss, sample_weight=weights)
    else:
        column(f"a loss, {name}", LOSSES, loss=loss, sample_weight=weights)


def regularized():
    hidden = keras.layers.Dense(
        3, kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2"
    )
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)])


column("regularizers", LOSSES, network=regularized, compiled={"metrics": ["mae"]})


@row("add_loss in a layer, partly only in training", LOSSES)
def _(make):
    class Penalty(keras.layers.Layer):
        def call(self, x, training=False):
            self.add_loss(0.1 * keras.ops.mean(x))
            if training:
                self.add_loss(0.2 * keras.ops.mean(abs(x)))
            return x

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Penalty()])
    model = make.wrapped(network)
    return fitted(model), model.evaluate(X, Y, verbose=0)


@row("a custom compute_loss", LOSSES)
def _(make):
    class Mine(make.base):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            return loss + keras.ops.mean(abs(y_pred)) * (2.0 if training else 1.0)

    inputs = keras.Input((4,))
    model = Mine(inputs, keras.layers.Dense(2)(inputs))
    return fitted(model), model.evaluate(X, Y, verbose=0)


class Range(keras.metrics.Metric):
    """A metric with several results."""

    def __init__(self):
        super().__init__(name="range")
        self.least = self.add_weight(name="least", initializer="zeros")
        self.most = self.add_weight(name="most", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.least.assign(keras.ops.minimum(self.least, keras.ops.min(y_pred)))
        self.most.assign(keras.ops.maximum(self.most, keras.ops.max(y_pred)))

    def result(self):
        return {"least": self.least, "most": self.most}


softmax = {"network": lambda: dense(3, activation="softmax"), "y": ONE_HOT}
for name, metrics in {
    "names": lambda: ["mae", "mse", "cosine_similarity"],
    "a function": lambda: [lambda y, p: keras.ops.mean(abs(y - p), -1)],
    "objects": lambda: [keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score()],
    "a vector": lambda: [keras.metrics.F1Score(), keras.metrics.Precision(), "accuracy"],
    "a matrix": lambda: [keras.metrics.MeanIoU(3, sparse_y_true=False, sparse_y_pred=False)],
    "of thresholds": lambda: [
        keras.metrics.AUC(num_thresholds=9),
        keras.metrics.TopKCategoricalAccuracy(2),
    ],
    "of several results": lambda: [Range()],
}.items():
    column(
        f"metrics: {name}",
        METRICS,
        loss="categorical_crossentropy",
        compiled=lambda metrics=metrics: {"metrics": metrics()},
        validation_data=(X[:9], ONE_HOT[:9]),
        **softmax,
    )
for name, arguments in {
    "binary": {
        "y": (Y[:, :1] > 0).astype("float32"),
        "network": lambda: dense(1, activation="sigmoid"),
        "loss": "binary_crossentropy",
    },
    "categorical": {"loss": "categorical_crossentropy", **softmax},
    "sparse": {
        "loss": "sparse_categorical_crossentropy",
        "y": CLASSES,
        "network": lambda: dense(3, activation="softmax"),
    },
}.items():
    column(
        f"metrics: accuracy as {name} accuracy",
        METRICS,
        compiled={"metrics": ["accuracy"], "weighted_metrics": ["acc"]},
        sample_weight=WEIGHTS,
        **arguments,
    )


@row("metrics: of a layer and of the model itself", METRICS)
def _(make):
    class Watched(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = keras.metrics.Mean(name="inner")

        def call(self, x):
            self.mean.update_state(keras.ops.mean(x))
            return x

    class Mine(make.base):
        def __init__(self):
            super().__init__()
            self.layer, self.dense = Watched(), keras.layers.Dense(2)
            self.size = keras.metrics.Mean(name="size")

        def call(self, x):
            y = self.dense(self.layer(x))
            self.size.update_state(keras.ops.mean(abs(y)))
            return y

    model = Mine()
    return fitted(model), model.evaluate(X, Y, verbose=0, return_dict=True)


@row("a custom compute_metrics", METRICS)
def _(make):
    class Mine(make.base):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            found = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**found, "size": keras.ops.mean(abs(y_pred))}

    inputs = keras.Input((4,))
    model = Mine(inputs, keras.layers.Dense(2)(inputs))
    return fitted(model, compiled={"metrics": ["mae"]}), model.evaluate(X, Y, verbose=0)
