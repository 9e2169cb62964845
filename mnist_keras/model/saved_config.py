"""Refuses to save a model that could not be loaded again."""

import inspect
from typing import Any


def require_complete(config: dict[str, Any], model_class: type, *, base: Any) -> None:
    """Require that a config has all arguments that ``__init__`` requires.

    A functional model has its layers instead. A class that defines ``get_config`` or
    ``from_config`` knows what it needs.

    Args:
        config: what ``get_config`` of ``base`` returns.
        model_class: the class of the model, derived from ``base``.

    Raises:
        NotImplementedError: it lacks one; as in Keras.

    Example:

    >>> class Net:
    ...     def __init__(self, units): ...
    ...     def get_config(self): ...
    ...     @classmethod
    ...     def from_config(cls, config): ...
    >>> require_complete({"units": 3}, Net, base=Net)
    """
    missing = _required_arguments(model_class) - config.keys()
    if missing and "layers" not in config and not _has_own_config(model_class, base):
        raise NotImplementedError(
            f"{model_class.__name__} cannot be saved, because its config has not all arguments "
            f"that its __init__ requires. Received: a config without "
            f"{', '.join(sorted(missing))}. Expected: a get_config that returns them, or "
            "save_weights."
        )


def _has_own_config(model_class, base):
    """Whether a subclass defines how it is saved or loaded."""
    return (
        model_class.get_config is not base.get_config
        or model_class.from_config.__func__ is not base.from_config.__func__
    )


def _required_arguments(model_class):
    """The names of the arguments of ``__init__`` that have no default."""
    _, *arguments = inspect.signature(model_class.__init__).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {a.name for a in arguments if a.default is a.empty and a.kind not in variadic}
