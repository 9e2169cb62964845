"""Writes the tables of docs/speed.md: ``python -m docs.make_speed_tables``.

They are made of what the benchmarks have left in benchmarks/results.
"""

import json
import pathlib
import re

from benchmarks import (
    callbacks,
    measuring,
    programs_table,
    scaling,
    speed,
    startup,
    thread_settings,
    time_to_99,
)

PAGE = pathlib.Path(__file__).parent / "speed.md"
IMAGES = 60_000
TABLES = {
    "speed": lambda report: speed.table(speed.summary(report["seconds"])),
    "programs_table": lambda report: programs_table.table(report["seconds"]),
    "thread_settings": lambda report: thread_settings.table(report["seconds"]),
    "callbacks": lambda report: callbacks.table(callbacks.summary(report["turns"])),
    "scaling": lambda report: scaling.table(report["turns"], count=IMAGES),
    "startup": lambda report: startup.table(report["programs"]),
    "time_to_99": lambda report: time_to_99.table(report["runs"]),
}


def filled(page, reports, tables=TABLES):
    """The page with each table between its marks.

    Args:
        page: Markdown, with ``<!-- NAME -->`` and ``<!-- end -->`` around each table.
        reports: {NAME: what the benchmark has written as JSON}.
        tables: {NAME: a function of the report that gives the table}.
    """
    for name, report in reports.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
        text = f"{tables[name](report)}\n\n{machine}.\n"
        page = marked.sub(lambda found, text=text: found[1] + text, page)
    return page


if __name__ == "__main__":
    reports = {
        name: json.loads((measuring.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in TABLES
    }
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), reports), encoding="utf-8")
