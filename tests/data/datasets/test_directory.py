"""The files in a directory are those of the data set that is asked for, or an error says why."""

import doctest
import gzip
import hashlib

import pytest

from mnist_keras.data import Examples, resolve, write_idx, write_shards
from mnist_keras.data.datasets import identity, published
from mnist_keras.data.datasets.published import ROLES, Source, spellings
from mnist_keras.data.formats.idx import sha256_idx
from mnist_keras.data.formats.tfrecord import write_tfrecord
from tests.data.files import message_of, npz_bytes

FILES = [spellings(role)[0] for role in ROLES]
HTML = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"


@pytest.fixture
def write(tmp_path, arrays):
    """Writes the four IDX files into a new directory; returns it."""

    def call(folder="digits", names=FILES):
        folder = tmp_path / folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in zip(names, arrays, strict=True):
            (folder / name).parent.mkdir(exist_ok=True)
            write_idx(folder / name, array)
        return folder

    return call


def write_tfds(folder, arrays, name="mnist"):
    for half, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        write_shards(folder, Examples(images, labels), half=half, count=1, form="tfrecord")
    for path in folder.iterdir():
        path.rename(path.with_name(f"{name}-{path.name}"))


def read(folder, name="mnist"):
    """(labels of the training images, what was said)."""
    said = []
    _, train, _ = resolve(name, data_dir=folder, notice=said.append)
    return train.labels.tolist(), said


@pytest.fixture
def of_mnist(monkeypatch, arrays):
    """The arrays are those that are published as MNIST, and not those of Fashion-MNIST."""
    sums = tuple(sha256_idx(array) for array in arrays)
    mnist = Source(name="mnist", mirrors=(), sha256=sums, sums_are_of="content")
    monkeypatch.setitem(published.SOURCES, "mnist", mnist)
    monkeypatch.setattr("mnist_keras.data.datasets.identity._COUNTS", {"train": 30, "t10k": 10})


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(identity).failed == 0


# Another data set's files


@pytest.mark.parametrize(
    ("name", "file", "other"),
    [
        ("fashion_mnist", "mnist.npz", "mnist"),
        ("mnist", "kmnist.npz", "kmnist"),
        ("auto", "fashion_mnist.npz", "fashion_mnist"),
    ],
)
def test_an_npz_of_another_set_is_not_taken(tmp_path, arrays, name, file, other):
    (tmp_path / file).write_bytes(npz_bytes(arrays))
    own = "mnist" if name == "auto" else name
    assert message_of(read, tmp_path, name) == (
        f"The data directory has no files of {own}, only of another data set. Received: {file} in "
        f"{str(tmp_path)!r}. Expected: the four IDX files, .gz or not, their shards, TFRecord "
        f"files, or {own}.npz, or --dataset={other}."
    )


def test_tfrecords_of_another_set_are_not_taken(tmp_path, arrays):
    write_tfds(tmp_path, arrays, "fashion_mnist")
    assert "fashion_mnist-test.tfrecord-00000-of-00001" in message_of(read, tmp_path)
    assert read(tmp_path, "fashion_mnist")[0] == arrays[1].tolist()


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "mnist/3.0.1"])
def test_a_directory_named_for_another_set_is_refused(write, arrays, folder):
    folder = write(folder)
    assert message_of(read, folder, "fashion_mnist") == (
        f"The data directory is named for another data set. Received: {str(folder)!r} for "
        "fashion_mnist. Expected: a directory of fashion_mnist, one that is not named for a data "
        "set, or --dataset=mnist."
    )
    assert read(folder) == (arrays[1].tolist(), [])


@pytest.mark.parametrize("names", [FILES, [f"{name}.gz" for name in FILES]])
def test_published_files_of_another_set_are_refused(write, of_mnist, names):
    folder = write("digits", names)
    assert message_of(read, folder, "kmnist") == (
        f"{str(folder)!r} has files of another data set. Received: the train-images of mnist. "
        "Expected: files of kmnist, or --dataset=mnist."
    )


def test_an_npz_with_published_arrays_of_another_set_is_refused(tmp_path, arrays, of_mnist):
    (tmp_path / "kmnist.npz").write_bytes(npz_bytes(arrays))
    assert "Received: the train-images of mnist." in message_of(read, tmp_path, "kmnist")


def test_a_published_gz_is_known_by_its_checksum(write, monkeypatch, of_mnist):
    folder = write("digits", [f"{name}.gz" for name in FILES])
    sums = tuple(hashlib.sha256((folder / f"{n}.gz").read_bytes()).hexdigest() for n in FILES)
    source = Source(name="kmnist", mirrors=(), sha256=sums, sums_are_of="container")
    monkeypatch.setitem(published.SOURCES, "mnist", published.SOURCES["fashion_mnist"])
    monkeypatch.setitem(published.SOURCES, "kmnist", source)
    assert "Received: the train-images of kmnist." in message_of(read, folder, "fashion_mnist")


def test_published_files_may_lie_in_any_directory(write, arrays, of_mnist):
    assert read(write("kmnist"))[0] == arrays[1].tolist()


def test_an_own_npz_is_taken_beside_files_of_another_set(write, arrays, of_mnist):
    folder = write("data")
    others = [array[::-1] for array in arrays]
    (folder / "kmnist.npz").write_bytes(npz_bytes(others))
    assert read(folder, "kmnist")[0] == others[1].tolist()
    assert read(folder)[0] == arrays[1].tolist()


# Layouts of archives and of other programs


def test_files_are_taken_rather_than_directories_of_their_names(write, arrays):
    folder = write("data", [name.replace("-idx", ".idx") for name in FILES])
    write("data", [f"{name}/{name}" for name in FILES])
    assert read(folder)[0] == arrays[1].tolist()


