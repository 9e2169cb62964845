"""The sources of the data sets: a directory, the cache, a mirror, or the built-in digits.

Downloaded and cached files are checked against published checksums each time they are read, so
damaged, truncated or replaced data are never returned. Files in the user's own directory need only
the form of MNIST, but are refused where they are known or named to be another data set's.
"""

import contextlib
import json
import os
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_keras.annotations import StrPath
from mnist_keras.console import terminal
from mnist_keras.console.progress_display import task_progress
from mnist_keras.data.datasets.directory import found_elsewhere, halves, read_directory
from mnist_keras.data.datasets.download import Downloader, DownloadError, Limits, tidy
from mnist_keras.data.datasets.published import (
    ROLES,
    SOURCES,
    Source,
    at_most_published,
    spellings,
)
from mnist_keras.data.examples import Examples
from mnist_keras.data.formats.idx import read_idx, replacing, sha256_idx, write_idx
from mnist_keras.errors import DataError, UsageError
from mnist_keras.inputs import json_text
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import read_regular

_SYNTHETIC_COUNTS = (60_000, 10_000)  # drawn with seeds 0 and 1


class Resolved(NamedTuple):
    """A loaded data set: its name and its two halves.

    Attributes:
        name: a name for `mnist_keras.data.load`, never "auto".
        train, test: each `Examples`.
    """

    name: str
    train: Examples
    test: Examples


NAMES = ("auto", *SOURCES, "synthetic")


def load(
    name: str = "auto",
    *,
    data_dir: StrPath | None = None,
    cache_dir: StrPath | None = None,
    notice: Callable[[str], object] = terminal.notice,
) -> tuple[Examples, Examples]:
    """The data set with this name, from a directory, the cache or a mirror.

    Args:
        name: "auto", "mnist", "fashion_mnist", "kmnist" or "synthetic"; see `resolve`.
        data_dir: a directory with the four IDX files, their shards, TFRecord files or NAME.npz,
            or one in which torchvision or tensorflow_datasets keeps them; None:
            $MNIST_KERAS_DATA_DIR.
        cache_dir: the directory for downloads; None: see `resolve`.
        notice: a function that receives each message for the user, a text; stderr by default.

    Returns:
        (train, test), two `Examples` with the data set's description.

    Raises:
        DataError: a named data set cannot be loaded, or a file in ``data_dir`` is wrong.
        UsageError: the name is unknown, or a directory is a URL.

    Example:

    >>> train, test = load("mnist", data_dir="digits")
    >>> train.images.shape, test.labels.shape
    ((60000, 28, 28), (10000,))
    """
    return resolve(name, data_dir=data_dir, cache_dir=cache_dir, notice=notice)[1:]


def resolve(
    name: str = "auto",
    *,
    data_dir: StrPath | None = None,
    cache_dir: StrPath | None = None,
    notice: Callable[[str], object] = terminal.notice,
    sources: Mapping[str, Source] = SOURCES,
    limits: Limits | None = None,
) -> Resolved:
    """Like `mnist_keras.data.load`, but also returns the name of the data set.

    Where ``data_dir``, else $MNIST_KERAS_DATA_DIR, names a directory, only this directory is read.
    Otherwise the data come from the cache, or from a mirror into the cache, and are verified.
    "auto" means "mnist", or "synthetic" where MNIST cannot be loaded. ``notice`` is called once
    about this replacement, and once for each damaged file in the cache.

    Args:
        name: "auto", "mnist", "fashion_mnist", "kmnist" or "synthetic".
        data_dir: a directory with the four IDX files, .gz or not, their shards, TFRecord files or
            NAME.npz, or one in which torchvision or tensorflow_datasets keeps them. Files that are
            known or named to be those of another data set are refused.
        cache_dir: the directory for downloads; None: $MNIST_KERAS_CACHE_DIR, else mnist_keras in
            $XDG_CACHE_HOME or ~/.cache, else, where that is not writable, in the temporary
            directory.
        notice: a function that receives each message for the user, a text; stderr by default.
        sources: {name: ``Source``}, the published data sets.
        limits: the time limits of downloads, ``mnist_keras.data.datasets.download.Limits``.

    Returns:
        (name, train, test), a named tuple; the name is never "auto".

    Raises:
        DataError: a named data set cannot be loaded, or a file in ``data_dir`` is wrong.
        UsageError: the name is unknown, or a directory is a URL.

    Example:

    >>> resolve("auto", data_dir="digits").name
    'mnist'
    """
    if name not in NAMES:
        raise UsageError(
            f"The data set is unknown. Received: {name!r}. Expected: one of {', '.join(NAMES)}."
        )
    published = "mnist" if name == "auto" else name
    folder = _directory(data_dir, "MNIST_KERAS_DATA_DIR")
    if folder and name != "synthetic":
        return Resolved(published, *read_directory(folder, published, notice=notice))
    caches = _caches(cache_dir)
    if name == "synthetic":
        return Resolved(name, *_synthetic(caches, notice))
    try:
        return Resolved(published, *_published(sources[published], caches, notice, limits))
    except DataError as error:
        if name != "auto":
            raise
        notice(_not_mnist(error))
        return Resolved("synthetic", *_synthetic(caches, notice))


