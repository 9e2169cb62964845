import doctest
import gzip

import numpy as np
import pytest

from mnist_keras.data import write_idx
from mnist_keras.data.formats import idx_rows
from mnist_keras.data.formats.idx_rows import IdxRows
from mnist_keras.errors import DataError

ARRAY = np.random.default_rng(0).integers(0, 255, (25, 3, 2), np.uint8)


def test_the_examples_in_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(idx_rows).failed == 0


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_any_slices_have_the_rows_of_the_array(name, tmp_path, monkeypatch):
    monkeypatch.setattr(idx_rows, "_ROWS_AT_ONCE", 3)
    write_idx(tmp_path / name, ARRAY)
    rows = IdxRows(tmp_path / name)
    assert (rows.shape, rows.dtype, len(rows)) == (ARRAY.shape, np.uint8, 25)
    for part in (slice(4), slice(4, 9), slice(17, 99), slice(2, 3), slice(30, 40), slice(None)):
        np.testing.assert_array_equal(rows[part], ARRAY[part])


@pytest.mark.parametrize("size", [40, 80, -1])
def test_a_damaged_file_is_refused_when_it_is_opened(size, tmp_path):
    write_idx(tmp_path / "a.gz", ARRAY)
    content = (tmp_path / "a.gz").read_bytes()
    (tmp_path / "a.gz").write_bytes(content[:size])
    with pytest.raises(DataError, match=r"is damaged|differs in length"):
        IdxRows(tmp_path / "a.gz")
    more = gzip.decompress(content) + b"."
    (tmp_path / "a.gz").write_bytes(gzip.compress(more))
    with pytest.raises(DataError, match="differs in length"):
        IdxRows(tmp_path / "a.gz")


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path):
    write_idx(tmp_path / "a.gz", ARRAY)
    rows = IdxRows(tmp_path / "a.gz")
    write_idx(tmp_path / "a.gz", ARRAY[:9])
    rows[:5]
    with pytest.raises(DataError, match="has changed while it was read"):
        rows[:9]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("Input/output error")])
def test_after_a_failure_the_file_is_read_anew(error, tmp_path, monkeypatch):
    write_idx(tmp_path / "a.gz", ARRAY)
    rows = IdxRows(tmp_path / "a.gz")
    rows[:5]
    fill = idx_rows.fill

    def fails_once(array, stream):
        monkeypatch.setattr(idx_rows, "fill", fill)
        stream.read(7)
        raise error

    monkeypatch.setattr(idx_rows, "fill", fails_once)
    with pytest.raises((KeyboardInterrupt, DataError)):
        rows[5:9]
    np.testing.assert_array_equal(rows[9:12], ARRAY[9:12])
