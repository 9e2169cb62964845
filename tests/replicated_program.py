"""The same trainings on one device, on two, or as one of two workers; a test runs it.

``python -m tests.replicated_program ROLE OUT [ADDRESSES INDEX]`` writes each training's results
to the directory OUT, as NumPy files.
"""

import contextlib
import json
import os
import pathlib
import sys

ROLES = ("one", "mirrored", "worker")
EXAMPLES = 103
STEPS_PER_EXECUTION = (1, 50)


def main():
    role, out, *cluster = sys.argv[1:]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if role == "worker":
        addresses, index = cluster
        task = {"type": "worker", "index": int(index)}
        cluster = {"worker": addresses.split(",")}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        out = f"{out}-{index}"
    directory = pathlib.Path(out)
    directory.mkdir()
    strategy = strategy_of(role)
    for name in cases():
        for steps in STEPS_PER_EXECUTION:
            model = train(name, strategy, steps, directory / f"{name}-{steps}.npz")
    train_outputs(strategy, directory / "outputs.npz")
    if strategy is not None:
        restore_sums(model, directory / "sums.npz")


def strategy_of(role):
    import tensorflow as tf

    if role == "worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if role == "mirrored":
        from mnist_keras.distributed.strategy import divide_cpu

        divide_cpu(2)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return None


def cases():
    """{name: (layers, optimizer, loss, data, model class)}, each a function."""
    import keras
    import numpy as np
    import tensorflow as tf

    from mnist_keras import SumSquaredError, TapeModel
    from mnist_keras.data import batches
    from mnist_keras.data.augmentation import Augmentation
    from mnist_keras.data.datasets.synthetic import synthetic_digits

    images, labels = synthetic_digits(EXAMPLES, seed=1)
    layers = keras.layers

    def dense():
        regularizer = keras.regularizers.L2(0.01)
        return [
            layers.Flatten(),
            layers.Dense(16, activation="relu", kernel_regularizer=regularizer),
            layers.Dense(10),
        ]

    def weighted():
        x, y = images / np.float32(255), np.eye(10, dtype=np.float32)[labels]
        weights = np.linspace(0.25, 2, EXAMPLES, dtype=np.float32)
        return tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(25)

    def unknown_length():
        x, y = images / np.float32(255), np.eye(10, dtype=np.float32)[labels]
        examples = tf.data.Dataset.from_tensor_slices((x, y)).filter(lambda *_: True)
        return examples.batch(25)

    def global_batch_layers():
        return [
            layers.Flatten(),
            layers.Dense(8, use_bias=False),  # The gradient of a bias would be only rounding.
            layers.BatchNormalization(momentum=0.5),
            layers.Dropout(0.4, seed=5),
            layers.Dense(10),
        ]

    def scaled():
        inner = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2, use_ema=True)
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0)

    def stream():
        # The last batch has one example, so one replica has none.
        augmentation = Augmentation(shift_pixels=2, elastic_pixels=1)
        return batches(images, labels, batch_size=34, shuffle=True, augmentation=augmentation)

    class OwnStep(TapeModel):
        """Does not call record_step; returns the batch's loss, a value made of it, and a sum."""

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
                half = loss / 2
            gradients = tape.gradient(half, self.trainable_weights)
            summed, gradients = self.sum_over_replicas(half, gradients)
            self.optimizer.apply(gradients, self.trainable_weights)
            return {"loss": loss, "half": half, "summed": summed}

    def in_order():
        return batches(images, labels, batch_size=34)

    def sgd():
        return keras.optimizers.SGD(0.01)

    return {
        "own step": (dense, sgd, SumSquaredError, in_order, OwnStep),
        "dataset": (
            dense,
            lambda: keras.optimizers.AdamW(0.001, global_clipnorm=0.5),
            keras.losses.MeanSquaredError,
            weighted,
            TapeModel,
        ),
        "unknown length": (dense, sgd, SumSquaredError, unknown_length, TapeModel),
        "stream": (global_batch_layers, scaled, SumSquaredError, stream, TapeModel),
    }


