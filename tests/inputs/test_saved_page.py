import doctest

from mnist_keras.inputs import saved_page
from mnist_keras.inputs.saved_page import describe_page


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(saved_page).failed == 0


def test_pages_are_recognized_after_marks_and_in_any_case():
    assert describe_page(b"\xef\xbb\xbf \n<HTML>\xff") == ("an HTML page", "<HTML>\ufffd")
    assert describe_page(b"<html " + b"x" * 200) == ("an HTML page", f"<html {'x' * 54}…")
    assert [describe_page(head) for head in (b"", b"PK\x03\x04", b"<3")] == [None] * 3
