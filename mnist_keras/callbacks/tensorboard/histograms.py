"""Distributions of the weights and gradients, in TensorBoard's histograms dashboard."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.inference import call
from mnist_keras.callbacks.tensorboard.picture_callback import PictureCallback
from mnist_keras.checkpoint import backends
from mnist_keras.errors import UsageError


class Histograms(PictureCallback):
    """Writes ``weights/VARIABLE`` and ``gradients/VARIABLE``.

    TensorBoard also shows them in its distributions dashboard.

    The gradients are computed on the given batch, with the weights at the end of the epoch and
    without dropout, so no random numbers are drawn. Values that are not finite are left out. If the
    model has no ``call`` or no loss, a line on stderr says so, and only weights are written.

    Args:
        logdir: the run's directory.
        batch: (x, y), arrays; None: only weights are written.
        every_epochs: interval in epochs; the last epoch is always written too.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((4, 2)), np.ones((4, 1))
    >>> histograms = Histograms(tempfile.mkdtemp(), (x, y), every_epochs=1)
    >>> history = model.fit(x, y, verbose=0, callbacks=[histograms])
    """

    def __init__(
        self, logdir: StrPath, batch: tuple[Any, Any] | None = None, *, every_epochs: int
    ) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        self._batch = batch

    def drawn(self) -> Iterator[Summary]:
        variables = self.model.trainable_variables
        for variable in variables:
            yield from _summaries(f"weights/{variable.path}", variable)
        if self._batch is None:
            return
        try:
            gradients = _gradients(self.model, *self._batch)
        except UsageError as reason:
            self._say_missing("no gradients", reason)
            return
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                yield from _summaries(f"gradients/{variable.path}", gradient)


def _gradients(model, x, y):
    """The gradient of the loss for each trainable variable, or None.

    Raises:
        UsageError: the model has no ``call``, or its loss of this batch cannot be computed.
    """
    x, y = keras.tree.map_structure(keras.ops.convert_to_tensor, (x, y))
    held = [variable.value for variable in model.trainable_variables]

    def loss():
        y_pred = call(model, x)
        try:
            return model.compute_loss(x=x, y=y, y_pred=y_pred)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"the loss of the batch cannot be computed. Received: {reason} "
                "Expected: a model that was compiled with a loss of (x, y)."
            ) from error

    if backends.is_tensorflow():
        with tf.GradientTape() as tape:
            computed = loss()
        return tape.gradient(computed, held)
    if backends.name() == "torch":
        import torch

        return torch.autograd.grad(loss(), held, allow_unused=True)
    import jax

    def pure_loss(values):
        pairs = list(zip(model.trainable_variables, values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return loss()

    return jax.grad(pure_loss)(held)


def _summaries(tag, tensor):
    numbers = np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        yield histogram_pb(tag, finite)
