"""What differs between Keras's backends for those who read a model while it trains."""

from typing import Any

import keras
import numpy as np

from mnist_keras.errors import UsageError


def name() -> str:
    """Keras's backend: "tensorflow", "jax" or "torch".

    >>> name()
    'tensorflow'
    """
    return keras.backend.backend()


def is_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow, as a `TapeModel` does."""
    return name() == "tensorflow"


def require_tensorflow(what: str) -> None:
    """Refuse another backend.

    Args:
        what: the name of what needs TensorFlow.

    Raises:
        UsageError: Keras has another backend.
    """
    if not is_tensorflow():
        raise UsageError(
            f"{what} needs the TensorFlow backend. Received: {name()}. "
            "Expected: KERAS_BACKEND=tensorflow."
        )


def unavailable(what: str, *, backends: str = "tensorflow") -> str:
    """The line for a callback that does nothing with the present backend.

    Args:
        what: the name of the callback.
        backends: those that it needs.

    >>> unavailable("NetworkGraph")
    'NetworkGraph writes nothing. Received: KERAS_BACKEND=tensorflow. Expected: tensorflow.'
    """
    return f"{what} writes nothing. Received: KERAS_BACKEND={name()}. Expected: {backends}."


def resumable() -> str:
    """What resumes a training with the present backend, for a message.

    >>> resumable()
    'a TapeModel with a Checkpoint'
    """
    return "a TapeModel with a Checkpoint" if is_tensorflow() else "a Checkpoint"


def synchronize(model: Any) -> None:
    """Give the variables of a model their values in the middle of an epoch.

    With JAX, ``fit`` keeps the values apart from the variables. A variable that is read meanwhile
    has its initial value.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def host_array(value: Any) -> np.ndarray[Any, Any]:
    """A copy in host memory of a variable or a tensor.

    It has to be a copy: the next step writes into the memory of a JAX array or a torch tensor.

    >>> host_array(keras.ops.ones(2)).tolist()
    [1.0, 1.0]
    """
    return np.array(keras.ops.convert_to_numpy(value))
