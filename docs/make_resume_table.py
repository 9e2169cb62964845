"""Writes the table of docs/resume.md: ``python -m docs.make_resume_table``.

It is made of what the benchmark has left in benchmarks/results.
"""

import json
import pathlib

from benchmarks import measuring, resuming
from docs.make_speed_tables import filled

PAGE = pathlib.Path(__file__).parent / "resume.md"
TABLES = {"resuming": lambda report: resuming.table(report["results"])}


def reports():
    """{name of the table: what its benchmark has written}."""
    path = measuring.RESULTS / "resuming.json"
    return {"resuming": json.loads(path.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, reports(), TABLES), encoding="utf-8")
