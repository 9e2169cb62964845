import contextlib
import doctest
import functools
import itertools
import os
import shutil

import numpy as np
import pytest

from mnist_keras.app import shard
from mnist_keras.data import Examples, resolve, write_idx, write_shards
from mnist_keras.data.datasets.synthetic import synthetic_digits
from mnist_keras.data.formats import file_set, shard_files
from mnist_keras.data.formats.file_set import files_of, replacing_together
from mnist_keras.data.formats.idx import sha256_idx
from mnist_keras.data.sharded import Sharded, find_shards, shard_name
from mnist_keras.errors import DataError, UsageError

IMAGES, LABELS = synthetic_digits(40, seed=3)
TEST_IMAGES, TEST_LABELS = synthetic_digits(10, seed=4)
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


@pytest.fixture(params=["idx", "tfrecord", "tensorflow_datasets"])
def folder(request, tmp_path):
    """A data set in shards of 4 and 1 files."""
    form = "idx" if request.param == "idx" else "tfrecord"
    write_shards(tmp_path, Examples(IMAGES, LABELS), count=4, form=form)
    write_shards(tmp_path, Examples(TEST_IMAGES, TEST_LABELS), half="test", count=1, form=form)
    if request.param == "tensorflow_datasets":
        for path in tmp_path.iterdir():
            path.rename(path.with_name(f"mnist-{path.name}"))
    return tmp_path


def load(folder):
    return resolve("mnist", data_dir=folder)


def test_a_directory_of_shards_loads_as_a_data_set(folder):
    _, train, test = load(folder)
    assert isinstance(train.images, np.ndarray)
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(test.images, TEST_IMAGES)
    np.testing.assert_array_equal(test.labels, TEST_LABELS)


def test_large_shards_stay_in_their_files(folder, monkeypatch):
    monkeypatch.setattr(shard_files, "_KEPT_BELOW_BYTES", 1)
    _, train, _ = load(folder)
    assert isinstance(train.images, Sharded)
    np.testing.assert_array_equal(train.images[[39, 0, 17]], IMAGES[[39, 0, 17]])
    np.testing.assert_array_equal(train[20:].images, IMAGES[20:])


def test_missing_shards_are_an_error_when_read(folder):
    for path in folder.glob("*-00002-of-00004"):
        path.unlink()
    _, train, _ = load(folder)
    assert len(train) == 40
    np.testing.assert_array_equal(train.images[[0, 35]], IMAGES[[0, 35]])
    np.testing.assert_array_equal(train.labels[:20], LABELS[:20])
    with pytest.raises(DataError, match=r"^a shard is not on this .*no .+-00002-of-00004\. "):
        train.images[[0, 25]]


@pytest.mark.parametrize("form", ["idx", "tfrecord"])
def test_a_missing_test_shard_is_reported_before_training(tmp_path, form):
    write_shards(tmp_path, Examples(IMAGES, LABELS), count=4, form=form)
    write_shards(tmp_path, Examples(TEST_IMAGES, TEST_LABELS), half="test", count=5, form=form)
    for path in tmp_path.glob("*-00002-of-00005"):
        path.unlink()
    with pytest.raises(DataError, match=r"^a shard is missing\. Received: 4 of 5, no t.+-00002-of"):
        load(tmp_path)


def sharded_idx(folder):
    write_shards(folder, Examples(IMAGES, LABELS), count=4)
    write_idx(folder / "t10k-images-idx3-ubyte", TEST_IMAGES)
    write_idx(folder / "t10k-labels-idx1-ubyte", TEST_LABELS)


def drop_labels(folder):
    (folder / shard_name(TRAIN_LABELS, 1, 4)).unlink()


def drop_images(folder):
    (folder / shard_name(TRAIN_IMAGES, 3, 4)).unlink()


def shorten_labels(folder):
    write_idx(folder / shard_name(TRAIN_LABELS, 1, 4), LABELS[:9])


def drop_of_uneven_ones(folder):
    for stem, array in ((TRAIN_IMAGES, IMAGES), (TRAIN_LABELS, LABELS)):
        write_idx(folder / shard_name(stem, 1, 4), array[:9])
        (folder / shard_name(stem, 2, 4)).unlink()


def widen_labels(folder):
    write_idx(folder / shard_name(TRAIN_LABELS, 1, 4), LABELS[10:20].astype(np.int32) + 256)


