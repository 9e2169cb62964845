"""What the texts among the settings have to look like."""

import re
import unicodedata

from mnist_keras.app.setting import Form

# Control characters, bytes that are not UTF-8, ends of lines.
_NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}


def _is_line(text: str) -> bool:
    """Whether a flag file can hold the text: it is UTF-8, and absl strips each line."""
    is_clean = _NOT_IN_A_LINE.isdisjoint(map(unicodedata.category, text))
    return is_clean and text.strip() == text != ""


def _is_directory_name(text: str) -> bool:
    return _is_line(text) and text not in (".", "..") and "/" not in text


def _is_png(text: str) -> bool:
    return text.lower().endswith(".png")


def _is_step_range(text: str) -> bool:
    match = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text)
    return match is not None and int(match[1]) <= int(match[2])


DIRECTORY = Form(_is_line, "the path of a directory", is_path=True)
DIRECTORY_NAME = Form(_is_directory_name, "the name of one directory, without a slash")
PNG_FILE = Form(_is_png, "the path of a .png file", is_path=True)
STEP_RANGE = Form(_is_step_range, "FIRST-LAST, two integers with FIRST <= LAST")
