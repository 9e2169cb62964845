from docs import make_resume_table
from docs.make_speed_tables import filled


def test_the_page_shows_the_measured_resumes():
    page = make_resume_table.PAGE.read_text(encoding="utf-8")
    assert page == filled(page, make_resume_table.reports(), make_resume_table.TABLES)
    assert "<!-- resuming -->\n|" in page
