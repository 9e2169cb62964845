"""The forms in which people write a train_step, each with a loop in NumPy that gives its numbers.

Every model has scalar weights that begin at 1: a step predicts ``w * x`` and learns by SGD.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

RATE, OTHER_RATE = 0.1, 0.05
BATCH, EXAMPLES = 4, 18  # The last batch is short.


def data():
    random = np.random.default_rng(3)
    x = random.uniform(0.5, 1.5, (EXAMPLES, 1)).astype(np.float32)
    return x, 3 * x + random.normal(0, 0.1, x.shape).astype(np.float32)


def batches_of(x, y, *, epochs):
    for _ in range(epochs):
        for begin in range(0, len(x), BATCH):
            yield x[begin : begin + BATCH].astype(float), y[begin : begin + BATCH].astype(float)


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of a train_step.

    Attributes:
        make: returns the compiled model of a base class; takes further arguments of ``compile``.
        loop: a generator of {tag: value} of each step, from an iterable of batches.
        losses: the names of its losses, in the order of the logs.
        is_told_eagerly: whether an eager step shows where its losses come from.
        keras_takes: whether Keras takes its logs.
    """

    make: Callable
    loop: Callable
    losses: tuple[str, ...]
    is_told_eagerly: bool = True
    keras_takes: bool = True


FORMS: dict[str, Form] = {}


def form(loop, *losses, **flags):
    def add(make):
        FORMS[make.__name__.replace("_", " ")] = Form(make, loop, losses, **flags)
        return make

    return add


def dense(**arguments):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", **arguments)
    layer.build((None, 1))
    return layer


def sgd(rate=RATE, **arguments):
    return keras.optimizers.SGD(rate, **arguments)


class Regression:
    """A part of a model: one weight and the gradient of its loss."""

    def __init__(self):
        super().__init__()
        self.layer = dense()

    def call(self, x):
        return self.layer(x)

    def descend(self, data):
        """Apply a step of the optimizer; return the squared errors (n, 1) and their mean."""
        x, y = data
        with tf.GradientTape() as tape:
            errors = tf.square(self(x) - y)
            loss = tf.reduce_mean(errors)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return errors, loss


def regression(class_, base, compile_arguments, **arguments):
    """A compiled model of a class that is made of `Regression` and a base."""
    model = type(class_.__name__, (class_, Regression, base), {})()
    model.compile(**{"optimizer": sgd(), **arguments, **compile_arguments})
    return model


def one_loss(batches, *, name="loss", steps_per_update=1):
    """The values of a regression; accumulated gradients are averaged, as Keras does."""
    w, held = 1.0, []
    for x, y in batches:
        loss, gradient = np.mean((w * x - y) ** 2), np.mean(2 * x * (w * x - y))
        yield {name: loss, "learning_rate": RATE, "gradient_norm": abs(gradient)}
        held.append(gradient)
        if len(held) == steps_per_update:
            w -= RATE * np.mean(held)
            held = []


