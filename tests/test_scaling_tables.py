from docs import make_scaling_tables
from docs.make_speed_tables import filled


def test_the_page_shows_the_measured_figures():
    page = make_scaling_tables.PAGE.read_text(encoding="utf-8")
    assert page == filled(page, make_scaling_tables.reports(), make_scaling_tables.TABLES)
    for name in make_scaling_tables.TABLES:
        assert f"<!-- {name} -->\n|" in page
