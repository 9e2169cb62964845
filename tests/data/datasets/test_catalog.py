"""A data set is complete and as published, or an error says what is wrong."""

import dataclasses
import doctest
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from mnist_keras.data.datasets import catalog, directory
from mnist_keras.data.datasets import published as published_module
from mnist_keras.data.datasets.catalog import SOURCES, Examples, load, resolve
from mnist_keras.data.datasets.descriptions import describe
from mnist_keras.data.formats.idx import sha256_idx, write_idx
from mnist_keras.data.formats.npz import KEYS
from mnist_keras.errors import UsageError
from tests.data.files import message_of, npz_bytes
from tests.terminals import Screen, Terminal, use_terminal

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
GZ_FILES = tuple(f"{name}.gz" for name in FILES)


def arrays_of(resolved):
    train, test = resolved[-2:]
    return [train.images, train.labels, test.images, test.labels]


def sums_of(arrays):
    return [sha256_idx(array) for array in arrays]


def write_idx_files(folder, arrays, names=FILES):
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        write_idx(folder / name, array)


@pytest.fixture
def get(tmp_path, limits):
    """resolve with an empty cache and short time limits; its notices are in ``get.notices``."""

    def call(name, found_at, **options):
        options = {"cache_dir": tmp_path / "cache", "limits": limits, **options}
        return resolve(name, sources=found_at, notice=call.notices.append, **options)

    call.notices = []
    return call


@pytest.fixture
def few_synthetic(monkeypatch):
    """Synthetic data of 20 and 10 examples."""
    monkeypatch.setattr(catalog, "_SYNTHETIC_COUNTS", (20, 10))


# Examples


def test_examples_have_a_length_and_slices():
    examples = Examples(
        np.arange(5 * 784, dtype=np.uint8).reshape(5, 28, 28), np.arange(5, dtype="B")
    )
    part = examples[1:3]
    assert (len(examples), len(part)) == (5, 2)
    np.testing.assert_array_equal(part.images, examples.images[1:3])
    np.testing.assert_array_equal(part.labels, [1, 2])
    assert len(examples[:0]) == 0


IMAGES = np.zeros((3, 28, 28), np.uint8)
LABELS = np.zeros(3, np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, LABELS, "The images have the wrong form. Received: float64 (3, 28, 28)."),
        (IMAGES[0], LABELS, "The images have the wrong form. Received: uint8 (28, 28)."),
        (IMAGES[:, 1:], LABELS, "The images have the wrong form. Received: uint8 (3, 27, 28)."),
        (IMAGES, LABELS[1:], "The labels have the wrong form. Received: uint8 (2,)."),
        (IMAGES, LABELS.astype(int), "The labels have the wrong form. Received: int64 (3,)."),
        (IMAGES, LABELS + 10, "A label is not a class. Received: 10. Expected: 0 to 9."),
    ],
)
def test_examples_with_wrong_shapes_or_types_are_refused(images, labels, message):
    assert message_of(Examples, images, labels).startswith(message)


# From the user's own directory


