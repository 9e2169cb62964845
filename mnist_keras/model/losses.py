"""The tutorial's loss."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="mnist_keras")
class SumSquaredError(keras.losses.Loss):
    """Squared error, summed over the outputs of an example and averaged over the batch.

    For a batch of n examples it is ``sum((y_pred - y_true)**2) / n``, the loss of the tutorial. A
    short last batch has its own n.

    Args:
        reduction: how the n per-example losses become one number. The default divides their sum
            by n; the others are those of ``keras.losses.Loss``.
        name: the loss's name in logs.
        dtype: the dtype it computes in, as in ``keras.losses.Loss``.

    Shapes: ``y_true`` and ``y_pred`` have the same shape (n, ...); ``call`` returns (n,).

    Example:

    >>> loss = SumSquaredError()
    >>> float(loss([[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 2.0]]))
    2.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sum_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Per-example losses, shape (n,)."""
        y_pred = keras.ops.convert_to_tensor(y_pred)
        y_true = keras.ops.cast(y_true, y_pred.dtype)
        error = keras.ops.square(y_pred - y_true)
        return keras.ops.sum(error, axis=tuple(range(1, len(error.shape))))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with ``dtype`` as the name of its policy."""
        return {"reduction": self.reduction, "name": self.name, "dtype": self.dtype}
