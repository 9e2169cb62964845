"""Finds the calls in a Python data set that make a random generator without a seed."""

import dis
import itertools
import types
from collections.abc import Iterator
from typing import Any

_MAKERS = ("default_rng", "RandomState", "Random", "SystemRandom")
_BETWEEN = ("PRECALL", "PUSH_NULL", "CACHE")  # Between a name and its call, in some Pythons.


def unseeded_calls(source: Any, *, base: type) -> list[str]:
    """The calls in the methods of an object, except ``__init__``, as text.

    A generator that is made in ``__init__`` and kept in an attribute is saved and restored.

    Args:
        source: the data set.
        base: the class of a library; it and its bases are not searched.

    Example:

    >>> class Rows:
    ...     def on_epoch_end(self):
    ...         self.order = numpy.random.default_rng().permutation(5)
    >>> unseeded_calls(Rows(), base=object)
    ['Rows.on_epoch_end calls default_rng() without a seed']
    """
    lines = []
    for kind in type(source).__mro__:
        if kind in base.__mro__:
            break
        for name, method in vars(kind).items():
            code = getattr(method, "__code__", None)
            if code is not None and name != "__init__":
                lines += [
                    f"{kind.__name__}.{name} calls {maker}() without a seed"
                    for maker in _calls_without_arguments(code)
                ]
    return list(dict.fromkeys(lines))


def _calls_without_arguments(code: types.CodeType) -> Iterator[str]:
    instructions = [part for part in dis.get_instructions(code) if part.opname not in _BETWEEN]
    for part, after in itertools.pairwise(instructions):
        is_call = after.opname.startswith("CALL") and after.arg == 0
        if part.opname.startswith("LOAD_") and part.argval in _MAKERS and is_call:
            yield part.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _calls_without_arguments(constant)
