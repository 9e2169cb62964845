import doctest

from mnist_keras.checkpoint import earlier


def test_a_new_directory_has_the_next_number(tmp_path):
    assert earlier.new_directory(tmp_path) == tmp_path / "earlier-1"
    for name in ("earlier-2", "earlier-12", "earlier-x", "train"):
        (tmp_path / name).mkdir()
    (tmp_path / "earlier-20").touch()
    assert earlier.new_directory(tmp_path) == tmp_path / "earlier-13"


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(earlier).failed == 0
