"""Custom steps, single batches, evaluate, predict, and Keras's callbacks."""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tests.parity.rows import CLASSES, WEIGHTS, X, Y, dense, fitted, row, sgd, state

OWN, BATCHES, SCORES, CALLBACKS = (
    "Custom steps",
    "Single batches",
    "evaluate and predict",
    "Keras's callbacks",
)


def functional(cls):
    inputs = keras.Input((4,))
    return cls(inputs, keras.layers.Dense(2)(inputs))


@row("train_step", OWN)
def _(make):
    class Mine(make.base):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                error = self(x, training=True) - y
                loss = tf.reduce_mean(tf.abs(error) ** 1.5)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss, "largest": tf.reduce_max(error)}

    return fitted(functional(Mine))


@row("train_step with its own metrics, test_step and predict_step", OWN)
def _(make):
    class Mine(make.base):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.mean = keras.metrics.Mean(name="mean")

        @property
        def metrics(self):
            return [self.mean]

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            weights = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            self.mean.update_state(loss)
            return {"mean": self.mean.result()}

        def test_step(self, data):
            x, y = data
            self.mean.update_state(tf.reduce_mean(tf.abs(self(x, training=False) - y)))
            return {"mean": self.mean.result()}

        def predict_step(self, data):
            return 2 * self(data[0] if isinstance(data, tuple) else data)

    model = functional(Mine)
    return fitted(model, validation_data=(X[:9], Y[:9])), model.evaluate(X, Y, verbose=0)


@row("train_step that calls Keras's train_step", OWN)
def _(make):
    class Mine(make.base):
        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "steps": tf.cast(self.optimizer.iterations, tf.float32)}

    return fitted(functional(Mine), compiled={"metrics": ["mae"]})


@row("two optimizers in one train_step", OWN)
def _(make):
    class Pair(make.base):
        def __init__(self):
            super().__init__()
            self.one, self.other = keras.layers.Dense(2), keras.layers.Dense(2)

        def compile(self, one, other, **arguments):
            super().compile(optimizer=one, **arguments)
            self.other_optimizer = other

        def call(self, x):
            return self.one(x) + self.other(x)

        def train_step(self, data):
            x, y = data
            for layer, optimizer in (
                (self.one, self.optimizer),
                (self.other, self.other_optimizer),
            ):
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                weights = layer.trainable_weights
                optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Pair()
    model(X)
    optimizers = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)
    for layer, optimizer in zip((model.one, model.other), optimizers, strict=True):
        optimizer.build(layer.trainable_weights)
    model.compile(*optimizers, loss="mse")
    history = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return history, model.get_weights()


@row("a train_step without a call", OWN)
def _(make):
    class Adversaries(make.base):
        def __init__(self):
            super().__init__()
            self.generator, self.judge = dense(4), dense(1)

        def train_step(self, data):
            real = data[0]
            with tf.GradientTape(persistent=True) as tape:
                made = self.generator(real, training=True)
                judged_real, judged_made = self.judge(real), self.judge(made)
                judge_loss = tf.reduce_mean(judged_made - judged_real)
                generator_loss = -tf.reduce_mean(judged_made)
            both = [(judge_loss, self.judge), (generator_loss, self.generator)]
            pairs = [
                (tape.gradient(loss, weight), weight)
                for loss, layer in both
                for weight in layer.trainable_weights
            ]
            self.optimizer.apply_gradients(pairs)
            return {"judge_loss": judge_loss, "generator_loss": generator_loss}

    model = Adversaries()
    model.compile(optimizer=sgd())
    history = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return history, state(model)


@row("a subclass whose call takes training", OWN)
def _(make):
    class Mine(make.base):
        def __init__(self):
            super().__init__()
            self.dense, self.dropout = keras.layers.Dense(2), keras.layers.Dropout(0.4, seed=1)

        def call(self, x, training=False):
            return self.dropout(self.dense(x), training=training) * (2.0 if training else 1.0)

    return fitted(Mine(), compiled={"metrics": ["mae"]}, validation_split=0.3)


