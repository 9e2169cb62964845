"""Read files made to cost time or memory: ``python -m tests.faults.attack --rounds=10 --seed=0``.

Each file of a few kB promises much, never ends or is nested without end: pictures, IDX and npz
archives, TFRecord and event files, models, checkpoints, JSON, sparse files, named pipes. A child
process reads each one. It has to be read, or refused with a one-line error of this package, within
bounded time and memory.
"""

import argparse
import collections
import gzip
import io
import json
import multiprocessing
import os
import pathlib
import random
import resource
import struct
import sys
import tempfile
import zipfile
import zlib

import h5py
import numpy as np

from mnist_keras.app import flag_files
from mnist_keras.app.hyperparameters import hyperparameters
from mnist_keras.app.keras_settings import require_usable
from mnist_keras.app.model_file import open_model_file
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.checkpoint import file_bundle, storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.training_state import TrainingState
from mnist_keras.data.datasets.directory import read_directory
from mnist_keras.data.formats import record_framing, tfrecord
from mnist_keras.data.formats.idx import read_idx
from mnist_keras.data.formats.npz import KEYS
from mnist_keras.errors import MnistKerasError
from mnist_keras.photos import reading

MOST_BYTES = 400 << 20
MOST_SECONDS = 30
_BLOCK = bytes(1 << 20)


def packed(header, count, chance):
    """A gzip file of a header and about that many zeros."""
    file = io.BytesIO()
    with gzip.GzipFile("", "wb", 1, file) as stream:
        stream.write(header)
        for _ in range((count >> 20) + chance.choice((0, 1))):
            stream.write(_BLOCK)
    return file.getvalue()


def thin_picture(chance):
    """A PNG of up to 60 million pixels, one to thirty pixels high or wide."""
    long, short = 10 ** chance.randint(4, 6) * chance.randint(1, 2), chance.randint(1, 30)
    return png(*chance.choice(((long, short), (short, long))))


