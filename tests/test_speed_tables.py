import json

from benchmarks import measuring
from docs import make_speed_tables


def test_the_page_shows_the_measured_figures():
    reports = {
        name: json.loads((measuring.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in make_speed_tables.TABLES
    }
    page = make_speed_tables.PAGE.read_text(encoding="utf-8")
    assert page == make_speed_tables.filled(page, reports)
    for name in make_speed_tables.TABLES:
        assert f"<!-- {name} -->\n|" in page
