import sys

import pytest

from benchmarks import program

TWO_LINES = "import time; print('begin'); time.sleep(0.01); print('0 0 loss: 1.5')"


def python(code):
    return [sys.executable, "-c", code]


def test_a_program_is_timed_to_its_end_and_matching_line():
    outcome = program.run(python(TWO_LINES), looks_for="0 0 loss")
    assert outcome.lines == ["begin", "0 0 loss: 1.5"]
    assert 0.01 < outcome.first_s < outcome.seconds


@pytest.mark.parametrize("looks_for", [None, "loss"])
def test_a_line_that_never_appears_has_no_time(looks_for):
    assert program.run(python(TWO_LINES), looks_for=looks_for).first_s is None


def test_the_peak_includes_memory_already_freed():
    # From a small process, since a child's peak includes that of its parent.
    measure = (
        "import sys; from benchmarks import program; print(program.run(sys.argv[1:]).peak_mib)"
    )
    little, much = (
        float(program.run([*python(measure), *python(f"bytearray({mib} * 2**20)")]).lines[0])
        for mib in (0, 300)
    )
    assert 280 < much - little < 320


def test_an_unexpected_status_is_an_error_with_the_last_line():
    with pytest.raises(RuntimeError, match=r"status 1: ValueError: no such thing$"):
        program.run(python("raise ValueError('no such thing')"))
    assert program.run(python("import sys; sys.exit(2)"), status=2).lines == []
