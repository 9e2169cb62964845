"""Values of a callback's attributes: whether they have changed, saved, and put back."""

import collections
import dataclasses
import enum
import marshal
import zlib
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.checkpoint import backends, foreign_state

_MOST_PARTS = 100_000  # of a container, without lists of numbers
_LONG = 1000  # Longer lists of numbers become an array.
_SMALL_BYTES = 2**20  # Larger arrays are not copied.
_HASHED_BYTES = 2**24  # Of larger ones only samples are compared.
_SAMPLES = 4096
_PLAIN = {int, float, str, bytes, bool, type(None)}
_CONTAINERS = (list, tuple, set, frozenset, collections.deque)
_VARIABLES = (tf.Variable, keras.Variable)
_HOLDERS = (keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric)
_ATOMS = (*_PLAIN, enum.Enum, np.generic, tuple, frozenset)
_VARIABLE, _NUMBERS, _NUMPY = "__variable__", "__numbers__", "__numpy__"
_HOLDER, _ENUM, _OBJECT, _MAPPING = "__holder__", "__enum__", "__object__", "__mapping__"


class Kept:
    """A value as it is now, to put it back later.

    Args:
        value: any value.
        known: the ids of variables that are left alone, such as the model's.
        package: the attributes of objects are looked at if their class is from this package.

    Attributes:
        token: what `token` returns for the value.

    Raises:
        TypeError: nothing can tell whether the value has changed.

    Example:

    >>> losses = [1.5]
    >>> before = Kept(losses)
    >>> losses.append(0.5)
    >>> token(losses) == before.token, before.put_back(), losses
    (False, [1.5], [1.5])
    """

    def __init__(
        self, value: Any, *, known: Collection[int] = (), package: str | None = None
    ) -> None:
        self.token = token(value, known=known, package=package)
        self._value = _copied(value, known)

    def put_back(self) -> Any:
        """The value as it was, except changes in arrays of more than a MiB.

        Lists, dicts, variables and objects are the same ones, as the program may hold them too.
        """
        return _put_back(self._value)


@dataclasses.dataclass
class _Live:
    """An object that may change, and copies of its parts."""

    value: Any
    parts: Any


@dataclasses.dataclass
class _Scope:
    """What is looked at in a value, and how much of it."""

    known: Collection[int]
    package: str | None
    parts: int = 0

    def count(self) -> None:
        self.parts += 1
        if self.parts > _MOST_PARTS:
            raise TypeError("it has too many parts")

    def attributes(self, value: Any) -> dict[str, Any]:
        """Those of an object of the user's program."""
        kind = type(value)
        # The place in the data is restored by drawing from it again.
        is_data = hasattr(kind, "__getitem__") or hasattr(kind, "__iter__")
        if package_of(kind) != self.package or is_data or isinstance(value, type):
            raise TypeError(f"a {kind.__name__} cannot be saved")
        return vars(value)


def package_of(kind: type) -> str:
    """The top level of the module that defines a class."""
    return kind.__module__.partition(".")[0]


def token(value: Any, *, known: Collection[int] = (), package: str | None = None) -> Any:
    """What differs once a value has changed; the arguments and errors are those of `Kept`."""
    return _token(value, _Scope(known, package))


def encode(value: Any, *, known: Collection[int] = (), package: str | None = None) -> Any:
    """Encode a value as dicts with string keys, lists, numbers, strings, None and arrays.

    The arrays are copies.

    Args:
        value: any value that `Kept` takes.
        known: the ids of variables that are saved elsewhere.
        package: as for `Kept`.

    Raises:
        TypeError: it holds a value of another type, or too many values.

    Example:

    >>> put(None, encode({"losses": [0.5, np.float32(0.1)], "best": (3, "epoch")}))
    {'losses': [0.5, np.float32(0.1)], 'best': (3, 'epoch')}
    """
    return _encode(value, _Scope(known, package))


def put(present: Any, encoded: Any) -> Any:
    """The value that was given to `encode`.

    Args:
        present: the present value; its variables are assigned to, and its lists and dicts are
            changed in place, as the program may hold them too.
        encoded: the encoded value.
    """
    return _put(present, encoded)