def on_batches(model, *, compiled=None, **arguments):
    model.compile(sgd(), "mse", **(compiled or {}))
    trained = [model.train_on_batch(X[i : i + 8], Y[i : i + 8], **arguments) for i in (0, 8, 16)]
    tested = model.test_on_batch(X[:5], Y[:5])
    return trained, tested, model.predict_on_batch(X[:3]), state(model)


@row("train_on_batch, test_on_batch, predict_on_batch", BATCHES)
def _(make):
    return on_batches(make.wrapped(dense()))


@row("train_on_batch with metrics, as a dict", BATCHES)
def _(make):
    return on_batches(make.wrapped(dense()), compiled={"metrics": ["mae"]}, return_dict=True)


@row("train_on_batch on a model that is not built", BATCHES)
def _(make):
    return on_batches(make.wrapped(keras.Sequential([keras.layers.Dense(2)])))


@row("train_on_batch, eagerly", BATCHES)
def _(make):
    return on_batches(make.wrapped(dense()), compiled={"run_eagerly": True})


@row("train_on_batch at several steps per execution", BATCHES)
def _(make):
    return on_batches(make.wrapped(dense()), compiled={"steps_per_execution": 4})


@row("train_on_batch with sample_weight", BATCHES)
def _(make):
    model = make.wrapped(dense())
    model.compile(sgd(), "mse", weighted_metrics=["mae"])
    trained = [model.train_on_batch(X, Y, sample_weight=WEIGHTS) for _ in range(2)]
    return trained, model.test_on_batch(X, Y, sample_weight=WEIGHTS, return_dict=True)


@row("train_on_batch with class_weight", BATCHES)
def _(make):
    model = make.wrapped(dense(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(sgd(), loss, metrics=["accuracy"])
    weight = {0: 1.0, 1: 2.0, 2: 0.5}
    return [model.train_on_batch(X, CLASSES, class_weight=weight) for _ in range(3)]


@row("batches between two fits", BATCHES)
def _(make):
    model = make.wrapped(dense())
    first = fitted(model)
    single = model.train_on_batch(X[:5], Y[:5])
    again = model.fit(X, Y, batch_size=8, shuffle=False, verbose=0).history
    return first, single, again, state(model)


@row("evaluate before any training", SCORES)
def _(make):
    model = make.wrapped(dense())
    model.compile(sgd(), "mse", metrics=["mae"], weighted_metrics=["mse"])
    data = tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS)).batch(5)
    return [
        model.evaluate(X, Y, verbose=0),
        model.evaluate(X, Y, sample_weight=WEIGHTS, batch_size=5, verbose=0, return_dict=True),
        model.evaluate(data, verbose=0),
        model.evaluate(data, steps=2, verbose=0),
    ]


@row("predict of all kinds of data", SCORES)
def _(make):
    model = make.wrapped(dense())
    data = tf.data.Dataset.from_tensor_slices(X).batch(5)
    return [
        model.predict(X, verbose=0),
        model.predict(X, batch_size=5, verbose=0),
        model.predict(data, verbose=0),
        model.predict(data, steps=2, verbose=0),
        model.predict(tf.constant(X), verbose=0),
        model(X),
    ]


@row("evaluate and predict at several steps per execution", SCORES)
def _(make):
    model = make.wrapped(dense())
    model.compile(sgd(), "mse", metrics=["mae"], steps_per_execution=3)
    return model.evaluate(X, Y, batch_size=4, verbose=0), model.predict(X, batch_size=4, verbose=0)


@row("evaluate with callbacks", SCORES)
def _(make):
    journal = []
    model = make.wrapped(dense())
    model.compile(sgd(), "mse", metrics=["mae"])
    model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[Journal(journal)])
    model.predict(X, batch_size=8, verbose=0, callbacks=[Journal(journal)])
    return journal


