"""Writes the table of docs/export.md: ``python -m docs.make_export_table logs/RUN ...``.

Each run has to be exported before, by ``--mode=export``.
"""

import argparse
import json
import pathlib
import re

PAGE = pathlib.Path(__file__).parent / "export.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end of table -->)", re.DOTALL)


def table(exports):
    """The table of some exports, Markdown.

    Args:
        exports: {name of the run: what its export.json holds}.
    """
    lines = [
        "| run | format | MB | largest difference | accuracy | ms an image |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run, export in exports.items():
        for row in export["formats"]:
            difference = row.get("largest_difference")
            lines.append(
                f"| {run} | {row['format']} | {row['bytes'] / 1e6:.2f} "
                f"| {'–' if difference is None else f'{difference:.1e}'} "
                f"| {row['accuracy']:.4f} | {row['one_image_s'] * 1e3:.3f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    exports = {
        run.name: json.loads((run / "export" / "export.json").read_text())
        for run in parser.parse_args().runs
    }
    text = _TABLE.sub(lambda _: table(exports), PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
