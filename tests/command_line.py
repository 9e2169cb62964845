"""main.py as a process, for tests of what a user sees."""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile

from mnist_keras.data import write_idx
from mnist_keras.data.datasets.synthetic import synthetic_digits
from tests import forks

MAIN = pathlib.Path(__file__).parent.parent / "main.py"
HALVES = {"train": (1000, 5), "t10k": (200, 6)}


def command(*arguments):
    return [sys.executable, str(MAIN), *map(str, arguments)]


def environment(**variables):
    """The environment without variables added by the tests or this machine."""
    foreign = ("TF_", "KERAS_", "MNIST_KERAS_", "PYTHON")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **variables}


def run_main(*arguments, cwd, **variables):
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**variables), capture_output=True, text=True
    )


def fork_main(*arguments, cwd, **variables):
    """As `run_main`, faster, for tests that are not about how the program starts."""
    return forks.run(command(*arguments), cwd=cwd, env=environment(**variables))


def write_small_mnist(directory):
    """Write 1,000 training and 200 test images as the four files of MNIST."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in _small_mnist().items():
        (directory / name).write_bytes(content)
    return directory


@functools.cache  # Drawing the digits takes a second.
def _small_mnist():
    """{name: bytes} of the files."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        for half, (count, seed) in HALVES.items():
            images, labels = synthetic_digits(count, seed=seed)
            write_idx(directory / f"{half}-images-idx3-ubyte.gz", images)
            write_idx(directory / f"{half}-labels-idx1-ubyte.gz", labels)
        return {path.name: path.read_bytes() for path in directory.iterdir()}


def tree(directory):
    """{relative path: bytes, None for a directory} of everything in a directory."""
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }
