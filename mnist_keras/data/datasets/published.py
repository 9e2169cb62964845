"""The published data sets: the names of their files, their mirrors and their checksums."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.annotations import StrPath
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.data.formats.idx import read_idx, sha256_idx
from mnist_keras.errors import DataError
from mnist_keras.inputs.regular_file import sha256_of

ROLES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_MOST_EXAMPLES = 60_000  # in a file of each published data set


def spellings(role):
    """The possible names of the IDX file of one of `ROLES`, the usual one first."""
    end = "idx3-ubyte" if role.endswith("images") else "idx1-ubyte"
    return f"{role}-{end}", f"{role}.{end}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A published data set.

    Attributes:
        name: its name.
        mirrors: the addresses of its mirrors.
        sha256: a checksum for each of ROLES.
        sums_are_of: "content", the checksums are those of the uncompressed IDX bytes, or
            "container", of the published .gz files.
    """

    name: str
    mirrors: tuple
    sha256: tuple
    sums_are_of: str

    def read(self, path: StrPath, role: str) -> npt.NDArray[Any]:
        """The array in the file.

        Raises:
            DataError: the file is not the published one.
        """
        if self.sums_are_of == "container":  # Before anything is unpacked.
            try:
                received = sha256_of(path)
            except OSError as error:
                raise DataError(
                    f"{os.fspath(path)!r} cannot be read. Received: {error.strerror}. "
                    "Expected: the published file."
                ) from error
            self._require_sum(path, role, received)
        array = read_idx(path, check=at_most_published(path, role))
        if self.sums_are_of == "content":
            self._require_sum(path, role, sha256_idx(array))
        return array

    def _require_sum(self, path, role, received):
        expected = self.sha256[ROLES.index(role)]
        if received != expected:
            raise DataError(
                f"{os.fspath(path)!r} is not the published file. Received: sha256 {received} of "
                f"the {self.sums_are_of}. Expected: {expected}."
            )


# Sources. Checksums of contents: computed from the .gz files whose md5 sums are published in
# pytorch/vision, torchvision/datasets/mnist.py. Checksums of containers: keras-team/keras,
# datasets/fashion_mnist.py, and tensorflow/datasets, kmnist/checksums.tsv. Mirrors of MNIST:
# tensorflow/datasets (the first) and pytorch/vision (the second).
SOURCES = {
    source.name: source
    for source in (
        Source(
            name="mnist",
            mirrors=(
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://raw.githubusercontent.com/fgnt/mnist/master/",
            ),
            sha256=(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            sums_are_of="content",
        ),
        Source(
            name="fashion_mnist",
            mirrors=(
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            sha256=(
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            sums_are_of="container",
        ),
        Source(
            name="kmnist",
            mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            sha256=(
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
            sums_are_of="container",
        ),
    )
}


def at_most_published(path, role):
    """A check for `read_idx` that refuses larger arrays than each data set has."""
    one = MNIST.image_shape if role.endswith("images") else ()

    def check(dtype, shape):
        if dtype != np.uint8 or shape[1:] != one or shape[0] > _MOST_EXAMPLES:
            expected = f"uint8 {(_MOST_EXAMPLES, *one)} or fewer"
            raise DataError(
                f"{os.fspath(path)!r} is not the published file. Received: {dtype} {shape}. "
                f"Expected: {expected}."
            )

    return check