@pytest.mark.parametrize("name", ["auto", "mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize(
    "names", [FILES, GZ_FILES, [name.replace("-idx", ".idx") for name in FILES]]
)
def test_idx_files_are_read_under_all_usual_names(tmp_path, arrays, get, name, names):
    write_idx_files(tmp_path / "own", arrays, names)
    found = get(name, None, data_dir=tmp_path / "own")
    assert found.name == ("mnist" if name == "auto" else name)
    assert sums_of(arrays_of(found)) == sums_of(arrays)
    assert found.train.description == found.test.description == describe(name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_an_npz_is_read(tmp_path, arrays, get, name):
    (tmp_path / f"{name}.npz").write_bytes(npz_bytes(arrays))
    assert sums_of(arrays_of(get(name, None, data_dir=tmp_path))) == sums_of(arrays)


def test_an_npz_in_fortran_order_and_uncompressed_is_read(tmp_path, arrays, get):
    arrays = [np.asfortranarray(array) for array in arrays]
    np.savez(tmp_path / "mnist.npz", **dict(zip(KEYS, arrays, strict=True)))
    assert sums_of(arrays_of(get("mnist", None, data_dir=tmp_path))) == sums_of(arrays)


def test_plain_files_are_preferred_to_gzip_and_idx_to_npz(tmp_path, arrays, get):
    write_idx_files(tmp_path, arrays)
    for name in GZ_FILES:
        (tmp_path / name).write_bytes(b"not read")
    (tmp_path / "mnist.npz").write_bytes(b"not read")
    assert sums_of(arrays_of(get("mnist", None, data_dir=tmp_path))) == sums_of(arrays)


def test_an_npz_replaces_an_incomplete_set_of_idx_files(tmp_path, arrays, get):
    write_idx(tmp_path / FILES[0], arrays[0])
    (tmp_path / "mnist.npz").write_bytes(npz_bytes(arrays))
    assert sums_of(arrays_of(get("mnist", None, data_dir=tmp_path))) == sums_of(arrays)


def test_the_argument_overrides_the_directory_of_the_environment(
    tmp_path, arrays, get, monkeypatch
):
    write_idx_files(tmp_path / "own", arrays)
    write_idx_files(tmp_path / "other", [array[::-1] for array in arrays])
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(tmp_path / "own"))
    assert sums_of(arrays_of(get("auto", None))) == sums_of(arrays)
    other = get("auto", None, data_dir=str(tmp_path / "other"))
    assert sums_of(arrays_of(other)) == sums_of([array[::-1] for array in arrays])


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_bad_directory_is_an_error_without_fallback(tmp_path, arrays, get, name):
    write_idx_files(tmp_path / "partial", arrays)
    (tmp_path / "partial" / FILES[1]).unlink()
    (tmp_path / "partial" / FILES[2]).unlink()
    (tmp_path / "empty").mkdir()
    folders = [tmp_path / name for name in ("missing", "empty", "partial")]
    files = "the four IDX files, .gz or not, their shards, TFRecord files, or mnist.npz."
    assert [message_of(get, name, None, data_dir=folder) for folder in folders] == [
        f"The data directory cannot be read. Received: {str(folders[0])!r}: No such file or "
        f"directory. Expected: a directory with {files}",
        f"The data directory lacks {', '.join(FILES)}. Received: {str(folders[1])!r} with 0 "
        f"entries. Expected: {files}",
        f"The data directory lacks {FILES[1]}, {FILES[2]}. Received: {str(folders[2])!r} with 2 "
        f"entries. Expected: {files}",
    ]
    assert get.notices == []


def test_damaged_or_mismatched_files_are_named(tmp_path, arrays, get):
    write_idx_files(tmp_path, arrays)

    def message_with(file, array):
        before = (tmp_path / file).read_bytes()
        if isinstance(array, bytes):
            (tmp_path / file).write_bytes(array)
        else:
            write_idx(tmp_path / file, array)
        message = message_of(get, "mnist", None, data_dir=tmp_path)
        (tmp_path / file).write_bytes(before)
        return message

    assert message_with(FILES[0], b"?").startswith(f"{str(tmp_path / FILES[0])!r} is not an IDX")
    assert message_with(FILES[0], arrays[0][1:]) == (
        f"{str(tmp_path)!r}: The labels have the wrong form. Received: uint8 (30,). "
        "Expected: uint8 (29,), one for each image."
    )
    assert message_with(FILES[3], arrays[3] + 100).startswith(
        f"{str(tmp_path)!r}: A label is not a class. Received: 1"
    )
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "link").replace(tmp_path / FILES[1])
    assert message_of(get, "mnist", None, data_dir=tmp_path).startswith(
        f"{str(tmp_path / FILES[1])!r} cannot be read. Received: No such file"
    )
    (tmp_path / FILES[1]).unlink()
    write_idx(tmp_path / FILES[1], arrays[1])
    write_idx(tmp_path / FILES[2], arrays[2][:0])
    assert message_with(FILES[3], arrays[3][:0]) == (
        f"{str(tmp_path)!r} has no examples. Received: 30 for training, 0 for testing. "
        "Expected: at least one of each."
    )


# From mirrors, through the cache


def test_published_files_are_downloaded_once_then_cached(
    tmp_path, mirrors, published, arrays, source_at, dead_url, get
):
    mirror = mirrors(published)
    for _ in range(2):
        found = get("mnist", source_at(dead_url, mirror.url))
        assert found.name == "mnist"
        assert sums_of(arrays_of(found)) == sums_of(arrays)
    assert mirror.requests == list(GZ_FILES)
    assert get.notices == []
    cached = {path.name: path.read_bytes() for path in (tmp_path / "cache" / "mnist").glob("[!.]*")}
    assert cached == published


