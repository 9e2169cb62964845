"""Writes docs/parity.md out of the rows of tests/parity: ``python -m docs.make_parity_page``."""

import itertools
import pathlib

from tests.parity.table import ROWS

PAGE = pathlib.Path(__file__).parent / "parity.md"
HEAD = """# TapeModel beside keras.Model

What `keras.Model` takes `TapeModel` takes, and comes to the same: {count} small programs, run with
either class from the same seed, compared number by number (History, all variables of the model and
of the optimizer, what evaluate and predict give) to 1e-6 of the largest. All {count} are equal but
{wrong}, where Keras is wrong. `tests/test_parity.py` runs them; this page is written by
`python -m docs.make_parity_page` out of the same table.
"""


def page():
    """The page, Markdown."""
    wrong = [name for name, row in ROWS.items() if row.keras_is_wrong]
    lines = [HEAD.format(count=len(ROWS), wrong=len(wrong))]
    by_group = sorted(ROWS, key=lambda name: ROWS[name].group)
    for group, names in itertools.groupby(by_group, key=lambda name: ROWS[name].group):
        names = list(names)
        lines.append(f"## {group}\n\n{len(names)} programs: {'; '.join(names)}.\n")
    lines.append("## Where Keras is wrong\n")
    lines += [f"- {name}: {ROWS[name].keras_is_wrong}." for name in wrong]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
