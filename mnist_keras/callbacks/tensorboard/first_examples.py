"""The first examples of any data that ``evaluate`` takes."""

import dataclasses
import itertools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.callbacks.tensorboard.input_images import forms, index_of_images
from mnist_keras.errors import UsageError

_LEAST_BATCH_SIZE, _MOST_BATCH_SIZE = 32, 1000
# Numbers in a batch. A network makes more of each number of a table or a text than of a pixel.
_MOST_PIXELS, _MOST_NUMBERS = 2**20, 2**16


@dataclasses.dataclass(frozen=True)
class Unjoined:
    """Several batches that are no single array: ragged, sparse, or of different shapes.

    Attributes:
        shape: the shape of all, with None where the batches differ.
        dtype: their type.
    """

    shape: tuple[int | None, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True)
class FirstExamples:
    """The first examples of some data, in batches.

    Attributes:
        structure: the structure of x, as nested tuples, lists and dicts.
        batches: for each batch the parts of x in the order of ``keras.tree.flatten``.
        inputs: each part of x for all examples, an array (n, ...) or `Unjoined`.
        targets: the same for each part of y.
        size: the number of examples, n.
    """

    structure: Any
    batches: list[list[Any]]
    inputs: list[Any]
    targets: list[Any]
    size: int


def first_examples(x: Any, y: Any = None, *, most: int) -> FirstExamples:
    """Read the first ``most`` examples, and no batch after them.

    Args:
        x: an array, tensor or data frame, or several of them in a tuple, list or dict, each with n
            rows. Or a data set of batches (x, y) or (x, y, sample_weight): a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, a stream, a data loader or a generator.
        y: the targets; None for a data set.
        most: the maximum number of examples.

    Raises:
        UsageError: there are no examples or no targets, or their numbers differ.

    >>> examples = first_examples({"a": np.zeros((5, 2)), "b": np.ones(5)}, np.arange(5), most=3)
    >>> [part.shape for part in examples.inputs], examples.targets
    ([(3, 2), (3,)], [array([0, 1, 2])])
    """
    is_arrays = isinstance(x, (tuple, list, dict)) or hasattr(x, "shape")
    is_data_set = isinstance(x, keras.utils.PyDataset) or not is_arrays
    if is_data_set == (y is not None):
        raise UsageError(
            f"the examples do not match their classes. Received: {type(x).__name__} and "
            f"{type(y).__name__}. Expected: arrays with classes, or a data set of batches (x, y)."
        )
    if is_data_set:
        pairs = [*_of_data_set(x, most)]
        sizes = [_rows(keras.tree.flatten(part)[0]) for part, _ in pairs]
    else:
        pairs = [_of_arrays(x, y, most)]
        sizes = _batch_sizes(keras.tree.flatten(pairs[0][0]))
    if not sizes:
        raise _mismatch(0, 0)
    inputs, targets = (
        [*zip(*(keras.tree.flatten(data) for data in several), strict=True)]
        for several in zip(*pairs, strict=True)
    )
    joined = [_joined(parts) for parts in inputs]
    batches = [_batches(parts, whole, sizes) for parts, whole in zip(inputs, joined, strict=True)]
    return FirstExamples(
        structure=keras.tree.map_structure(lambda _: None, pairs[0][0]),
        batches=[list(parts) for parts in zip(*batches, strict=True)],
        inputs=joined,
        targets=[_joined(parts) for parts in targets],
        size=sum(sizes),
    )


def _of_arrays(x, y, most):
    """The first examples as (x, y)."""
    x, y = _without_lists(x), _without_lists(y)
    rows = [{_rows(part) for part in keras.tree.flatten(data)} for data in (x, y)]
    if len(set.union(*rows)) != 1 or set.union(*rows) == {0}:
        raise _mismatch(*(" and ".join(map(str, sorted(counts))) for counts in rows))
    return keras.tree.map_structure(lambda part: first_rows(part, most), (x, y))


def _without_lists(data):
    """Lists of plain numbers or texts as an array; Keras's other structures unchanged."""
    is_plain = not any(hasattr(part, "shape") for part in keras.tree.flatten(data))
    return np.asarray(data) if is_plain else data


def _batch_sizes(parts):
    """The sizes of the batches into which arrays are cut."""
    most = _MOST_NUMBERS if index_of_images(parts) is None else _MOST_PIXELS
    # The lengths of ragged rows are unknown.
    numbers = sum(math.prod(size or 1 for size in part.shape[1:]) for part in parts)
    size = min(max(most // numbers, _LEAST_BATCH_SIZE), _MOST_BATCH_SIZE)
    rows = _rows(parts[0])
    return [min(size, rows - begin) for begin in range(0, rows, size)]


def _of_data_set(data, most):
    """The batches of a data set, the last one cut."""
    read = 0
    for batch in data:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        parts = keras.tree.flatten((x, y))
        rows = {_rows(part) for part in parts}
        if y is None or len(rows) != 1 or rows == {0}:
            raise UsageError(
                "the data set has no batches of examples with their classes. "
                f"Received: {forms([part for part in parts if part is not None])}. "
                "Expected: batches (x, y) or (x, y, sample_weight)."
            )
        end = min(most - read, *rows)
        # A generator may fill the same arrays again, so they are copied.
        yield keras.tree.map_structure(lambda part, end=end: _copied(part, end), (x, y))
        read += end
        if read >= most:
            return


def first_rows(part: Any, most: int) -> Any:
    """The first rows of an input, as an array or as the ragged or sparse tensor that it is.

    They are copied only if there are more: a view would keep all in memory.

    >>> first_rows([[1, 2], [3, 4]], 5).shape, first_rows(np.zeros((9, 4)), 5).shape
    ((2, 2), (5, 4))
    """
    if _rows(part) > most:
        return _copied(part, most)
    return part if _is_composite(part) else np.asarray(part)


def _copied(part, end):
    """The first rows of an input as an array, or as the ragged or sparse tensor that it is."""
    part = _slice(part, 0, end)
    return part if _is_composite(part) else np.array(part)


def _is_composite(part):
    return isinstance(part, (tf.RaggedTensor, tf.SparseTensor))


def _slice(part, begin, end):
    if isinstance(part, tf.SparseTensor):
        places = [0] * (len(part.shape) - 1)
        return tf.sparse.slice(part, [begin, *places], [end - begin, *part.shape[1:]])
    return part[begin:end]


def _joined(parts):
    """All batches of an input in one array, or `Unjoined`."""
    shapes = [tuple(part.shape)[1:] for part in parts]
    if len(set(shapes)) == 1 and not any(map(_is_composite, parts)):
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    sizes = ({*sizes} for sizes in zip(*shapes, strict=True))
    shape = (size.pop() if len(size) == 1 else None for size in sizes)
    return Unjoined((sum(map(_rows, parts)), *shape), parts[0].dtype)


def _batches(parts, whole, sizes):
    """The batches of an input, as views of all of it where that is an array."""
    if isinstance(whole, Unjoined) and len(parts) > 1:
        return parts
    ends = itertools.accumulate(sizes)
    whole = parts[0] if isinstance(whole, Unjoined) else whole
    return [_slice(whole, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _rows(part):
    shape: Any = getattr(part, "shape", ())
    return int(shape[0]) if len(shape) else 0


def _mismatch(examples, classes):
    return UsageError(
        f"the examples do not match their classes. Received: {examples} examples, "
        f"{classes} classes. Expected: one class for each example, at least one example."
    )