def running_mean(batches):
    """The mean over the epoch so far of batches that weigh the same."""
    losses, steps = [], -(-EXAMPLES // BATCH)
    for step, values in enumerate(one_loss(batches)):
        losses = [*(losses if step % steps else []), values.pop("loss")]
        yield {"loss (epoch mean)": np.mean(losses), **values}


@form(one_loss, "loss")
def default_step_of_keras(base, **arguments):
    model = base(*_functional())
    model.compile(optimizer=sgd(), loss="mse", metrics=["mae"], **arguments)
    return model


def _functional():
    inputs = keras.Input((1,))
    return inputs, dense()(inputs)


@form(one_loss, "loss")
def a_tracker_as_in_the_guide(base, **arguments):
    class Guide:
        def __init__(self):
            super().__init__()
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.mae_metric = keras.metrics.MeanAbsoluteError(name="mae")

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

        def train_step(self, data):
            _, loss = self.descend(data)
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(data[1], self(data[0]))
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

    return regression(Guide, base, arguments)


@form(one_loss, "loss")
def results_of_all_metrics(base, **arguments):
    class Results:
        def train_step(self, data):
            _, loss = self.descend(data)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(data[1], self(data[0]))
            return {metric.name: metric.result() for metric in self.metrics}

    return regression(Results, base, arguments, loss="mse", metrics=["mae"])


@form(one_loss, "loss")
def a_tensor(base, **arguments):
    class Tensor:
        def train_step(self, data):
            return {"loss": self.descend(data)[1]}

    return regression(Tensor, base, arguments)


@form(one_loss, "loss")
def compute_metrics_and_a_tensor(base, **arguments):
    class Computed:
        def train_step(self, data):
            x, y = data
            _, loss = self.descend(data)
            return {**self.compute_metrics(x, y, self(x)), "loss": loss}

    return regression(Computed, base, arguments, loss="mse", metrics=["mae"])


@form(one_loss, "loss")
def a_tracker_that_is_called(base, **arguments):
    class Called:
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="tracker")

        def train_step(self, data):
            return {"loss": self.tracker(self.descend(data)[1])}

    return regression(Called, base, arguments)


@form(one_loss, "loss")
def a_tracker_of_examples(base, **arguments):
    class Examples:
        def __init__(self):
            super().__init__()
            self.means = {"loss": keras.metrics.Mean(name="loss")}

        def train_step(self, data):
            self.means["loss"].update_state(self.descend(data)[0])
            return {name: mean.result() for name, mean in self.means.items()}

    return regression(Examples, base, arguments)


@form(one_loss, "loss")
def a_tracker_of_parts_of_the_batch(base, **arguments):
    class Parts:
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="loss")

        def train_step(self, data):
            errors, _ = self.descend(data)
            for part in (errors[:1], errors[1:]):
                count = tf.cast(tf.shape(part)[0], tf.float32)
                self.tracker.update_state(tf.reduce_mean(part), sample_weight=count)
            return {"loss": self.tracker.result()}

    return regression(Parts, base, arguments)


@form(lambda batches: one_loss(batches, name="custom_loss"), "custom_loss")
def a_metric_of_ones_own_class(base, **arguments):
    class Halved(keras.metrics.Metric):
        """Counts twice what it gets, and halves it in its result."""

        def __init__(self, name):
            super().__init__(name=name)
            self.twice = self.add_variable((), "zeros", name="twice")
            self.seen = self.add_variable((), "zeros", name="seen")

        def update_state(self, loss):
            self.twice.assign_add(2 * loss)
            self.seen.assign_add(1)

        def result(self):
            return self.twice / self.seen / 2

    class Custom:
        def __init__(self):
            super().__init__()
            self.halved = Halved(name="custom_loss")

        def train_step(self, data):
            self.halved.update_state(self.descend(data)[1])
            return {"custom_loss": self.halved.result()}

    return regression(Custom, base, arguments)


@form(running_mean, "loss (epoch mean)")
def a_metric_with_variables_of_tensorflow(base, **arguments):
    class Hidden(keras.metrics.Metric):
        def __init__(self, name):
            super().__init__(name=name)
            self.sum, self.seen = tf.Variable(0.0), tf.Variable(0.0)

        def update_state(self, loss):
            self.sum.assign_add(loss)
            self.seen.assign_add(1)

        def reset_state(self):
            self.sum.assign(0)
            self.seen.assign(0)

        def result(self):
            return self.sum / self.seen

    class Custom:
        def __init__(self):
            super().__init__()
            self.hidden = Hidden(name="loss")

        def train_step(self, data):
            self.hidden.update_state(self.descend(data)[1])
            return {"loss": self.hidden.result()}

    return regression(Custom, base, arguments)


@form(running_mean, "loss (epoch mean)", is_told_eagerly=False)
def a_result_that_is_changed(base, **arguments):
    class Changed:
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="tracker")

        def train_step(self, data):
            self.tracker.update_state(2 * self.descend(data)[1])
            return {"loss": self.tracker.result() / 2}

    return regression(Changed, base, arguments)