def test_a_file_inside_a_directory_of_its_name_is_read(write, arrays, tmp_path):
    assert read(write("data", [f"{name}/{name}" for name in FILES]))[0] == arrays[1].tolist()
    (tmp_path / "npz" / "mnist.npz").mkdir(parents=True)
    (tmp_path / "npz" / "mnist.npz" / "mnist.npz").write_bytes(npz_bytes(arrays))
    assert read(tmp_path / "npz")[0] == arrays[1].tolist()


def test_a_file_in_two_directories_of_its_names_is_ambiguous(write):
    folder = write("data", [f"{name}/{name}" for name in FILES])
    dotted = [name.replace("-idx", ".idx") for name in FILES]
    write("data", [f"{name}/{name}" for name in dotted])
    assert f"has the same file twice. Received: '{folder}/train-" in message_of(read, folder)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("fashion_mnist", "fashion-mnist"),
        ("kmnist", "raw"),
    ],
)
def test_directories_of_other_programs_are_found(write, arrays, tmp_path, name, folder):
    path = write(folder)
    assert read(tmp_path, name) == (arrays[1].tolist(), [f"{name} is read from {str(path)!r}."])


def test_the_newest_version_of_tensorflow_datasets_is_read(tmp_path, arrays):
    for version in ("3.0.1", "10.0.0"):
        write_tfds(tmp_path / "mnist" / version, arrays)
    assert read(tmp_path)[1] == [f"mnist is read from '{tmp_path}/mnist/10.0.0'."]


@pytest.mark.parametrize(
    "folders", [("MNIST/raw", "mnist"), ("raw", "processed"), ("mnist", "mnist/raw")]
)
def test_a_data_set_in_two_subdirectories_is_ambiguous(folders, write, tmp_path):
    for folder in folders:
        write(folder)
    first, second = (f"{str(tmp_path / folder)!r}" for folder in folders)
    message = message_of(read, tmp_path)
    assert message.startswith("The data directory has the data set mnist several times. Received: ")
    assert first in message
    assert second in message


def test_an_error_names_the_copy_of_another_program(tmp_path, arrays, monkeypatch, limits):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    (tmp_path / "keras" / "datasets" / "mnist.npz").write_bytes(npz_bytes(arrays))
    (tmp_path / "empty").mkdir()
    hint = f"or --data_dir={tmp_path}/keras/datasets, where it was found."
    assert message_of(read, tmp_path / "empty").endswith(hint)
    nowhere = {"mnist": Source(name="mnist", mirrors=(), sha256=("",) * 4, sums_are_of="content")}
    options = {"cache_dir": tmp_path / "cache", "sources": nowhere, "limits": limits}
    assert message_of(resolve, "mnist", **options).endswith(hint)


# Failed downloads


@pytest.mark.parametrize(
    ("file", "body", "said"),
    [
        (FILES[0], HTML, "an HTML page, not an IDX file. Received: <!DOCTYPE html>."),
        (f"{FILES[0]}.gz", HTML, "an HTML page, not an IDX file. Received: <!DOCTYPE html>."),
        (
            f"{FILES[0]}.gz",
            gzip.compress(HTML, mtime=0),
            "an HTML page, not an IDX file. Received: <!DOCT",
        ),
        ("mnist.npz", HTML, "an HTML page, not an .npz. Received: <!DOCTYPE html>."),
        ("mnist.npz", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not"),
        ("train.tfrecord", b"<?xml version='1.0'?><Error/>", "an XML page, not a TFRecord file. "),
    ],
)
def test_a_page_saved_as_data_is_called_a_page(write, file, body, said):
    folder = write()
    (folder / FILES[0]).unlink()
    (folder / file).write_bytes(body)
    message = message_of(read, folder)
    assert message.startswith(f"{str(folder / file)!r} is {said}")
    assert message.endswith("Expected: a completed download.")


# The same half twice


def as_record(folder, arrays):
    write_tfrecord(folder / "train.tfrecord", *arrays[:2])


def as_records(folder, arrays):
    write_shards(folder, Examples(*arrays[:2]), count=2, form="tfrecord")


def as_shards(folder, arrays):
    write_idx(folder / f"{FILES[0]}-00000-of-00001", arrays[0])
    write_idx(folder / f"{FILES[1]}-00000-of-00001", arrays[1])


def as_named_record(folder, arrays):
    write_tfrecord(folder / "mnist-train.tfrecord", *arrays[:2])


def as_idx(folder, arrays):
    write_idx(folder / FILES[0], arrays[0])
    write_idx(folder / FILES[1], arrays[1])


def as_npz(folder, arrays):
    (folder / "mnist.npz").write_bytes(npz_bytes(arrays))


@pytest.mark.parametrize(
    ("forms", "received"),
    [
        ((as_records, as_record), "train.tfrecord and train.tfrecord-00000-of-00002"),
        ((as_record, as_named_record), "train.tfrecord and mnist-train.tfrecord"),
        ((as_records, as_shards), f"train.tfrecord-00000-of-00002 and {FILES[0]}-00000-of-00001"),
        ((as_idx, as_shards), f"{FILES[0]} and {FILES[0]}-00000-of-00001"),
        ((as_idx, as_record), f"{FILES[0]} and train.tfrecord"),
        ((as_npz, as_record), "mnist.npz and train.tfrecord"),
    ],
)
def test_a_half_in_two_forms_is_ambiguous(tmp_path, arrays, forms, received):
    for write in forms:
        write(tmp_path, arrays)
    assert message_of(read, tmp_path) == (
        f"{str(tmp_path)!r} has the same half of the data set twice. Received: {received}. "
        "Expected: one of them."
    )