def train(name, strategy, steps_per_execution, path):
    import keras
    import numpy as np

    from mnist_keras.callbacks.base import StepCallback
    from mnist_keras.data import batches
    from mnist_keras.data.datasets.synthetic import synthetic_digits

    class Recorder(StepCallback):
        """Keeps the logs of each step."""

        losses, norms, logs = (), (), None

        def needs_gradient_norm(self, step):
            return True

        def on_train_batch_end(self, batch, logs=None):
            values = self.model.step_records.values
            self.losses = np.append(self.losses, values["loss"])
            self.norms = np.append(self.norms, values.get("gradient_norm", ()))
            self.logs = list(logs.values())

    class Batches(keras.metrics.Metric):
        """The number of batches; each replica counts its own."""

        def __init__(self):
            super().__init__(name="batches")
            self.count = self.add_variable((), "zeros", aggregation="mean", name="count")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.count.assign(self.count + 1)

        def result(self):
            return self.count

    make_layers, make_optimizer, make_loss, make_data, model_class = cases()[name]
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        keras.utils.set_random_seed(0)
        model = model_class(keras.Sequential([keras.Input((28, 28)), *make_layers()]))
        model.compile(
            optimizer=make_optimizer(),
            loss=make_loss(),
            metrics=["accuracy", Batches()],
            steps_per_execution=steps_per_execution,
        )
    recorder = Recorder()
    images, labels = synthetic_digits(17, seed=2)
    history = model.fit(
        make_data(),
        epochs=2,
        verbose=0,
        callbacks=[recorder],
        validation_data=batches(images, labels, batch_size=5),
    )
    weights = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
    found = {"losses": recorder.losses, "norms": recorder.norms, "logs": recorder.logs}
    np.savez(path, **found, weights=weights, **history.history)
    return model


def train_outputs(strategy, path):
    """Two outputs; in the last batch of one example, a replica has none.

    The first worker alone has a callback with hooks of batches.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from mnist_keras import TapeModel
    from mnist_keras.distributed.workers import workers_of

    x = np.random.default_rng(0).random((31, 6), np.float32)
    batches = tf.data.Dataset.from_tensor_slices((x, {"a": x[:, :2], "b": x[:, 3:]})).batch(10)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        outputs = {
            name: keras.layers.Dense(n, name=name)(inputs) for name, n in (("a", 2), ("b", 3))
        }
        model = TapeModel(inputs=inputs, outputs=outputs)
        losses = {"a": "mae", "b": "mse"}
        model.compile(
            optimizer=keras.optimizers.SGD(0.01), loss=losses, loss_weights={"a": 1, "b": 2}
        )
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch),
        on_test_batch_end=lambda batch, logs: seen.append(-batch),
    )
    callbacks = [callback] if workers_of(model).is_chief else []
    history = model.fit(batches, validation_data=batches, verbose=0, callbacks=callbacks).history
    np.savez(path, **history, batches_seen=seen)


def restore_sums(model, path):
    """Each replica's metric sums before a state is taken, and after it is restored."""
    import numpy as np

    from mnist_keras.checkpoint import replica_metrics, training_state
    from mnist_keras.distributed.workers import workers_of

    def joined():
        rows = replica_metrics.read(model).values()
        return np.concatenate([part.reshape(len(part), -1) for part in rows], axis=1)

    aggregations = [
        np.full(rows[0].size, model.metrics_variables[i].aggregation)
        for i, rows in replica_metrics.read(model).items()
    ]
    found = {"before": joined(), "is_mean": np.concatenate(aggregations) == "mean"}
    place = training_state.Position(step=1, epoch=0, step_in_epoch=1)
    state = None
    if workers_of(model).is_chief:
        state = training_state.capture(model, [], place).to_files()
    else:
        training_state.take_part_in_capture(model)
    names = [training_state.ARRAYS, training_state.DESCRIPTION]
    files = {name: workers_of(model).broadcast(state and state[name]) for name in names}
    state = training_state.TrainingState.from_files(files)
    model.reset_metrics()
    found["reset"] = joined()
    training_state.restore_metrics(state, model)
    found["after"] = joined()
    of_one = {k: v for k, v in state.arrays.items() if not k.startswith("metrics_of_replicas")}
    training_state.restore_metrics(
        training_state.TrainingState(place, of_one, state.description), model
    )
    found["of one"] = joined()
    np.savez(path, **found)


if __name__ == "__main__":
    main()