@form(
    lambda batches: (
        {tag: value for tag, value in values.items() if tag != "gradient_norm"}
        for values in running_mean(batches)
    ),
    "loss (epoch mean)",
    is_told_eagerly=False,
)
def a_step_in_a_graph_of_its_own(base, **arguments):
    class Decorated:
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="loss")

        @tf.function
        def train_step(self, data):
            self.tracker.update_state(self.descend(data)[1])
            return {"loss": self.tracker.result()}

    return regression(Decorated, base, arguments)


def two_in_a_dict(batches):
    for values in one_loss(batches, name="first_loss"):
        yield {**values, "second_loss": values["first_loss"] / 2}


@form(two_in_a_dict, "first_loss", "second_loss")
def nested_logs(base, **arguments):
    class Nested:
        def __init__(self):
            super().__init__()
            self.tracker = keras.metrics.Mean(name="tracker")

        def train_step(self, data):
            _, loss = self.descend(data)
            self.tracker.update_state(loss / 2)
            losses = {"first_loss": loss, "second_loss": self.tracker.result()}
            return {"losses": losses, "seen": tf.constant(1.0)}

    return regression(Nested, base, arguments)


def a_loss_for_each_example(base, **arguments):
    """Its logs are vectors, so its history cannot be compared as those of the forms are."""

    class Unreduced:
        def train_step(self, data):
            errors, _ = self.descend(data)
            return {"loss": tf.reshape(errors, [-1])}

    return regression(Unreduced, base, arguments)


def without_losses(batches):
    for values in one_loss(batches):
        del values["loss"]
        yield values


@form(without_losses, keras_takes=False)
def no_logs(base, **arguments):
    class Silent:
        def train_step(self, data):
            self.descend(data)
            return {}

    return regression(Silent, base, arguments)


def vae_losses(batches):
    for values in one_loss(batches):
        loss = values.pop("loss")
        parts = {"reconstruction_loss": loss, "kl_loss": loss / 4}
        yield {"loss": loss, **parts, **values}


@form(vae_losses, "loss", "reconstruction_loss", "kl_loss")
def trackers_of_a_vae(base, **arguments):
    class Vae:
        def __init__(self):
            super().__init__()
            self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
            self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
            self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

        @property
        def metrics(self):
            return [
                self.total_loss_tracker,
                self.reconstruction_loss_tracker,
                self.kl_loss_tracker,
            ]

        def train_step(self, data):
            errors, loss = self.descend(data)
            self.total_loss_tracker.update_state(loss)
            self.reconstruction_loss_tracker.update_state(errors)
            self.kl_loss_tracker.update_state(loss / 4)
            return {
                "loss": self.total_loss_tracker.result(),
                "reconstruction_loss": self.reconstruction_loss_tracker.result(),
                "kl_loss": self.kl_loss_tracker.result(),
            }

    return regression(Vae, base, arguments)


def both(d_name, g_name):
    """The loop of `gan`, whose optimizers have these names."""

    def loop(batches):
        d, g = 1.0, 1.0
        for x, y in batches:
            d_loss, d_gradient = np.mean((d * x - y) ** 2), np.mean(2 * x * (d * x - y))
            d -= RATE * d_gradient
            g_loss, g_gradient = np.mean((g * x - d * x) ** 2), np.mean(2 * x * (g * x - d * x))
            g -= OTHER_RATE * g_gradient
            yield {
                "d_loss": d_loss,
                "g_loss": g_loss,
                f"learning_rate/{d_name}": RATE,
                f"learning_rate/{g_name}": OTHER_RATE,
                f"gradient_norm/{d_name}": abs(d_gradient),
                f"gradient_norm/{g_name}": abs(g_gradient),
            }

    return loop


