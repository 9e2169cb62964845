"""The package as ``main.py`` sets it up, for the benchmarks."""

import dataclasses
import tempfile

from mnist_keras.app import batch_parts, prepare, train
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.console.start import import_tensorflow


class RecipeRun:
    """A recipe's model, stream and callbacks. Create it before TensorFlow's first operation.

    Args:
        train_set: the training set, `mnist_keras.data.Examples`.
        flags: of ``main.py`` that differ from their defaults, the tutorial's recipe.
    """

    def __init__(self, train_set, **flags):
        config = RunConfig(**flags)
        parts = batch_parts.choose(network=config.network, batch_size=config.batch_size)
        import_tensorflow(quiet=False, parts=parts)
        from mnist_keras.app.recipe import build_model

        self._train_set = train_set
        self._config = dataclasses.replace(config, batch_parts=parts)
        self._stream, _ = prepare.streams(self._config, train_set)
        self._model = build_model(self._config, steps=len(self._stream) * config.epochs)

    def callbacks(self, logdir, **flags):
        """The callbacks of ``main.py``; the flags affect only them."""
        return train.callbacks(
            RunDirectory(logdir),
            dataclasses.replace(self._config, **flags),
            stream=self._stream,
            train_set=self._train_set,
        )

    def fit(self, epochs, *, initial_epoch=0, steps_per_epoch=None, callbacks=None):
        """Train a run and delete its files.

        Args:
            epochs: total number of epochs.
            initial_epoch: the number of the first one.
            steps_per_epoch: None for complete epochs.
            callbacks: a function of the run's directory that returns callbacks; None: `callbacks`.
        """
        make = callbacks or self.callbacks
        with tempfile.TemporaryDirectory() as logdir:
            self._model.fit(
                self._stream,
                initial_epoch=initial_epoch,
                epochs=initial_epoch + epochs,
                steps_per_epoch=steps_per_epoch,
                verbose=0,
                callbacks=make(logdir),
            )