def _not_mnist(error):
    from rich.cells import cell_len

    lines = [
        "THIS IS NOT MNIST: the built-in SYNTHETIC digits are used instead.",
        "Accuracies on them say nothing about accuracies on MNIST.",
        "",
        *textwrap.wrap(str(error), 76, break_long_words=False, break_on_hyphens=False),
        "",
        "To use MNIST, put its four IDX files or mnist.npz into a directory and name",
        "it with --data_dir or MNIST_KERAS_DATA_DIR.",
    ]
    width = max(map(cell_len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    rows = (f"| {line}{' ' * (width - cell_len(line))} |" for line in lines)
    return "\n".join([edge, *rows, edge])


def _directory(given, variable):
    """The directory that an argument or else an environment variable names, or None.

    Raises:
        UsageError: it is a URL.
    """
    if given:
        return Path(local_path(given)).expanduser()
    value = os.environ.get(variable)
    return Path(local_path(value, flag=variable)).expanduser() if value else None


def _caches(cache_dir):
    """The cache directories to read; downloads go into the last one."""
    own = _directory(cache_dir, "MNIST_KERAS_CACHE_DIR")
    if own:
        return [own]
    base = _directory(None, "XDG_CACHE_HOME")
    try:
        default = (base or Path.home() / ".cache") / "mnist_keras"
        default.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a user without a home directory is a RuntimeError
        return [_temporary_cache()]
    if os.access(default, os.W_OK | os.X_OK):
        return [default]
    return [default, _temporary_cache()]


def _temporary_cache():
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    try:
        folder = Path(tempfile.gettempdir()) / f"mnist_keras-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # In a shared directory another user may have created it.
        if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            folder = Path(tempfile.mkdtemp(prefix="mnist_keras-"))
    except OSError:
        return Path(os.devnull) / "mnist_keras"  # Contains nothing and cannot be written.
    return folder


def _published(source, caches, notice, limits):
    arrays: dict[str, np.ndarray] = {}
    for cache in caches:
        arrays |= _cached(source, cache / source.name, notice, skip=arrays)
        tidy(cache / source.name)
    if len(arrays) < len(ROLES):
        arrays |= _downloaded(source, caches[-1] / source.name, limits, skip=arrays)
    return halves(caches[-1] / source.name, [arrays[role] for role in ROLES], source.name)


def _cached(source, folder, notice, *, skip):
    arrays: dict[str, np.ndarray] = {}
    for role in ROLES:
        path = folder / f"{spellings(role)[0]}.gz"
        if role in skip or not os.path.exists(path):
            continue
        try:
            arrays[role] = source.read(path, role)
        except DataError as error:
            notice(f"A damaged file in the cache is downloaded again: {error}")
    return arrays


def _downloaded(source, folder, limits, *, skip):
    downloader = Downloader(limits)
    arrays: dict[str, np.ndarray] = {}
    with downloader.alone_in(folder):
        # Another process may have downloaded them while this one waited for the lock.
        arrays |= _cached(source, folder, lambda _: None, skip=skip)
        for role in ROLES:
            if role in skip or role in arrays:
                continue
            name = f"{spellings(role)[0]}.gz"
            urls = [f"{mirror}{name}" for mirror in source.mirrors]
            try:
                path = downloader.fetch(
                    urls, folder / name, verify=lambda path, role=role: source.read(path, role)
                )
            except DownloadError as error:
                raise DataError(
                    f"The data set {source.name} cannot be loaded. Received: {error.received}. "
                    f"Expected: a mirror that has {name}, or the data in --data_dir "
                    f"($MNIST_KERAS_DATA_DIR){found_elsewhere(source.name)}."
                ) from error
            arrays[role] = source.read(path, role)
    return arrays


def _synthetic(caches, notice):
    from mnist_keras.data.datasets import synthetic

    folders = [cache / f"synthetic-v{synthetic.VERSION}" for cache in caches]
    arrays = None
    for folder in folders:
        arrays = arrays or _cached_synthetic(folder, notice)
        tidy(folder)
    if arrays is None:
        arrays = []
        for seed, count in enumerate(_SYNTHETIC_COUNTS):
            with task_progress("synthetic digits", count) as show:
                arrays += synthetic.synthetic_digits(count, seed=seed, progress=show)
        with contextlib.suppress(DataError):  # The digits are usable without a cache.
            _cache_synthetic(folders[-1], arrays)
    return halves(folders[-1], arrays, "synthetic")


def _cached_synthetic(folder, notice):
    if not os.path.exists(folder / "sha256.json"):
        return None
    try:
        sums = json_text.parse(read_regular(folder / "sha256.json"))
        paths = {role: folder / spellings(role)[0] for role in ROLES}
        arrays = [
            read_idx(path, check=at_most_published(path, role)) for role, path in paths.items()
        ]
        if sums != {role: sha256_idx(array) for role, array in zip(ROLES, arrays, strict=True)}:
            raise DataError(
                f"{os.fspath(folder)!r} is damaged. Received: other checksums. "
                "Expected: the checksums in sha256.json."
            )
    except (DataError, OSError, ValueError) as error:
        notice(f"Damaged synthetic digits in the cache are drawn again: {error}")
        return None
    return arrays


def _cache_synthetic(folder, arrays):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"A directory cannot be created. Received: {os.fspath(folder)!r}: {error.strerror}. "
            "Expected: a writable directory."
        ) from error
    for role, array in zip(ROLES, arrays, strict=True):
        write_idx(folder / spellings(role)[0], array)
    sums = {role: sha256_idx(array) for role, array in zip(ROLES, arrays, strict=True)}
    # Written last: without it the other four files are ignored.
    with replacing(folder / "sha256.json") as (stream, _):
        stream.write(json.dumps(sums, indent=1).encode())