def test_files_compressed_differently_are_accepted(
    tmp_path, mirrors, published, arrays, source_at, get
):
    mirror = mirrors(
        {name: gzip.compress(gzip.decompress(body), 1) for name, body in published.items()}
    )
    assert mirror.routes[GZ_FILES[0]] != [published[GZ_FILES[0]]]
    assert sums_of(arrays_of(get("mnist", source_at(mirror.url)))) == sums_of(arrays)


def test_a_compressed_file_with_a_published_sum_must_match_it(
    mirrors, published, arrays, source_at, get
):
    sums = tuple(hashlib.sha256(body).hexdigest() for body in published.values())
    mirror = mirrors(published)
    source = source_at(mirror.url)["mnist"]
    source = dataclasses.replace(source, name="kmnist", sha256=sums, sums_are_of="container")
    found = get("kmnist", {"kmnist": source})
    assert (found.name, sums_of(arrays_of(found))) == ("kmnist", sums_of(arrays))
    other = dataclasses.replace(source, name="fashion_mnist", sha256=("0" * 64, *sums[1:]))
    assert "not the published file" in message_of(get, "fashion_mnist", {"fashion_mnist": other})


def test_a_compressed_file_of_another_sum_is_not_unpacked(tmp_path, source_at, monkeypatch):
    monkeypatch.setattr(
        published_module, "read_idx", lambda *path, **check: pytest.fail("unpacked")
    )
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"other"))
    source = dataclasses.replace(source_at()["mnist"], sums_are_of="container")
    said = message_of(source.read, tmp_path / "other.gz", "train-images")
    assert "is not the published file. Received: sha256" in said


def test_more_images_than_are_published_are_not_unpacked(tmp_path, arrays, source_at):
    header = struct.pack(">HBB3I", 0, 8, 3, 60_001, 28, 28)
    (tmp_path / "many.gz").write_bytes(gzip.compress(header)[:-8] + os.urandom(60_000))
    source = source_at()["mnist"]
    assert message_of(source.read, tmp_path / "many.gz", "train-images") == (
        f"{str(tmp_path / 'many.gz')!r} is not the published file. Received: uint8 "
        "(60001, 28, 28). Expected: uint8 (60000, 28, 28) or fewer."
    )


def test_labels_that_do_not_fit_are_not_unpacked(tmp_path, arrays, get):
    write_idx_files(tmp_path / "own", arrays, GZ_FILES)
    header = struct.pack(">HBBI", 0, 8, 1, 50_000)
    (tmp_path / "own" / GZ_FILES[1]).write_bytes(gzip.compress(header)[:-8] + os.urandom(50))
    assert message_of(get, "mnist", None, data_dir=tmp_path / "own").startswith(
        f"{str(tmp_path / 'own')!r}: The labels have the wrong form. Received: uint8 (50000,)."
    )


def test_npz_arrays_that_do_not_fit_are_not_read(tmp_path, arrays, get):
    (tmp_path / "mnist.npz").write_bytes(npz_bytes([arrays[0], arrays[3], *arrays[2:]]))
    assert message_of(get, "mnist", None, data_dir=tmp_path) == (
        f"{str(tmp_path / 'mnist.npz')!r}: The labels have the wrong form. Received: uint8 (10,). "
        "Expected: uint8 (30,), one for each image."
    )


def test_an_unavailable_data_set_is_an_error_naming_each_mirror(
    tmp_path, mirrors, published, source_at, dead_url, get
):
    mirror = mirrors({**published, GZ_FILES[0]: b"<html>sign in</html>"})
    message = message_of(get, "mnist", source_at(dead_url, mirror.url, mirror.url + "x/"))
    assert message == (
        f"The data set mnist cannot be loaded. Received: {dead_url}{GZ_FILES[0]}: connection "
        f"refused; {mirror.url}{GZ_FILES[0]}: not the published file (20 bytes that start with "
        f"b'<html>sign in</h'); {mirror.url}x/{GZ_FILES[0]}: HTTP 404. Expected: a mirror that has "
        f"{GZ_FILES[0]}, or the data in --data_dir ($MNIST_KERAS_DATA_DIR)."
    )
    assert os.listdir(tmp_path / "cache") == ["mnist"]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "exchanged"])
