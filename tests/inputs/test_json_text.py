import doctest

import pytest

from mnist_keras.inputs import json_text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1" * 400, "an integer of 400 digits"),
        ("-" + "1" * 9000, "an integer of 9001 digits"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (b"\xff", "codec can't decode"),
        ("", "Expecting value"),
    ],
    ids=["400 digits", "9000 digits", "lists", "objects", "bytes", "empty"],
)
def test_unusable_json_is_a_value_error(text, reason):
    with pytest.raises(ValueError, match=reason):
        json_text.parse(text)


def test_usual_json_is_parsed_as_by_the_standard_library():
    text = f'{{"a": [1, -2.5, true, null, "x"], "b": {2**128}, "c": NaN}}'
    parsed = json_text.parse(text)
    assert str(parsed) == str({"a": [1, -2.5, True, None, "x"], "b": 2**128, "c": float("nan")})


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(json_text).failed == 0
