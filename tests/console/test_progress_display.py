import doctest
import io
import os
import pty
import re
import sys

import pytest

from mnist_keras.console import progress_display
from mnist_keras.console.progress_display import Part, ProgressDisplay, fitted, task_progress
from tests.terminals import Screen, Terminal, use_terminal


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


PARTS = [
    Part("数字", 0),
    Part("", 1, fraction=0.5),
    Part("3/4 steps", 2),
    Part("0:35 left", 3, "cyan"),
]


@pytest.fixture
def show(monkeypatch):
    """show(lines, columns=80, **environment): the `Screen` after showing the lines."""

    def show(lines, *, columns=80, **variables):
        use_terminal(monkeypatch, columns=columns, **variables)
        screen = Screen(columns)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal(screen))
            display = ProgressDisplay()
            display.show(lines)
            display.close()
        return screen

    return show


def test_a_hung_up_terminal_is_not_an_error(monkeypatch):
    use_terminal(monkeypatch, columns=80)
    terminal, here = pty.openpty()
    stream = open(here, "w", encoding="utf-8")  # noqa: SIM115
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setattr(sys, "stdout", stream)
        display = ProgressDisplay()
        display.show([PARTS])
        os.close(terminal)
        for _ in range(2):
            display.show([PARTS])
            print("0 0 loss: 1.5", flush=True)
        display.close([PARTS])
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (200, f"数字  {30 * '━'}{30 * ' '}  3/4 steps  0:35 left"),
        (80, f"数字  {25 * '━'}╸{25 * ' '}  3/4 steps  0:35 left"),
        (35, "数字  ━━━     3/4 steps  0:35 left"),
        (34, "数字 ━━━━     3/4 steps 0:35 left"),
        (32, "数字 ━━━    3/4 steps 0:35 left"),
        (31, "数字  ━━━━━━╸        3/4 steps"),
        (22, "数字 ━━━    3/4 steps"),
        (21, "数字  ━━━━━━━"),
        (11, "数字"),
        (5, "数字"),
        (4, "数"),
    ],
)
def test_a_narrow_window_shows_less_and_wraps_nothing(columns, line, show):
    frame = show([PARTS, [Part("1", 0)]], columns=columns, NO_COLOR="1").frames[0]
    assert frame == [line, "1"]


def test_a_bar_has_colour_unless_no_color_is_set(show):
    colours = r"\x1b\[[\d;]+m"
    assert re.search(colours, show([PARTS]).received)
    assert not re.search(colours, show([PARTS], NO_COLOR="1").received)


def test_a_dumb_terminal_is_treated_as_a_file(show):
    screen = show([PARTS, [Part("loss 0.5", 0)]], TERM="dumb")
    assert screen.received == "数字  3/4 steps  0:35 left  loss 0.5\r\n"


def test_a_terminal_is_drawn_immediately_then_four_times_a_second(monkeypatch):
    use_terminal(monkeypatch, columns=80)
    monkeypatch.setattr(sys, "stderr", Terminal(Screen(80)))
    clock, due = Clock(), []
    display = ProgressDisplay(clock=clock)
    for _ in range(16):
        due.append(display.is_due)
        if due[-1]:
            display.show([PARTS])
        clock.now += 1 / 16
    display.close()
    assert due == [True, False, False, False] * 4


@pytest.mark.parametrize("force_color", [None, "1"])
def test_other_outputs_get_a_line_every_30_seconds_and_finally(force_color, monkeypatch):
    use_terminal(monkeypatch, columns=10, **({"FORCE_COLOR": force_color} if force_color else {}))
    stderr, clock = io.StringIO(), Clock()
    monkeypatch.setattr(sys, "stderr", stderr)
    display = ProgressDisplay(clock=clock)
    for second in range(100):
        if display.is_due:
            display.show([[Part(f"second {second}", 0), PARTS[1]], [Part("loss 0.5", 0)]])
        clock.now += 1
    display.close([[Part("took 1:40", 0)]])
    lines = [f"second {second}  loss 0.5" for second in (30, 60, 90)]
    assert stderr.getvalue().splitlines() == [*lines, "took 1:40"]


def test_the_final_line_fits_the_terminal(monkeypatch):
    use_terminal(monkeypatch, columns=24)
    screen = Screen(24)
    monkeypatch.setattr(sys, "stderr", Terminal(screen))
    display = ProgressDisplay()
    display.show([PARTS])
    display.close([PARTS, [Part("loss 0.5", 1)]])
    assert screen.lines == ["数字 3/4 steps loss 0.5"]


def test_failing_to_print_a_plain_line_is_not_an_error(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Gone())
    ProgressDisplay().close([PARTS])


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_without_any_stderr_nothing_is_shown_and_nothing_fails(stderr, monkeypatch):
    if stderr is not None:
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    with task_progress("digits", 2) as show:
        show(1)


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        (4000, ["ba\\nr  ━━━━━━  1,000/4,000 MB  0:30 left"]),
        (None, ["ba\\nr  1,000 MB"]),
    ],
)
def test_a_task_shows_its_progress_and_then_disappears(total, shown, monkeypatch):
    use_terminal(monkeypatch, columns=80, NO_COLOR="1")
    screen, clock = Screen(80), Clock()
    monkeypatch.setattr(sys, "stderr", Terminal(screen))
    with task_progress("ba\nr", total, unit=" MB", clock=clock) as show:
        show(0)
        clock.now += 10
        show(1000)
        assert [re.sub("[━╸]+ *", "━━━━━━  ", line) for line in screen.lines] == shown
        show(1001)
        assert "1,001" not in screen.received
    assert screen.lines == []


def test_parts_are_kept_by_rank_and_shown_in_order():
    parts = [Part("third", 2), Part("first", 0), Part("second", 1)]
    shown = {n: " ".join(part.text for part in fitted(parts, n)[0]) for n in (18, 17, 12, 11)}
    assert shown == {18: "third first second", 17: "first second", 12: "first second", 11: "first"}


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(progress_display).failed == 0