def test_a_damaged_cached_file_is_reported_and_downloaded_again(
    tmp_path, mirrors, published, arrays, source_at, get, damage
):
    mirror = mirrors(published)
    get("mnist", source_at(mirror.url))
    path = tmp_path / "cache" / "mnist" / GZ_FILES[2]
    body = bytearray(published[path.name])
    body[len(body) // 2] ^= 1
    damaged = {
        "flipped": body,
        "truncated": body[:-100],
        "empty": b"",
        "exchanged": published[GZ_FILES[0]],
    }
    path.write_bytes(damaged[damage])
    assert sums_of(arrays_of(get("mnist", source_at(mirror.url)))) == sums_of(arrays)
    assert mirror.requests == [*GZ_FILES, GZ_FILES[2]]
    assert path.read_bytes() == published[path.name]
    [notice] = get.notices
    assert notice.startswith(f"A damaged file in the cache is downloaded again: {str(path)!r} is ")
    get("mnist", source_at())
    assert len(get.notices) == 1


def test_only_files_missing_in_the_cache_are_downloaded(
    tmp_path, mirrors, published, arrays, source_at, get
):
    mirror = mirrors({**published, GZ_FILES[3]: 404})
    message_of(get, "mnist", source_at(mirror.url))
    mirror.routes[GZ_FILES[3]] = [published[GZ_FILES[3]]]
    assert sums_of(arrays_of(get("mnist", source_at(mirror.url)))) == sums_of(arrays)
    assert mirror.requests == [*GZ_FILES, GZ_FILES[3]]


PROGRAM = """
import json, sys
from mnist_keras.data import resolve
from mnist_keras.data.formats.idx import sha256_idx
from mnist_keras.data.datasets.catalog import Source

cache_dir, source = sys.argv[1], json.loads(sys.argv[2])
print("begun", flush=True)
sys.stdin.readline()
found = resolve("mnist", cache_dir=cache_dir, sources={"mnist": Source(**source)})
for half in found[1:]:
    print(sha256_idx(half.images), sha256_idx(half.labels), flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that waits for a line and then loads the data set of a Source."""
    started = []

    def call(found_at):
        source = json.dumps(dataclasses.asdict(found_at["mnist"]))
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "cache"), source],
            env={**os.environ, "PYTHONPATH": str(Path(catalog.__file__).parents[3])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_two_processes_may_fill_the_cache_together(
    tmp_path, mirrors, published, arrays, source_at, start
):
    mirror = mirrors(published)
    processes = [start(source_at(mirror.url)) for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    expected = sums_of(arrays)
    assert [process.communicate(timeout=60)[0].split() for process in processes] == [expected] * 2
    assert mirror.requests == list(GZ_FILES)
    left = {path.name: path.read_bytes() for path in (tmp_path / "cache" / "mnist").glob("[!.]*")}
    assert left == published


def test_a_killed_download_leaves_a_working_cache(
    tmp_path, mirrors, published, arrays, source_at, start, get
):
    mirror, half_sent = mirrors(published), threading.Event()
    mirror.routes[GZ_FILES[2]] = [
        mirror.stall_after(published[GZ_FILES[2]], half_sent),
        published[GZ_FILES[2]],
    ]
    process = start(source_at(mirror.url))
    process.stdin.write("\n")
    process.stdin.flush()
    assert half_sent.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in (tmp_path / "cache" / "mnist").glob("[!.]*")) == sorted(
        GZ_FILES[:2]
    )
    assert sums_of(arrays_of(get("mnist", source_at(mirror.url)))) == sums_of(arrays)
    assert mirror.requests == [*GZ_FILES[:3], *GZ_FILES[2:]]
    assert get.notices == []


@pytest.mark.slow
def test_the_real_mnist_matches_its_published_sums(tmp_path, real_mnist, mirrors, get):
    mirror = mirrors({path.name: path.read_bytes() for path in real_mnist.glob("*.gz")})
    source = dataclasses.replace(SOURCES["mnist"], mirrors=(mirror.url,))
    _, train, test = get("mnist", {"mnist": source})
    assert (train.images.shape, test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    own = load("mnist", data_dir=real_mnist)
    assert sums_of(arrays_of(own)) == list(SOURCES["mnist"].sha256)
    mirror.routes[GZ_FILES[1]] = mirror.routes[GZ_FILES[3]]
    assert "not the published file" in message_of(
        get, "mnist", {"mnist": source}, cache_dir=tmp_path / "another"
    )


def test_every_published_data_set_has_encrypted_mirrors_and_four_sums():
    for name, source in SOURCES.items():
        assert source.name == name
        assert len(set(source.mirrors)) == len(source.mirrors) >= 1
        assert all(re.fullmatch(r"https://[^ ]+/", mirror) for mirror in source.mirrors)
        assert len(set(source.sha256)) == 4
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in source.sha256)


# auto and synthetic


def test_auto_is_mnist_if_available(mirrors, published, arrays, source_at, get):
    found = get("auto", source_at(mirrors(published).url))
    assert (found.name, sums_of(arrays_of(found))) == ("mnist", sums_of(arrays))
    assert get.notices == []


def test_auto_falls_back_to_synthetic_with_a_large_notice(few_synthetic, dead_url, source_at, get):
    found = get("auto", source_at(dead_url))
    assert found.name == "synthetic"
    assert [array.shape for array in arrays_of(found)] == [(20, 28, 28), (20,), (10, 28, 28), (10,)]
    [notice] = get.notices
    lines = notice.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) >= 8
    assert lines[0] == lines[-1] == "+" + "-" * (len(lines[0]) - 2) + "+"
    assert "THIS IS NOT MNIST: the built-in SYNTHETIC digits are used instead." in lines[1]
    text = " ".join(line.strip("| ") for line in lines[1:-1])
    assert f"The data set mnist cannot be loaded. Received: {dead_url}{GZ_FILES[0]}: conn" in text
    assert "--data_dir or MNIST_KERAS_DATA_DIR" in text


