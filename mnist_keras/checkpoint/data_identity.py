"""What must be equal in the data of a resumed training."""

from typing import Any

from mnist_keras._keras import EpochIterator


def data_identity(epochs: EpochIterator, *, element_spec: Any = None) -> dict[str, Any]:
    """Properties of the data, {name: value}; unknown ones are left out.

    Args:
        epochs: Keras's iterator over the epochs.
        element_spec: the ``tf.TypeSpec`` of a batch, in any structure; None: unknown.
    """
    identity = {
        "kind": epochs.kind,
        "examples": epochs.examples,
        "batch_size": epochs.adapter.batch_size,
        "batches": epochs.adapter.num_batches,
        "steps_per_epoch": epochs.steps_per_epoch,
        "columns": None if element_spec is None else _columns(element_spec),
    }
    return {name: value for name, value in identity.items() if value is not None}


def _columns(spec, name=""):
    """The names, dtypes and shapes in a batch, without the batch size."""
    if isinstance(spec, dict):
        return "; ".join(_columns(part, f"{name}{key} ") for key, part in spec.items())
    if isinstance(spec, (tuple, list)):
        return "; ".join(_columns(part, name) for part in spec)
    return f"{name}{_column(spec)}"


def _column(spec):
    shape = getattr(spec, "shape", None)
    if shape is None or shape.rank is None:
        return type(spec).__name__
    return f"{spec.dtype.name} {tuple(shape[1:])}" if shape.rank else spec.dtype.name
