"""The place in the data of each of several workers, which draw their own shares of the batches."""

import json
from typing import Any

import numpy as np

from mnist_keras.checkpoint import file_bundle
from mnist_keras.checkpoint.nested import put_arrays, take_arrays
from mnist_keras.distributed.workers import Workers

_WORKERS = "workers"
_JSON = "place.json"


def gather(place: dict[str, Any] | None, workers: Workers) -> dict[str, Any] | None:
    """The places of all workers in one dict; a collective call.

    Args:
        place: the place of this worker, or None.
        workers: all of them; for one worker the result is its place.
    """
    if place is None or not workers.are_several:
        return place
    arrays: dict[str, np.ndarray] = {}
    description = json.dumps(take_arrays(place, "place", arrays)).encode()
    packed = file_bundle.pack_arrays({**arrays, _JSON: np.frombuffer(description, np.uint8)})
    return {_WORKERS: [_unpacked(data) for data in workers.all_gather(packed)]}


def _unpacked(packed):
    arrays = file_bundle.unpack_arrays(packed)
    return put_arrays(json.loads(arrays.pop(_JSON).tobytes()), arrays)


def own(place: dict[str, Any], workers: Workers) -> tuple[dict[str, Any], int]:
    """This worker's part of what `gather` returned, and the number of workers then.

    Another number of workers gets the chief's place.

    >>> import tensorflow as tf
    >>> alone = Workers(tf.distribute.get_strategy())
    >>> own({"draws": 3}, alone)
    ({'draws': 3}, 1)
    >>> own({"workers": [{"draws": 3}, {"draws": 4}]}, alone)
    ({'draws': 3}, 2)
    """
    places = place.get(_WORKERS, [place])
    return places[workers.index if len(places) == workers.count else 0], len(places)