def test_the_notice_has_straight_edges_in_every_script(few_synthetic, source_at, get):
    get("auto", source_at("http://127.0.0.1:9/数字/"))
    assert len({cell_len(line) for line in get.notices[0].splitlines()}) == 1


def test_a_terminal_shows_how_many_digits_are_drawn(few_synthetic, get, monkeypatch):
    use_terminal(monkeypatch, columns=60, NO_COLOR="1")
    screen = Screen(60)
    monkeypatch.setattr(sys, "stderr", Terminal(screen))
    get("synthetic", None)
    shown = [re.sub("━+", "━━━", frame[0]) for frame in screen.frames if frame]
    assert shown == [f"synthetic digits  ━━━  {n}/{n}  0:00 left" for n in (20, 10)]
    assert screen.lines == []


def test_load_prints_notices_to_stderr(few_synthetic, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(catalog.SOURCES, "mnist", dataclasses.replace(SOURCES["mnist"], mirrors=()))
    train, test = load(cache_dir=tmp_path)
    assert (len(train), len(test)) == (20, 10)
    captured = capsys.readouterr()
    assert "THIS IS NOT MNIST" in captured.err
    assert captured.out == ""


@pytest.fixture
def drawn(few_synthetic, monkeypatch):
    """The seeds of all drawn synthetic digits."""
    from mnist_keras.data.datasets import synthetic

    seeds, real = [], synthetic.synthetic_digits

    def draw(count, *, seed, progress=None):
        seeds.append(seed)
        return real(count, seed=seed, progress=progress)

    monkeypatch.setattr(synthetic, "synthetic_digits", draw)
    return seeds


def test_synthetic_digits_are_drawn_once_then_cached(drawn, tmp_path, get):
    from mnist_keras.data.datasets import synthetic

    first = get("synthetic", None, data_dir=tmp_path / "ignored")
    again = get("synthetic", None)
    assert drawn == [0, 1]
    assert sums_of(arrays_of(again)) == sums_of(arrays_of(first))
    train, test = synthetic.synthetic_digits(20, seed=0), synthetic.synthetic_digits(10, seed=1)
    assert sums_of(arrays_of(first)) == sums_of([*train, *test])
    folder = tmp_path / "cache" / f"synthetic-v{synthetic.VERSION}"
    assert sorted(os.listdir(folder)) == sorted([*FILES, "sha256.json"])
    assert get.notices == []


@pytest.mark.slow
@pytest.mark.parametrize("file", [*FILES, "sha256.json"])
@pytest.mark.parametrize("damage", ["flipped", "empty", "missing"])
def test_damaged_synthetic_digits_are_drawn_again(drawn, tmp_path, get, file, damage):
    first = get("synthetic", None)
    [path] = tmp_path.glob(f"cache/*/{file}")
    body = bytearray(path.read_bytes())
    body[-10] ^= 1
    path.write_bytes(body if damage == "flipped" else b"")
    if damage == "missing":
        path.unlink()
    for _ in range(2):
        assert sums_of(arrays_of(get("synthetic", None))) == sums_of(arrays_of(first))
    assert drawn == [0, 1] * 2
    said = [notice.split(":")[0] for notice in get.notices]
    expected = (
        []
        if (file, damage) == ("sha256.json", "missing")
        else ["Damaged synthetic digits in the cache are drawn again"]
    )
    assert said == expected


def test_each_version_of_synthetic_digits_has_its_own_folder(drawn, get, monkeypatch):
    from mnist_keras.data.datasets import synthetic

    get("synthetic", None)
    monkeypatch.setattr(synthetic, "VERSION", "next")
    get("synthetic", None)
    assert drawn == [0, 1] * 2


def test_synthetic_digits_work_without_a_writable_cache(drawn, tmp_path, get):
    (tmp_path / "cache").touch()
    for _ in range(2):
        assert len(get("synthetic", None).train) == 20
    assert drawn == [0, 1] * 2
    assert get.notices == []


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError) as caught:
        load("emnist")
    assert str(caught.value) == (
        "The data set is unknown. Received: 'emnist'. "
        "Expected: one of auto, mnist, fashion_mnist, kmnist, synthetic."
    )