def gan(base, held, optimizers, arguments, *, tracked=True):
    """Two networks; the second one follows the first.

    Args:
        held: {attribute: what holds the optimizers}.
        optimizers: the two optimizers.
        tracked: whether the logs are metrics' results.
    """

    class Gan(base):
        def __init__(self):
            super().__init__()
            self.discriminator, self.generator = dense(), dense()
            self.d_loss_metric = keras.metrics.Mean(name="d_loss")
            self.g_loss_metric = keras.metrics.Mean(name="g_loss")
            self.pair = None

        def compile(self, **arguments):
            super().compile(**arguments)
            for name, value in held.items():
                setattr(self, name, value)

        def descend(self, layer, optimizer, x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(x) - y))
            weights = layer.trainable_weights
            optimizer.apply(tape.gradient(loss, weights), weights)
            return loss

        def train_step(self, data):
            x, y = data
            d_loss = self.descend(self.discriminator, optimizers[0], x, y)
            g_loss = self.descend(self.generator, optimizers[1], x, self.discriminator(x))
            if not tracked:
                return {"d_loss": d_loss, "g_loss": g_loss}
            self.d_loss_metric.update_state(d_loss)
            self.g_loss_metric.update_state(g_loss)
            return {"d_loss": self.d_loss_metric.result(), "g_loss": self.g_loss_metric.result()}

    model = Gan()
    model.compile(**arguments)
    return model


def pair():
    return sgd(), sgd(OTHER_RATE)


@form(both("d_optimizer", "g_optimizer"), "d_loss", "g_loss")
def a_gan(base, **arguments):
    d_optimizer, g_optimizer = optimizers = pair()
    held = {"d_optimizer": d_optimizer, "g_optimizer": g_optimizer}
    return gan(base, held, optimizers, arguments)


@form(both("optimizers/0", "optimizers/1"), "d_loss", "g_loss")
def a_gan_with_a_list_of_optimizers(base, **arguments):
    optimizers = pair()
    return gan(base, {"optimizers": [*optimizers]}, optimizers, arguments, tracked=False)


@form(both("optimizers/d", "optimizers/g"), "d_loss", "g_loss")
def a_gan_with_a_dict_of_optimizers(base, **arguments):
    optimizers = pair()
    held = {"optimizers": dict(zip("dg", optimizers, strict=True))}
    return gan(base, held, optimizers, arguments)


@form(lambda batches: one_loss(batches, steps_per_update=2), "loss")
def accumulated_gradients(base, **arguments):
    model = base(*_functional())
    model.compile(optimizer=sgd(gradient_accumulation_steps=2), loss="mse", **arguments)
    return model


@form(one_loss, "loss")
def a_scaled_loss(base, **arguments):
    class Scaled:
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(x) - y))
                scaled = self.optimizer.scale_loss(loss)
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(scaled, weights), weights)
            return {"loss": loss}

    optimizer = keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=8.0)
    return regression(Scaled, base, {**arguments, "optimizer": optimizer})


def two_outputs(batches):
    a = b = 1.0
    for x, y in batches:
        a_gradient, b_gradient = np.mean(2 * x * (a * x - y)), 2 * np.mean(2 * x * (b * x - 2 * y))
        losses = {"a_loss": np.mean((a * x - y) ** 2), "b_loss": np.mean((b * x - 2 * y) ** 2)}
        yield {
            **losses,
            "loss": losses["a_loss"] + 2 * losses["b_loss"],
            "learning_rate": RATE,
            "gradient_norm": np.hypot(a_gradient, b_gradient),
        }
        a, b = a - RATE * a_gradient, b - RATE * b_gradient


@form(two_outputs, "loss", "a_loss", "b_loss")
def several_outputs(base, **arguments):
    inputs = keras.Input((1,))
    model = base(inputs, {name: dense(name=name)(inputs) for name in "ab"})
    losses, weights = {"a": "mse", "b": "mse"}, {"a": 1.0, "b": 2.0}
    model.compile(optimizer=sgd(), loss=losses, loss_weights=weights, **arguments)
    fit = model.fit

    def fit_both(x, y, **arguments):
        return fit(x, {"a": y, "b": 2 * y}, **arguments)

    object.__setattr__(model, "fit", fit_both)
    return model
