"""Which data set files belong to: by their published checksums, or by their directory's name."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.data.datasets.published import ROLES, SOURCES
from mnist_keras.data.formats.idx import sha256_idx
from mnist_keras.inputs.regular_file import sha256_of

# As torchvision, Keras, tensorflow_datasets and the authors spell them.
_NAMES = {name.replace("_", ""): name for name in SOURCES}
_VERSION = r"[0-9]+\.[0-9]+\.[0-9]+"
_IN_A_SET = re.compile(rf"raw|processed|{_VERSION}")
_COUNTS = {"train": 60_000, "t10k": 10_000}


def set_named(text: str) -> str | None:
    """The published data set that a directory's name means, or None.

    >>> set_named("FashionMNIST"), set_named("fashion-mnist"), set_named("digits")
    ('fashion_mnist', 'fashion_mnist', None)
    """
    return _NAMES.get(re.sub("[^a-z0-9]", "", text.lower()))


def is_part_of_a_set(text: str) -> bool:
    """Whether a directory of this name lies in that of its data set, as ``raw`` or ``3.0.1``."""
    return _IN_A_SET.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether a directory of this name is a version of a set of tensorflow_datasets."""
    return re.fullmatch(_VERSION, text) is not None


def set_of_directory(folder: Path) -> str | None:
    """The published data set that a directory is named for, or None.

    >>> set_of_directory(Path("/data/MNIST/raw")), set_of_directory(Path("/data/mnist/mine"))
    ('mnist', None)
    """
    path = Path(os.path.abspath(folder))
    while is_part_of_a_set(path.name):
        path = path.parent
    return set_named(path.name)


def published_set(role: str, array: npt.NDArray[Any], path: Path | None) -> str | None:
    """The published data set whose file of this role was read, or None: it is not known.

    The sums of some sets are known only for their .gz files.

    Args:
        role: one of ``ROLES``.
        array: what was read.
        path: the file; None: the array is not that of one IDX file.
    """
    if not isinstance(array, np.ndarray) or len(array) != _COUNTS[role.partition("-")[0]]:
        return None
    sums = {"content": sha256_idx(array)}
    if path is not None and path.suffix == ".gz":
        sums["container"] = sha256_of(path)
    place = ROLES.index(role)
    found = (it for it in SOURCES.values() if it.sha256[place] == sums.get(it.sums_are_of))
    return next((source.name for source in found), None)


def sets_of(arrays: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, str | None]:
    """{role: `published_set`} of what was read."""
    return {role: published_set(role, array, paths.get(role)) for role, array in arrays.items()}
