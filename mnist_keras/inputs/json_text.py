"""Parses JSON that another program or a user may have written."""

import json
import math
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value of a JSON text whose numbers a float can hold.

    Args:
        text: the text, or its bytes in UTF-8.

    Raises:
        ValueError: the text is not JSON, is nested too deep, or has an integer that is too large
            for a float. ``json.loads`` raises a RecursionError for the second, and a later
            conversion an OverflowError for the third.

    Example:

    >>> parse('{"epochs": 3}')
    {'epochs': 3}
    >>> parse("1" * 400)
    Traceback (most recent call last):
    ValueError: an integer of 400 digits
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _integer(digits):
    if math.isinf(float(digits)):
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)
