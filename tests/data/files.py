"""Data files, and the errors of damaged ones."""

import io

import numpy as np
import pytest

from mnist_keras.data.formats.npz import KEYS
from mnist_keras.errors import DataError


def message_of(function, *arguments, **options):
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npz_bytes(arrays, **changed):
    stream = io.BytesIO()
    np.savez_compressed(stream, **{**dict(zip(KEYS, arrays, strict=True)), **changed})
    return stream.getvalue()