def evaluated_three_times(make, **compiled):
    model = make.wrapped(dense())
    model.compile(sgd(), "mse", metrics=["mae"], **compiled)
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    return [model.evaluate(endless, steps=7, verbose=0) for _ in range(3)]


@row("evaluate several times, with steps", SCORES)
def _(make):
    return evaluated_three_times(make)


@row(
    "evaluate with steps, at 5 steps per execution",
    SCORES,
    keras_is_wrong="evaluate runs a multiple of steps_per_execution, here 10 batches for steps=7",
    right="evaluate several times, with steps",
)
def _(make):
    return evaluated_three_times(make, steps_per_execution=5)


class Journal(keras.callbacks.Callback):
    """Records every call with its logs."""

    def __init__(self, lines):
        super().__init__()
        self._lines = lines

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("on_"):
            return found

        def write(*arguments, **keywords):
            values = [*arguments, *keywords.values()]
            logs = next((v for v in values if isinstance(v, dict)), {})
            numbers = {k: np.asarray(v) for k, v in logs.items()}
            self._lines.append([name, [v for v in values if isinstance(v, int)], numbers])

        return write


def with_callbacks(make, *callbacks, **arguments):
    arguments = {"validation_data": (X[:9], Y[:9]), "epochs": 6, **arguments}
    return fitted(make.wrapped(dense()), callbacks=list(callbacks), **arguments)


@row("callbacks: every call and its logs", CALLBACKS)
def _(make):
    journal = []
    return with_callbacks(make, Journal(journal), epochs=2), journal


def at_two_steps_per_execution(make, count):
    journal = []
    fit = {"x": X[:count], "y": Y[:count], "epochs": 2, "compiled": {"steps_per_execution": 2}}
    return with_callbacks(make, Journal(journal), **fit), journal


@row("callbacks: every call at two steps per execution", CALLBACKS)
def _(make):
    return at_two_steps_per_execution(make, 16)


@row(
    "callbacks: every call where the last execution has fewer steps",
    CALLBACKS,
    keras_is_wrong="on_train_batch_end gets the number of a batch that does not exist, as if the "
    "last execution of an epoch had all its steps",
)
def _(make):
    return at_two_steps_per_execution(make, 22)


def seen_by_hooks(make, *names):
    """What LambdaCallback sees of the model at each call of some hooks."""
    model, seen = make.wrapped(dense()), []

    def note(batch, logs=None):
        seen.append((batch, dict(logs or {}), int(model.optimizer.iterations), model.get_weights()))

    callback = keras.callbacks.LambdaCallback(**dict.fromkeys(names, note))
    options = {"validation_data": (X[:9], Y[:9]), "validation_batch_size": 4, "epochs": 3}
    return fitted(model, callbacks=[callback], **options), seen


@row("callbacks: the model at each batch", CALLBACKS)
def _(make):
    return seen_by_hooks(make, "on_train_batch_begin", "on_train_batch_end")


@row("callbacks: the model at each batch of a validation", CALLBACKS)
def _(make):
    return seen_by_hooks(make, "on_test_batch_begin", "on_test_batch_end")


@row("callbacks: the points of keras.callbacks.TensorBoard at each batch", CALLBACKS)
def _(make):
    with tempfile.TemporaryDirectory() as directory:
        board = keras.callbacks.TensorBoard(directory, update_freq=1, write_graph=False)
        found = with_callbacks(make, board, epochs=2)
        points = []
        for path in sorted(pathlib.Path(directory).glob("*/events*")):
            for event in tf.compat.v1.train.summary_iterator(str(path)):
                for value in event.summary.value:
                    number = tf.make_ndarray(value.tensor)
                    if number.dtype.kind == "f":
                        points.append([value.tag, event.step, number])
        return found, points


