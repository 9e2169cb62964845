"""Damage files at random and read them: ``python -m tests.faults.fuzz --inputs=40000 --seed=0``.

The files are IDX (plain, gzipped, mapped), mnist.npz, a checkpoint's manifest and flag files. Each
one is read or refused with a one-line error of this package, within bounded memory.
"""

import argparse
import collections
import io
import pathlib
import random
import sys
import tempfile
import tracemalloc

import numpy as np
from absl import flags as absl_flags

from mnist_keras.app import flags
from mnist_keras.checkpoint import storage
from mnist_keras.data.formats.idx import map_idx, read_idx, write_idx
from mnist_keras.data.formats.npz import KEYS, read_npz
from mnist_keras.errors import MnistKerasError

MOST_BYTES = 64 << 20


def damaged(content, chance):
    """The content with bytes flipped, removed, repeated or inserted, or truncated."""
    whole, content = content, bytearray(content)
    while content == whole or chance.random() < 0.5:
        at = chance.randrange(len(content) + 1)
        length = chance.choice((0, 1, 1, 2, 4, 8, 64))
        new = chance.choice(
            (
                chance.randbytes(length),
                bytes(length),
                b"\xff" * length,
                bytes(content[at : at + length]) * 2,
            )
        )
        if chance.random() < 0.1:
            del content[at:]
        else:
            content[at : at + chance.choice((0, length))] = new
    return bytes(content)


def targets(folder):
    """{name: (undamaged content, reader of a path)}."""
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    write_idx(folder / "plain", images)
    write_idx(folder / "packed.gz", images)
    packed_npz = io.BytesIO()
    np.savez_compressed(packed_npz, **dict.fromkeys(KEYS, images))
    storage.write_directory(folder / "step-00000001", {"state.npz": b"state"}, {"metrics": {}})
    recipe = b"--epochs=3\n--learning_rate=0.5\n--network=cnn\n--shuffle\n--run_name=run\n# end\n"
    flags.define()

    def read_flags(path):
        absl_flags.FLAGS.unparse_flags()
        flags.parse(["main.py", f"--flagfile={path}"])

    def read_manifest(path):
        directory = folder / "step-00000001"
        (directory / storage.MANIFEST).write_bytes(path.read_bytes())
        storage.read_directory(directory)

    return {
        "IDX": ((folder / "plain").read_bytes(), read_idx),
        "IDX, mapped": ((folder / "plain").read_bytes(), map_idx),
        "IDX, gzipped": ((folder / "packed.gz").read_bytes(), read_idx),
        "npz": (packed_npz.getvalue(), read_npz),
        "manifest": ((folder / "step-00000001" / storage.MANIFEST).read_bytes(), read_manifest),
        "flag file": (recipe, read_flags),
    }


def outcome(read, path):
    """The result of reading: "read" or the error's name; other errors are raised."""
    try:
        read(path)
    except MnistKerasError as error:
        if "\n" in str(error):
            raise RuntimeError("more than one line") from error
        return type(error).__name__
    except SystemExit as ended:
        if ended.code:
            raise
        return "help"  # A flag has become --help.
    return "read"


def main():
    """Read the given number of files of each kind; an error of another package is raised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=40000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    sys.stdout, report = io.StringIO(), sys.stdout
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        kinds = targets(folder)
        tracemalloc.start()
        for kind, (content, read) in kinds.items():
            came_out = collections.Counter()
            for _ in range(arguments.inputs // len(kinds)):
                (folder / "damaged").write_bytes(damaged(content, chance))
                came_out[outcome(read, folder / "damaged")] += 1
            print(f"{kind}: {dict(came_out.most_common())}", file=report)
        peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
    print(f"peak memory: {peak_mib:.1f} MiB", file=report)
    assert peak_mib * 2**20 < MOST_BYTES


if __name__ == "__main__":
    main()
