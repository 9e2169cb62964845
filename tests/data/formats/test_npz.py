import doctest
import io
import os
import tracemalloc
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mnist_keras.data.formats import npz
from mnist_keras.data.formats.npz import read_npz
from mnist_keras.errors import DataError
from tests.data.files import message_of, npz_bytes

IMAGES, LABELS = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)


class Unpickled:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def member(header, payload=b"", compression=zipfile.ZIP_DEFLATED):
    """An .npz whose first array has this header."""
    text = header.encode().ljust(117) + b"\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        npy = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + payload
        archive.writestr("x_train.npy", npy)
    return stream.getvalue()


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "cannot be read. Received: File is not a zip file."),
        (b"PK not a zip", "cannot be read. Received: File is not a zip file."),
        (npz_bytes([LABELS] * 4)[:-9], "cannot be read. Received: "),
        (member(HEADER % "(1099511627776,)"), "promises the shape (1099511627776,)"),
        (member(HEADER % "(-1, 28, 28)"), "promises the shape (-1, 28, 28)"),
        (member(HEADER % "(3,)", b"12"), "differs in length from its shape (3,)"),
        (member(HEADER % "(3,)", b"1234"), "differs in length from its shape (3,)"),
        (
            member(HEADER % "(1,)", b"1", zipfile.ZIP_BZIP2),
            "has a compression that",
        ),
        (member("{'descr': '|u1'"), "x_train.npy has a damaged header"),
        (member("__import__('os').mkdir('evaluated')"), "x_train.npy has a damaged header"),
        (npz_bytes([IMAGES.astype(float), LABELS, IMAGES, LABELS]), "holds float64"),
        (npz_bytes([np.array([Unpickled()]), LABELS, IMAGES, LABELS]), "holds object"),
        (member("(" * 5000), "x_train.npy has a damaged header"),
        (member("").replace(b"NUMPY\x01", b"NUMPY\x02"), "cannot be read. Received: "),
        (member(HEADER % "(1,)", b"1"), "is incomplete. Received: There is no item named 'y_tr"),
    ],
)
def test_a_damaged_or_malicious_npz_is_named_and_never_executed(
    tmp_path, monkeypatch, content, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist.npz").write_bytes(content)
    message = message_of(read_npz, tmp_path / "mnist.npz")
    assert message.startswith(f"{str(tmp_path / 'mnist.npz')!r} ")
    assert problem in message
    assert os.listdir(tmp_path) == ["mnist.npz"]


def test_an_npz_larger_than_its_promised_size_is_refused(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(member(HEADER % "(3,)", bytes(64 << 20)))
    tracemalloc.start()
    message = message_of(read_npz, tmp_path / "mnist.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "differs in length from its shape (3,)" in message
    assert peak < 4 << 20


def test_reading_takes_little_more_memory_than_the_arrays(tmp_path):
    content = npz_bytes([np.zeros((1 << 22,), np.uint8)] * 4)
    (tmp_path / "mnist.npz").write_bytes(content)
    tracemalloc.start()
    arrays = read_npz(tmp_path / "mnist.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [array.nbytes for array in arrays] == [1 << 22] * 4
    assert peak < 1.2 * (1 << 24)


def test_all_headers_are_checked_before_any_value(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    content = bytearray(npz_bytes([noise, LABELS, IMAGES, LABELS]))
    content[20_000:20_009] = bytes(9)
    (tmp_path / "mnist.npz").write_bytes(content)
    seen = []

    def check(key, dtype, shape):
        seen.append((key, shape))
        if key == "y_test":
            raise DataError("unwanted")

    with pytest.raises(DataError, match="unwanted"):
        read_npz(tmp_path / "mnist.npz", check=check)
    assert [key for key, _ in seen] == [*npz.KEYS]


def test_a_pipe_is_not_read_as_an_npz(tmp_path):
    os.mkfifo(tmp_path / "mnist.npz")
    message = message_of(read_npz, tmp_path / "mnist.npz")
    assert "cannot be read. Received: a named pipe. Expected: an .npz" in message


@pytest.mark.slow
@hypothesis.settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(data=strategies.data())
def test_a_mutated_npz_is_read_or_raises_a_data_error(tmp_path, data):
    content = bytearray(npz_bytes([IMAGES, LABELS, IMAGES, LABELS]))
    for _ in range(data.draw(strategies.integers(1, 4))):
        at = data.draw(strategies.integers(0, len(content) - 1))
        content[at : at + data.draw(strategies.integers(0, 2))] = data.draw(
            strategies.binary(max_size=3)
        )
    (tmp_path / "mnist.npz").write_bytes(content)
    message = ""
    try:
        read_npz(tmp_path / "mnist.npz")
    except DataError as error:
        message = str(error)
    assert not message or (str(tmp_path) in message and "\n" not in message)


def test_the_examples_in_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(npz).failed == 0