def png(width, height):
    """A PNG whose pixels are all 0."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    packer, left = zlib.compressobj(1), height * (width + 1)
    pixels = bytearray()
    while left > 0:
        pixels += packer.compress(bytes(min(left, 1 << 20)))
        left -= 1 << 20
    pixels += packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", bytes(pixels)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def idx_of_another_shape(chance):
    """A gzipped IDX file of up to 1 GB whose images are not digits."""
    side = chance.choice((27, 29, 2800))
    count = chance.randint(10**7, 10**9) // side**2
    return packed(struct.pack(">HBB3I", 0, 8, 3, count, side, side), count * side**2, chance)


def idx_that_is_longer(chance):
    """A gzipped IDX file of ten images, followed by up to 1 GB."""
    return packed(struct.pack(">HBB3I", 0, 8, 3, 10, 28, 28), chance.randint(10**7, 10**9), chance)


def npz(chance):
    """An mnist.npz of up to 1 GB, of another shape."""
    file, length = io.BytesIO(), chance.randint(10, 1000) << 20
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key in KEYS:
            header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({length},), }}"
            with archive.open(f"{key}.npy", "w") as stream:
                stream.write(b"\x93NUMPY\x01\x00\x76\x00" + header.encode().ljust(117) + b"\n")
                for _ in range(length >> 20):
                    stream.write(_BLOCK)
    return file.getvalue()


def model(chance):
    """A model.keras with a member of up to 1 GB."""
    file, name = io.BytesIO(), chance.choice(("config.json", "metadata.json", "model.weights.h5"))
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w") as stream,
    ):
        for _ in range(chance.randint(100, 1000)):
            stream.write(_BLOCK)
    return file.getvalue()


def weights(chance):
    """A model.keras whose weights have a shape of up to a TB, and hardly any value."""
    content, file = io.BytesIO(), io.BytesIO()
    with h5py.File(content, "w") as stored:
        length = 1 << chance.randint(24, 40)
        stored.create_dataset("layers/dense/vars/0", (length,), "f4", chunks=(1 << 16,))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.weights.h5", content.getvalue())
    return file.getvalue()


def odd_weights(chance):
    """A model.keras whose weights lie elsewhere, or in a circle."""
    content, file = io.BytesIO(), io.BytesIO()
    with h5py.File(content, "w") as stored:
        group = stored.create_group("layers/dense/vars")
        if chance.random() < 0.5:
            group["0"] = chance.choice((group, group.parent, stored))
        else:
            layout = h5py.VirtualLayout((784, 512), "f4")
            layout[:] = h5py.VirtualSource("/etc/passwd", "0", (784, 512))
            group.create_virtual_dataset("0", layout)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.weights.h5", content.getvalue())
    return file.getvalue()


def damaged_spots(chance):
    """Records with a damaged byte after each, or heads whose records overlap."""
    count = chance.randint(10**4, 10**5)
    if chance.random() < 0.5:
        return (record_framing.frame(b"value") + b"?") * count
    heads = (struct.pack("<Q", 12 * left) for left in range(count, 0, -1))
    return b"?" + b"".join(head + record_framing.checksum(head) for head in heads) + bytes(20)


def text(chance):
    """JSON that is nested without end, or has an endless number."""
    size = chance.choice((400, 5000, 100_000))
    value = chance.choice(("[" * size, '{"a": ' * size, "1" * size, "[" * size + "]" * size))
    return chance.choice((value, f'{{"epochs": 3, "test_accuracy": {value}}}')).encode()


def record(chance):
    """A TFRecord file of one example: a huge picture, or a length that is not there."""
    if chance.random() < 0.3:
        head = struct.pack("<Q", 1 << chance.randint(20, 63))
        return head + record_framing.checksum(head) + _BLOCK[:1000]
    example = tfrecord._example_class()()
    image = example.features.feature.add(key="image")
    image.value.bytes_list.value.append(png(*chance.choice(((10_000, 9000), (50_000_000, 1)))))
    label = example.features.feature.add(key="label")
    label.value.int64_list.value.append(1)
    return record_framing.frame(example.SerializeToString())


def read_npz(path):
    path.rename(path.with_name("mnist.npz"))
    read_directory(path.parent, "mnist")


def read_record(path):
    np.asarray(tfrecord.TFRecordImages(path))


def read_events(path):
    path.rename(path.with_name("events.out.tfevents.1"))
    hyperparameters(path.parent)


def resume_events(path):
    run = path.parent
    (run / "train").mkdir()
    path.rename(run / "train" / "events.out.tfevents.1.mnist_keras")
    EventLog(run, step=1).close()


def read_flags(path):
    flag_files.expand([f"--flagfile={path}"])


def read_summary(path):
    run = RunDirectory(path.parent)
    path.rename(run.summary)
    run.finished()


def read_model_of_summary(path):
    run = RunDirectory(path.parent)
    path.rename(run.model)
    run.has_model_of({"model_sha256": ""})


def read_recipe(path):
    run = RunDirectory(path.parent)
    path.rename(run.recipe)
    run.stored_recipe()


def read_manifest(path):
    path.rename(path.with_name(storage.MANIFEST))
    storage.read_directory(path.parent)


def read_checkpoint(path):
    directory = path.parent / "step-00000001"
    if not directory.exists():
        directory.mkdir()
        entries = {"state.npz": {"size": path.stat().st_size, "sha256": ""}}
        seal = {"sha256": storage._seal(storage.FORMAT, entries, {})}
        manifest = {"format": storage.FORMAT, "files": entries, "description": {}, **seal}
        (directory / storage.MANIFEST).write_bytes(storage._text(manifest))
        path.rename(directory / "state.npz")
    checkpoints = CheckpointDirectory(path.parent, keep=1)
    checkpoints.require_newest(lambda line: None, check=TrainingState.from_files)


def read_settings(path):
    path.rename(path.with_name("keras.json"))
    require_usable({"KERAS_HOME": str(path.parent)})


SPARSE_BYTES = 50 << 30  # A file of zeros that takes no room on the disk.
OUTSIDE = ("../../outside", "/etc/passwd")
# {what is read: its reader, a function of the path of a file}
READERS = {
    "photo": reading.read,
    "IDX file": read_idx,
    "data": read_npz,
    "TFRecord": read_record,
    "model": open_model_file,
    "model of a finished run": read_model_of_summary,
    "recipe": read_recipe,
    "flag file": read_flags,
    "summary.json": read_summary,
    "keras.json": read_settings,
    "manifest.json": read_manifest,
    "checkpoint": read_checkpoint,
    "event file": read_events,
    "event file of a resumed run": resume_events,
}
# {what is read: functions of a random generator that make its content}
CONTENTS = {
    "photo": (thin_picture, idx_of_another_shape),
    "IDX file": (idx_that_is_longer,),
    "data": (npz,),
    "TFRecord": (record,),
    "model": (model, weights, odd_weights),
    "event file": (record, damaged_spots),
    "summary.json": (text,),
    "manifest.json": (text,),
    "keras.json": (text,),
}


def write_sealed(path, chance):
    """A checkpoint whose manifest fits to its files, which hold what no training saves."""
    count = chance.choice((-1, -(1 << 40), 1 << 70))
    position = {"step": 1, "epoch": 0, "step_in_epoch": 0, chance.choice(("step", "epoch")): count}
    kernel = chance.choice((np.zeros((3, 4), "i8"), np.zeros((4, 3), "f4"), np.zeros((3, 4), "f4")))
    entry = {"key": "model/0000", "path": "kernel", "shape": [3, 4], "dtype": "float32"}
    state = {"position": position, "bfloat16": [], "variables": [entry], "place": {"draws": count}}
    files = {
        "state.json": json.dumps(state).encode(),
        "state.npz": file_bundle.pack_arrays({"model/0000": kernel}),
    }
    if chance.random() < 0.3:
        files[chance.choice(OUTSIDE)] = b"theirs"
    directory = path.parent / "step-00000001"
    directory.mkdir()
    for name in ("state.json", "state.npz"):
        (directory / name).write_bytes(files[name])
    (directory / storage.MANIFEST).write_bytes(storage._manifest(files, {"step": 1}))


def write_content(content):
    """A function that writes the file of a kind, of a path and a random generator."""
    return lambda path, chance: path.write_bytes(content(chance))


def write_sparse(path, chance):
    """A file of zeros."""
    path.touch()
    os.truncate(path, SPARSE_BYTES)


def write_gaps(path, chance):
    """Records, heads of long ones, and gaps between them."""
    heads = [struct.pack("<Q", 1 << power) for power in (20, 29, 30)]
    with open(path, "wb") as file:
        for _ in range(chance.randint(1, 100)):
            file.seek(chance.randrange(SPARSE_BYTES))
            head = chance.choice(heads)
            file.write(
                chance.choice((record_framing.frame(b""), head + record_framing.checksum(head)))
            )
        file.truncate(SPARSE_BYTES)


# {name: (a function that writes the file, what it is read as)}
KINDS = {
    **{
        f"{name}: {content.__name__}": (write_content(content), name)
        for name, contents in CONTENTS.items()
        for content in contents
    },
    "event file of a resumed run: gaps": (write_gaps, "event file of a resumed run"),
    "checkpoint: sealed": (write_sealed, "checkpoint"),
    **{f"{name}: sparse": (write_sparse, name) for name in READERS},
    **{f"{name}: pipe": (lambda path, chance: os.mkfifo(path), name) for name in READERS},
}


def outcome(read, path):
    """The result in a child process: "read", the error's name, or what is WRONG."""
    parent, child = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_report, args=(read, path, child))
    process.start()
    child.close()
    process.join(MOST_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return "WRONG: too slow"
    return json.loads(parent.recv()) if parent.poll() else f"WRONG: ended by {process.exitcode}"


def _report(read, path, pipe):
    in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MOST_BYTES,) * 2)
    sys.stderr = io.StringIO()
    try:
        read(path)
        result = "read"
    except MnistKerasError as error:
        result = "WRONG: several lines" if "\n" in str(error) else type(error).__name__
    except BaseException as error:
        result = f"WRONG: {type(error).__name__}"
    pipe.send(json.dumps(result))


def main():
    """Read the given number of files of each kind; exit with 1 if one was not read as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    wrong = 0
    for kind, (write, name) in KINDS.items():
        came_out = collections.Counter()
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "attack.keras")
                write(path, chance)
                came_out[outcome(READERS[name], path)] += 1
        print(f"{kind}: {dict(came_out.most_common())}", flush=True)
        wrong += sum(count for name, count in came_out.items() if name.startswith("WRONG"))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