def _token(value, scope):
    scope.count()
    if isinstance(value, dict):
        if {*map(type, value), *map(type, value.values())} <= _PLAIN:
            return type(value), hash(marshal.dumps(dict(value), 2))
        return type(value), *((key, _token(part, scope)) for key, part in value.items())
    if isinstance(value, _CONTAINERS):
        if {*map(type, value)} <= _PLAIN:
            is_ordered = not isinstance(value, (set, frozenset))
            return type(value), hash(marshal.dumps([*value], 2) if is_ordered else frozenset(value))
        return type(value), *(_token(part, scope) for part in value)
    if isinstance(value, _HOLDERS):
        return type(value), *(_token(variable, scope) for variable in value.variables)
    if isinstance(value, enum.Enum):
        return type(value), value.name
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value), repr(value) if isinstance(value, float) else value
    if isinstance(value, _VARIABLES):
        return None if id(value) in scope.known else _token_of_array(_array(value))
    if isinstance(value, (np.ndarray, np.generic)) or keras.ops.is_tensor(value):
        return _token_of_array(_array(value))
    attributes = scope.attributes(value)
    return type(value), *((name, _token(part, scope)) for name, part in attributes.items())


def _token_of_array(array):
    if array.dtype.hasobject:
        raise TypeError("it may hold anything")
    step = 1 if array.nbytes <= _HASHED_BYTES else max(1, array.size // _SAMPLES)
    content = np.ascontiguousarray(array.reshape(-1)[::step])
    checksum = zlib.crc32(content.data.cast("B")) if array.size else 0
    return str(array.dtype), array.shape, checksum


def _array(value):
    if isinstance(value, (np.ndarray, np.generic, tf.Variable, tf.Tensor)):
        return np.asarray(value)
    return backends.host_array(value)


def _copied(value, known):
    if isinstance(value, dict):
        is_plain = {*map(type, value.values())} <= _PLAIN
        items = value.items()
        return _Live(value, [*items] if is_plain else [(k, _copied(v, known)) for k, v in items])
    if isinstance(value, (list, set, collections.deque)):
        is_plain = {*map(type, value)} <= _PLAIN
        return _Live(value, [*value] if is_plain else [_copied(part, known) for part in value])
    if type(value) is tuple:
        return tuple(_copied(part, known) for part in value)
    if isinstance(value, _HOLDERS):
        return _Live(value, [_copied(variable, known) for variable in value.variables])
    if isinstance(value, _VARIABLES):
        array = None if id(value) in known else _array(value)
        is_small = array is not None and array.nbytes <= _SMALL_BYTES
        return _Live(value, np.array(array) if is_small else None)
    if isinstance(value, np.ndarray):
        return value.copy() if value.nbytes <= _SMALL_BYTES else value
    if isinstance(value, _ATOMS) or keras.ops.is_tensor(value):
        return value
    return _Live(value, [(name, _copied(part, known)) for name, part in vars(value).items()])


def _put_back(kept):
    if type(kept) is tuple:
        return tuple(map(_put_back, kept))
    if isinstance(kept, np.ndarray):
        return kept.copy() if kept.nbytes <= _SMALL_BYTES else kept
    if not isinstance(kept, _Live):
        return kept
    value, parts = kept.value, kept.parts
    if isinstance(value, _VARIABLES):
        if parts is not None:
            value.assign(parts)
    elif isinstance(value, _HOLDERS):
        for part in parts:
            _put_back(part)
    elif isinstance(value, (list, set, collections.deque)):
        parts = [_put_back(part) for part in parts]
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(parts)
    else:
        items = value if isinstance(value, dict) else vars(value)
        parts = {key: _put_back(part) for key, part in parts}
        items.clear()
        items.update(parts)
    return value


def _encode(value, scope):
    scope.count()
    if isinstance(value, _VARIABLES):
        return {_VARIABLE: None if id(value) in scope.known else np.array(_array(value))}
    if isinstance(value, _HOLDERS):
        return {_HOLDER: [_encode(variable, scope) for variable in value.variables]}
    if isinstance(value, enum.Enum):
        return {_ENUM: value.name}
    if isinstance(value, np.ndarray) and value.ndim and not value.dtype.hasobject:
        return value.copy()
    if type(value) is list:
        return _encode_numbers(value) or [_encode(part, scope) for part in value]
    if isinstance(value, dict):
        return _encode_dict(value, scope)
    if type(value) is tuple:
        return {foreign_state.TUPLE: [_encode(part, scope) for part in value]}
    if type(value) is collections.deque:
        return {foreign_state.DEQUE: [value.maxlen, *[_encode(part, scope) for part in value]]}
    if isinstance(value, (tuple, frozenset, list)):  # Such as a namedtuple.
        raise TypeError(f"a {type(value).__name__} cannot be made again")
    if keras.ops.is_tensor(value) and not isinstance(value, tf.Tensor):
        raise TypeError("a tensor of another framework")
    if package_of(type(value)) == scope.package:
        attributes = scope.attributes(value).items()
        return {_OBJECT: {name: _encode(part, scope) for name, part in attributes}}
    return foreign_state.encode(value)


def _encode_numbers(value):
    """A long list of numbers of one type as an array; None for another list."""
    kinds = {*map(type, value)} if len(value) > _LONG else ()
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if issubclass(kind, np.number):
        return {_NUMPY: np.array(value)}
    if kind not in (int, float):
        return None
    array = np.array(value)
    # Integers of more than 64 bits become objects, or floats with other digits.
    return {_NUMBERS: array} if array.dtype.kind == ("i" if kind is int else "f") else None


def _encode_dict(value, scope):
    if type(value) is dict and all(map(_is_plain_key, value)):
        return {key: _encode(part, scope) for key, part in value.items()}
    pairs = [[foreign_state.encode(key), _encode(part, scope)] for key, part in value.items()]
    if type(value) is dict:
        return {foreign_state.PAIRS: pairs}
    if getattr(value, "__dict__", None):
        raise TypeError(f"a {type(value).__name__} with attributes cannot be saved")
    return {_MAPPING: [type(value).__name__, pairs]}


def _is_plain_key(key):
    # Names of tags begin with "__"; "/" divides the names of the arrays of a checkpoint.
    return isinstance(key, str) and not key.startswith("__") and "/" not in key


def _put(present, value):
    if isinstance(value, dict):
        tag = next(iter(value)) if len(value) == 1 else None
        is_tagged = tag is not None and tag.startswith("__")
        return _put_tagged(present, tag, value[tag]) if is_tagged else _put_dict(present, value)
    if isinstance(value, list):
        parts = _put_parts(present, value)
        if type(present) is not list:
            return parts
        present[:] = parts
        return present
    return value.copy() if isinstance(value, np.ndarray) else value


def _put_parts(present, values):
    is_like = isinstance(present, (list, tuple, collections.deque))
    olds = [*(present if is_like else ()), *[None] * len(values)]
    return [_put(old, part) for old, part in zip(olds, values, strict=False)]


def _put_tagged(present, tag, value):
    if tag == _NUMBERS:
        return _put(present, value.tolist())
    if tag == _NUMPY:
        return _put(present, list(value))
    if tag == foreign_state.TUPLE:
        return tuple(_put_parts(present, value))
    if tag == foreign_state.DEQUE:
        return collections.deque(_put_parts(present, value[1:]), value[0])
    if tag == foreign_state.PAIRS:
        return _put_dict(present, {foreign_state.decode(key): part for key, part in value})
    if tag == _MAPPING:
        kind, pairs = value
        if type(present).__name__ != kind:
            raise TypeError("it does not exist yet")
        return _put_dict(present, {foreign_state.decode(key): part for key, part in pairs})
    if tag == _ENUM:
        return type(present)[value] if isinstance(present, enum.Enum) else value
    if tag == _HOLDER:
        if not isinstance(present, _HOLDERS) or len(present.variables) != len(value):
            raise TypeError("it does not exist yet")
        for variable, saved in zip(present.variables, value, strict=True):
            _put(variable, saved)
        return present
    if tag == _OBJECT:
        for name, part in value.items():
            setattr(present, name, _put(getattr(present, name, None), part))
        return present
    if tag == _VARIABLE:
        return _put_variable(present, value)
    return foreign_state.decode({tag: value})


def _put_variable(present, value):
    if value is None:
        return present
    if not isinstance(present, _VARIABLES):
        return keras.Variable(value)
    present.assign(value)
    return present


def _put_dict(present, value):
    is_dict = isinstance(present, dict)
    factory = getattr(present, "default_factory", None)
    parts = {}
    for key, part in value.items():
        is_new = not is_dict or key not in present
        parts[key] = _put((factory() if factory else None) if is_new else present[key], part)
    if not is_dict:
        return parts
    present.clear()
    present.update(parts)
    return present
