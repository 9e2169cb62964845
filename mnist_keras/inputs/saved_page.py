"""Recognizes what a failed download leaves under the name of the file."""

_MOST_SHOWN = 60  # Characters of its first line.
HEAD_BYTES = 256
_KINDS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML page",
    b"version https://git-lfs": "a pointer of Git LFS",
}


def describe_page(head: bytes) -> tuple[str, str] | None:
    """What kind of page a file is, and the beginning of its first line.

    Args:
        head: its first bytes, about `HEAD_BYTES`.

    Returns:
        (kind, text); None: it is not one of the kinds.

    Example:

    >>> describe_page(b"<!DOCTYPE html><title>Sign in</title>")
    ('an HTML page', '<!DOCTYPE html><title>Sign in</title>')
    >>> describe_page(bytes([0, 0, 8, 3]))
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = text.lower()
    kind = next((kind for start, kind in _KINDS.items() if lower.startswith(start)), None)
    if kind is None:
        return None
    line = text.splitlines()[0].decode("utf-8", "replace")
    return kind, line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"
