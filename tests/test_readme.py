import pathlib
import re

import numpy as np
import pytest

from mnist_keras.data import write_idx

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_first_two_commands_are_one_line_each():
    run, test = blocks("sh")[:2]
    assert run.count("\n") == test.count("\n") == 1
    assert "python main.py --flagfile=flags.txt" in run
    assert "pytest" in test


@pytest.mark.slow
def test_the_program_in_the_readme_runs_and_resumes(digits, tmp_path, monkeypatch, capsys):
    images, labels = digits
    for role, count in (("train", 1000), ("t10k", 100)):
        write_idx(tmp_path / f"{role}-images-idx3-ubyte", images[:count])
        write_idx(tmp_path / f"{role}-labels-idx1-ubyte", labels[:count].astype(np.uint8))
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    program = next(block for block in blocks("python") if 'load("mnist")' in block)
    exec(program, {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(" loss")[0] for line in printed] == ["0", "0 0", "1", "2"]
    exec(program.replace("epochs=3", "epochs=5"), {})
    assert capsys.readouterr().out.splitlines() == ["3", "4"]


@pytest.mark.slow
def test_the_ten_lines_run_and_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = next(block for block in blocks("python") if "TapeModel(network)" in block)
    assert program.count("\n") == 10
    exec(program, {})
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "loss" not in line] == ["0", "1", "2", "3", "4"]
    exec(program.replace("epochs=5", "epochs=7"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "loss" not in line] == ["5", "6"]


@pytest.mark.slow
def test_the_program_about_dashboards_shows_its_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    program = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0]
    exec(program, {})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert " shows " not in captured.err
    assert "Exam" not in captured.err
    assert list((tmp_path / "logs" / "own").glob("events*"))


def test_the_step_in_the_readme_matches_the_code():
    shown = next(block for block in blocks("python") if "def train_step" in block)
    source = (ROOT / "mnist_keras" / "model" / "tape_model.py").read_text(encoding="utf-8")
    lines = [line.strip() for line in source.splitlines()]
    missing = [line for line in map(str.strip, shown.splitlines()) if line not in lines]
    assert missing == ["..."]


def test_the_samples_in_the_dashboards_match_the_example():
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^class Samples.*?(?=^\S|\n\n)", page, re.DOTALL | re.MULTILINE)
    source = (ROOT / "examples" / "gan.py").read_text(encoding="utf-8")
    assert [line for line in shown.splitlines() if line not in source.splitlines()] == []


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_on_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_picture_is_on_a_page():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = (ROOT / "docs" / "images").iterdir()
    assert [picture.name for picture in pictures if picture.name not in shown] == []