def stack_labels(folder):
    write_idx(folder / shard_name(TRAIN_LABELS, 1, 4), LABELS[10:20, np.newaxis])


def mix_sets(folder):
    shutil.copy(folder / shard_name(TRAIN_IMAGES, 0, 4), folder / shard_name(TRAIN_IMAGES, 0, 5))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_labels, r"lacks a shard\. Received: no train-labels-idx1-ubyte-00001-of-00004\. "),
        (drop_images, r"lacks a shard\. Received: no train-images-idx3-ubyte-00003-of-00004\. "),
        (shorten_labels, r"^a shard has a wrong number of labels\. Received: 9 for train-images"),
        (widen_labels, r"^the labels of a shard have the wrong form\. Received: int32 \(10,\) for"),
        (stack_labels, r"^the labels of a shard have the wrong form\. Received: uint8 \(10, 1\) "),
        (
            drop_of_uneven_ones,
            r"^some shards are missing, .* Received: 3 of 4, of 9 and 10 images",
        ),
        (mix_sets, r"^the shards of train-images-idx3-ubyte are not one set\. "),
    ],
)
def test_mismatched_shards_are_reported(tmp_path, damage, message):
    sharded_idx(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_the_examples_in_the_docstrings_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(shard_files).failed == doctest.testmod(file_set).failed == 0


@pytest.mark.parametrize("form", ["idx", "tfrecord"])
def test_a_command_splits_a_data_set_into_shards(tmp_path, form):
    sharded_idx(tmp_path / "from")
    to = tmp_path / "to"
    command = [f"--data_dir={tmp_path}/from", f"--to={to}", "--count=7", f"--format={form}"]
    assert shard.main(command) == 0
    _, train, test = load(to)
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(test.labels, TEST_LABELS)
    assert len(list(to.glob("train*-00006-of-00007"))) == (2 if form == "idx" else 1)


def test_an_impossible_command_says_why(tmp_path, capsys):
    sharded_idx(tmp_path)
    command = [f"--data_dir={tmp_path}", f"--to={tmp_path}/to", "--count=41"]
    assert shard.main(command) == 2
    assert capsys.readouterr().err == (
        "error: the number of shards is wrong. Received: 41. "
        "Expected: 1 to 40, the number of examples.\n"
    )
    (tmp_path / "file").touch()
    assert shard.main([f"--data_dir={tmp_path}", f"--to={tmp_path}/file/to", "--count=4"]) == 1
    assert capsys.readouterr().err.endswith("Not a directory. Expected: a writable directory.\n")


def test_halves_other_than_train_and_test_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^unknown half of a data set\. .*'validation'"):
        write_shards(tmp_path, Examples(IMAGES, LABELS), half="validation", count=2)


def test_shard_numbers_of_more_than_five_digits_are_read():
    names = [shard_name("a", 7, 123_456), shard_name("a", 100_000, 123_456)]
    assert find_shards(names, "a") == ({7: names[0], 100_000: names[1]}, 123_456)


def test_an_interrupted_command_ends_like_main_py(tmp_path, monkeypatch, capsys):
    sharded_idx(tmp_path)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mnist_keras.data.write_shards", interrupted)
    assert shard.main([f"--data_dir={tmp_path}", f"--to={tmp_path}/to", "--count=4"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_unknown_shard_format_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^unknown form of shards\. Received: 'npz'\. "):
        write_shards(tmp_path, Examples(IMAGES, LABELS), count=2, form="npz")


# All shards are replaced together


def dying(real, left):
    def call(*arguments, **options):
        if next(left) == 0:
            os._exit(9)
        return real(*arguments, **options)

    return call


def is_killed_at(number, write):
    """Whether a process that runs ``write`` gets to this change of a directory, and dies there."""
    pid = os.fork()
    if pid == 0:
        left = itertools.count(number, -1)
        for name in ("replace", "rename", "rmdir", "unlink"):
            setattr(os, name, dying(getattr(os, name), left))
        with contextlib.suppress(BaseException):
            write()
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


def read_all(folder):
    _, train, test = load(folder)
    arrays = train.images, train.labels, test.images, test.labels
    return [sha256_idx(array) for array in arrays]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["idx", "tfrecord"])
def test_a_killed_writer_leaves_old_shards_or_new_ones(tmp_path, form):
    cut = slice(0, 6)
    old = Examples(IMAGES[cut], LABELS[cut]), Examples(TEST_IMAGES[cut], TEST_LABELS[cut])
    new = Examples(IMAGES[-6:], LABELS[-6:]), Examples(TEST_IMAGES[-6:], TEST_LABELS[-6:])

    def write(folder, halves):
        write_shards(folder, halves[0], count=2, form=form, test=halves[1])

    for name, halves in (("old", old), ("new", new)):
        write(tmp_path / name, halves)
    contents = [read_all(tmp_path / name) for name in ("old", "new")]
    found = []
    while True:
        folder = shutil.copytree(tmp_path / "old", tmp_path / f"killed at {len(found)}")
        if not is_killed_at(len(found), functools.partial(write, folder, new)):
            break
        found.append(contents.index(read_all(folder)))
        write(folder, new)
        assert read_all(folder) == contents[1]
        assert sorted(os.listdir(folder)) == sorted(os.listdir(tmp_path / "new"))
    assert found == sorted(found)
    assert set(found) == {0, 1}


def test_shards_that_wait_to_be_moved_survive_a_failing_writer(tmp_path, monkeypatch):
    examples = Examples(IMAGES, LABELS)
    write_shards(tmp_path, examples, count=2, test=Examples(TEST_IMAGES, TEST_LABELS))
    expected = read_all(tmp_path)
    (tmp_path / "unfinished-move").mkdir()
    moved = tmp_path / "train-labels-idx1-ubyte-00001-of-00002"
    moved.rename(tmp_path / "unfinished-move" / moved.name)
    assert read_all(tmp_path) == expected
    with pytest.raises(DataError, match=r"^the directory has other files"):
        write_shards(tmp_path, examples, count=3)
    assert read_all(tmp_path) == expected


def test_shards_are_not_written_beside_another_set(tmp_path):
    examples = Examples(IMAGES, LABELS)
    write_shards(tmp_path, examples, count=4)
    before = sorted(os.listdir(tmp_path))
    for options in ({"count": 5}, {"count": 4, "form": "tfrecord"}):
        with pytest.raises(DataError) as caught:
            write_shards(tmp_path, examples, **options)
        assert str(caught.value) == (
            "the directory has other files of the same half. Received: "
            f"{shard_name(TRAIN_IMAGES, 0, 4)} in {str(tmp_path)!r}. "
            "Expected: a directory without them."
        )
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "name",
    [
        "train-images-idx3-ubyte",
        "train-labels.idx1-ubyte.gz",
        "train.tfrecord",
        "mnist-train.tfrecord-00000-of-00001",
        "mnist.npz",
    ],
)
def test_shards_are_not_written_beside_the_half_in_another_form(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"^the directory has other files .* Received: {name} in"):
        write_shards(tmp_path, Examples(IMAGES, LABELS), count=2)
    (tmp_path / name).unlink()
    (tmp_path / "t10k-images-idx3-ubyte").touch()  # The other half may be there.
    write_shards(tmp_path, Examples(IMAGES, LABELS), count=2)


def test_a_reader_finds_files_that_are_moved_meanwhile(tmp_path, monkeypatch):
    with replacing_together(tmp_path) as new:
        (new / "file").touch()
    pending = tmp_path / "unfinished-move"
    pending.mkdir()
    (tmp_path / "file").rename(pending / "file")
    listed, calls = os.listdir, []

    def listdir(path):
        names = listed(path)
        calls.append(path)
        if len(calls) == 2 and pending.exists():
            (pending / "file").rename(tmp_path / "file")
            pending.rmdir()
        return names

    monkeypatch.setattr(os, "listdir", listdir)
    assert files_of(tmp_path)["file"].exists()


def test_two_writers_of_one_directory_do_not_mix(tmp_path):
    with replacing_together(tmp_path) as new:
        (new / "file").touch()
        with pytest.raises(DataError, match=r"^another process is writing into the directory\. "):
            write_shards(tmp_path, Examples(IMAGES, LABELS), count=4)
    assert os.listdir(tmp_path) == ["file"]


def test_the_test_half_is_given_once(tmp_path):
    test = Examples(TEST_IMAGES, TEST_LABELS)
    with pytest.raises(UsageError, match=r"^the test half is given twice\. "):
        write_shards(tmp_path, test, half="test", count=1, test=test)