@row("callbacks: a single callback, not in a list", CALLBACKS)
def _(make):
    journal = []
    return fitted(make.wrapped(dense()), callbacks=Journal(journal)), journal


@row("callbacks: their params", CALLBACKS)
def _(make):
    class Parameters(keras.callbacks.Callback):
        def set_params(self, params):
            super().set_params(params)
            told.append(params)

    told = []
    model = make.wrapped(dense())
    fitted(model, validation_data=(X[:9], Y[:9]), callbacks=[Parameters()])
    model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[Parameters()])
    return told


@row("callbacks: EarlyStopping that restores the best weights", CALLBACKS)
def _(make):
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=1, restore_best_weights=True, min_delta=0.05
    )
    return with_callbacks(make, stopping, epochs=20), stopping.stopped_epoch


@row("callbacks: ReduceLROnPlateau", CALLBACKS)
def _(make):
    reducing = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.5)
    return with_callbacks(make, reducing)


@row("callbacks: LearningRateScheduler", CALLBACKS)
def _(make):
    return with_callbacks(make, keras.callbacks.LearningRateScheduler(lambda e, rate: rate / 2))


@row("callbacks: LambdaCallback that sets the learning rate of each batch", CALLBACKS)
def _(make):
    def on_train_batch_begin(batch, logs):
        model.optimizer.learning_rate = 0.1 / (batch + 1)

    model = make.wrapped(dense())
    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=on_train_batch_begin)
    return fitted(model, callbacks=[callback])


@row("callbacks: CSVLogger", CALLBACKS)
def _(make):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "log.csv")
        found = with_callbacks(make, keras.callbacks.CSVLogger(path))
        head, *lines = path.read_text().splitlines()
        return found, head, [[float(word) for word in line.split(",")] for line in lines]


@row("callbacks: ModelCheckpoint", CALLBACKS)
def _(make):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "{epoch}-{val_loss:.3f}.weights.h5")
        saving = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
        best = pathlib.Path(directory, "best.weights.h5")
        keeping = keras.callbacks.ModelCheckpoint(
            best, monitor="val_loss", save_best_only=True, save_weights_only=True
        )
        found = with_callbacks(make, saving, keeping, epochs=3)
        names = sorted(file.name for file in pathlib.Path(directory).iterdir())
        model = make.wrapped(dense())
        model.load_weights(best)
        return found, names, model.get_weights()


@row("callbacks: ModelCheckpoint of the whole model", CALLBACKS)
def _(make):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.keras")
        found = with_callbacks(make, keras.callbacks.ModelCheckpoint(path, save_freq=2), epochs=2)
        return found, keras.models.load_model(path).predict(X, verbose=0)


@row("callbacks: SwapEMAWeights", CALLBACKS)
def _(make):
    optimizer = sgd(use_ema=True, ema_momentum=0.5)
    return with_callbacks(make, keras.callbacks.SwapEMAWeights(), optimizer=optimizer)


@row("callbacks: TerminateOnNaN", CALLBACKS)
def _(make):
    y = np.where(np.arange(22)[:, None] == 12, np.nan, Y).astype("float32")
    return with_callbacks(make, keras.callbacks.TerminateOnNaN(), y=y)


@row("callbacks: training stopped after a batch", CALLBACKS)
def _(make):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.optimizer.iterations == 4

    return with_callbacks(make, Stop())


@row("callbacks: a BackupAndRestore", CALLBACKS)
def _(make):
    class Crash(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("crash")

    with tempfile.TemporaryDirectory() as directory:
        model = make.wrapped(dense())
        found = []
        for others in ([Crash()], []):
            keras.utils.set_random_seed(5)
            backup = keras.callbacks.BackupAndRestore(pathlib.Path(directory, "backup"))
            try:
                found.append(fitted(model, callbacks=[backup, *others], epochs=5))
            except RuntimeError:
                found.append(model.get_weights())
        return found
