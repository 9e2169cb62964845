"""The classes of examples as integers, and their names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_DEVIATION = 1e-3  # Of the sum of a row of soft labels, which may be float16.


def class_numbers(targets: Any) -> npt.NDArray[np.int64] | None:
    """The class of each example, int64 (n,); None if the targets are not classes.

    Args:
        targets: integers (n,) or (n, 1), from 0; or one-hot or soft labels (n, classes), whose rows
            have the sum 1.

    >>> class_numbers(np.array([[2.0], [0.0]])), class_numbers(np.eye(2)[[1, 0]])
    (array([2, 0]), array([1, 0]))
    >>> class_numbers(np.array([0.5, 2.0])) is None
    True
    """
    if not isinstance(targets, np.ndarray) or targets.ndim not in (1, 2) or not is_numeric(targets):
        return None
    targets = targets.astype(np.float64)
    if (targets < 0).any():
        return None
    if targets.shape[1:] in ((), (1,)):
        numbers = targets.ravel()
        return numbers.astype(np.int64) if (numbers % 1 == 0).all() else None
    has_sum_1 = np.isclose(targets.sum(1), 1, rtol=0, atol=_MOST_DEVIATION).all()
    return targets.argmax(1) if has_sum_1 else None


def class_name(names: Sequence[str] | None, number: int) -> str:
    """The name of a class, or else its number.

    >>> class_name(["cat"], 0), class_name(["cat"], 1)
    ('cat', '1')
    """
    return names[number] if names is not None and number < len(names) else str(number)


def class_names(names: Sequence[str] | None, count: int) -> Sequence[str]:
    """A text for each of ``count`` classes: its name, else its number.

    >>> class_names(["cat"], 3), class_names(("cat", "dog"), 2)
    (['cat', '1', '2'], ('cat', 'dog'))
    """
    if names is not None and len(names) == count:
        return names
    return [class_name(names, number) for number in range(count)]


def is_numeric(array: npt.NDArray[Any]) -> bool:
    """Whether an array holds real numbers or booleans.

    >>> is_numeric(np.zeros(2)), is_numeric(np.array(["a"]))
    (True, False)
    """
    # bfloat16 is no type of NumPy's own.
    return array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
