"""Writes the tables of docs/scaling.md: ``python -m docs.make_scaling_tables``.

They are made of what the benchmarks have left in benchmarks/results.
"""

import json
import pathlib

from benchmarks import batch_size, measuring, workers
from docs.make_speed_tables import filled

PAGE = pathlib.Path(__file__).parent / "scaling.md"
TABLES = {
    "cost": workers.cost_table,
    "reach": workers.reach_table,
    "batch size": batch_size.table,
}
FILES = {"cost": "workers", "reach": "workers", "batch size": "batch_size"}


def reports():
    """{name of a table: what its benchmark has written}."""
    return {
        name: json.loads((measuring.RESULTS / f"{file}.json").read_text(encoding="utf-8"))
        for name, file in FILES.items()
    }


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, reports(), TABLES), encoding="utf-8")
