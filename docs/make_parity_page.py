"""Writes docs/parity.md out of the rows of tests/parity: ``python -m docs.make_parity_page``."""

import itertools
import pathlib

from tests.parity.table import ROWS

PAGE = pathlib.Path(__file__).parent / "parity.md"
HEAD = """# TapeModel compared with keras.Model

`TapeModel` accepts what `keras.Model` accepts, and gives the same results. {count} small programs
compare the two. Each program runs with both classes from the same seed. The comparison covers
`History`, all variables of the model and of the optimizer, and the results of `evaluate` and
`predict`; the tolerance is 1e-6 of the largest number. All {count} programs agree except {wrong},
in which Keras is wrong. `tests/test_parity.py` runs them. `python -m docs.make_parity_page` writes
this page from the same table.
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
