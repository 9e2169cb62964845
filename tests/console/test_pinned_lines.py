import io
import sys
import threading

import pytest

from mnist_keras.console.pinned_lines import PinnedLines
from tests.terminals import Screen, Terminal


@pytest.fixture
def begin(monkeypatch):
    """Send stdout and stderr to one screen; returns (the lines pinned to it, the screen)."""
    begun = []

    def begin():
        screen = Screen(40)
        # Only in the test: pytest sets both streams again when a test starts.
        monkeypatch.setattr(sys, "stdout", Terminal(screen))
        monkeypatch.setattr(sys, "stderr", Terminal(screen))
        begun.append(PinnedLines(sys.stderr))
        return begun[-1], screen

    yield begin
    for pinned in begun:
        pinned.close()


def test_lines_are_drawn_over_the_previous_ones(begin):
    pinned, screen = begin()
    print("before")
    pinned.show(["a longer line", "two"])
    assert screen.lines == ["before", "a longer line", "two"]
    pinned.show(["short", "2"])
    assert screen.lines == ["before", "short", "2"]
    pinned.show(["one"])
    assert screen.lines == ["before", "one"]


def test_printed_text_appears_above_them_at_once(begin):
    pinned, screen = begin()
    pinned.show(["one", "two"])
    print("0 0 loss:", 1.5)
    print("a notice", file=sys.stderr)
    sys.stdout.writelines(["a\n", "b\n"])
    assert screen.lines == ["0 0 loss: 1.5", "a notice", "a", "b", "one", "two"]


def test_an_unfinished_line_is_not_overwritten(begin):
    pinned, screen = begin()
    pinned.show(["one", "two"])
    print("Wait", end="")
    pinned.show(["1", "2"])
    assert screen.lines == ["Wait"]
    print("", end="")
    print("...", end="")
    print("a notice\n", file=sys.stderr, end="")
    assert screen.lines == ["Wait...a notice"]
    print(" done")
    assert screen.lines[-2:] == ["1", "2"]


def test_closing_removes_them_and_restores_the_streams(begin):
    pinned, screen = begin()
    streams = sys.stdout, sys.stderr
    pinned.show(["one", "two"])
    kept = sys.stdout
    assert (kept.encoding, kept.isatty()) == (streams[0].encoding, True)
    pinned.close()
    pinned.close()
    assert (sys.stdout, sys.stderr) == streams
    print("after")
    kept.write("still there\n")
    assert screen.lines == ["after", "still there"]


def test_a_stream_replaced_by_others_is_not_restored(begin, monkeypatch):
    pinned, _ = begin()
    pinned.show(["one"])
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    pinned.close()
    assert sys.stdout is theirs


@pytest.mark.parametrize("stdout", [io.StringIO(), None])
def test_an_stdout_that_is_not_a_terminal_is_left_alone(stdout, begin, monkeypatch):
    pinned, _ = begin()
    monkeypatch.setattr(sys, "stdout", stdout)
    pinned.show(["one"])
    assert sys.stdout is stdout


def test_the_cursor_stays_visible_where_a_shell_can_continue(begin):
    pinned, screen = begin()
    pinned.show(["one", "two"])
    assert "\x1b[?25" not in screen.received
    # As after kill -9: the next output overwrites only the pinned lines.
    screen.feed("$ \x1b[J")
    assert screen.lines == ["$"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("closed file")])
def test_a_closed_terminal_is_not_an_error(error, begin, monkeypatch):
    def write(text):
        raise error

    pinned, screen = begin()
    monkeypatch.setattr(sys.stderr, "write", write)
    pinned.show(["one"])
    print("on stdout")
    pinned.close()
    assert screen.lines == ["on stdout"]


def test_buffered_lines_are_flushed_before_a_redraw(begin, monkeypatch):
    class HeldBack(Terminal):
        held_back = ""

        def write(self, text):
            self.held_back += text
            return len(text)

        def flush(self):
            super().write(self.held_back)
            self.held_back = ""

    pinned, screen = begin()
    monkeypatch.setattr(sys, "stdout", HeldBack(screen))
    pinned.show(["one", "two"])
    print("0 0 loss:", 1.5)
    assert screen.lines == ["0 0 loss: 1.5", "one", "two"]


@pytest.mark.slow
def test_lines_of_several_threads_do_not_mix(begin):
    pinned, screen = begin()
    pinned.show(["one", "two"])

    def say(name):
        for number in range(50):
            sys.stderr.write(f"{name} {number}\n")

    threads = [threading.Thread(target=say, args=(name,)) for name in "ab"]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval_s)
    said = [line for line in screen.lines if line.startswith("a ")]
    assert said == [f"a {number}" for number in range(50)]
    assert (len(screen.lines), screen.lines[-2:]) == (102, ["one", "two"])