# The location of the cache


@pytest.fixture
def cached_under(few_synthetic, tmp_path):
    """Loads synthetic digits; returns the folder in which they were cached."""

    def call(**options):
        resolve("synthetic", **options)
        [path] = tmp_path.rglob("sha256.json")
        shutil.rmtree(path.parent)
        return path.parent.parent.relative_to(tmp_path).as_posix()

    return call


def test_the_cache_directory_can_be_set(cached_under, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    found = [cached_under()]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found.append(cached_under())
    monkeypatch.setenv("MNIST_KERAS_CACHE_DIR", str(tmp_path / "environment"))
    found.append(cached_under())
    found.append(cached_under(cache_dir=tmp_path / "argument"))
    found.append(cached_under(cache_dir="~/tilde"))
    assert found == [
        "home/.cache/mnist_keras",
        "xdg/mnist_keras",
        "environment",
        "argument",
        "home/tilde",
    ]


def test_without_a_writable_home_the_cache_is_temporary(cached_under, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cached_under() == f"mnist_keras-{os.getuid()}"
    assert (tmp_path / f"mnist_keras-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_cache_in_a_read_only_home_is_still_read(drawn, tmp_path, monkeypatch):
    resolve("synthetic")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    resolve("synthetic")
    assert drawn == [0, 1]


def test_synthetic_digits_work_without_any_writable_directory(few_synthetic, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert len(resolve("synthetic").train) == 20


# The package


def test_importing_the_data_package_loads_no_heavy_library():
    program = (
        "import sys, mnist_keras.data as data; data.load; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'keras', 'requests', 'urllib3', 'pooch', 'rich'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(catalog.__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("\n", "")


def test_the_examples_in_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halves = [(np.zeros((n, 28, 28), np.uint8), np.zeros(n, np.uint8)) for n in (60000, 10000)]
    write_idx_files(tmp_path / "digits", [array for half in halves for array in half])
    assert doctest.testmod(catalog, extraglobs={"np": np}).failed == 0


def test_a_large_file_is_mapped_and_gives_the_same_data(tmp_path, arrays, get, monkeypatch):
    write_idx_files(tmp_path, arrays)
    monkeypatch.setattr(directory, "_MAPPED_FROM_BYTES", arrays[0].nbytes)
    found = get("mnist", None, data_dir=tmp_path)
    kinds = [type(part) for part in arrays_of(found)]
    assert kinds[:2] == [np.memmap, np.ndarray]
    assert sums_of(arrays_of(found)) == sums_of(arrays)
