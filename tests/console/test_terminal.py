import doctest
import errno
import io
import os
import shutil
import sys
from typing import ClassVar

import pytest

from mnist_keras.console import terminal


def test_a_notice_is_a_line_on_stderr(capsys):
    terminal.notice("run 数字 is finished")
    assert capsys.readouterr() == ("", "run 数字 is finished\n")


def test_a_notice_is_written_in_one_call(monkeypatch):
    class Pipe(io.RawIOBase):
        pieces: ClassVar = []

        def writable(self):
            return True

        def write(self, data):
            self.pieces.append(bytes(data))
            return len(data)

    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(Pipe(), write_through=True))
    terminal.notice("a line")
    assert [piece for piece in Pipe.pieces if piece] == [b"a line\n"]


class Broken(io.RawIOBase):
    """A file whose disk or terminal refuses every write."""

    def __init__(self, number, error):
        self._number, self._error = number, error

    def writable(self):
        return True

    def fileno(self):
        return self._number

    def write(self, data):
        raise OSError(self._error, os.strerror(self._error))


@pytest.fixture
def broken(monkeypatch):
    """Make stdout and stderr refuse every write; ``path`` is the device that they seem to be."""

    def make(path, error):
        number = os.open(path, os.O_WRONLY)
        numbers.append(number)
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BufferedWriter(Broken(number, error)))
            monkeypatch.setattr(sys, name, stream)

    numbers = []
    yield make
    for number in numbers:
        os.close(number)


def test_a_stdout_that_cannot_be_written_is_an_error(broken):
    broken("/dev/full", errno.ENOSPC)
    with pytest.raises(terminal.OutputError) as caught:
        terminal.print_line("0 100 loss:", 0.5)
    assert str(caught.value) == (
        "the output cannot be written. Received: No space left on device. "
        "Expected: a stdout that can be written."
    )


def test_a_terminal_that_has_hung_up_is_not_an_error(broken):
    broken(os.devnull, errno.EIO)
    terminal.print_line("0 100 loss:", 0.5)
    terminal.notice("resumed")


def test_lines_without_control_characters_reach_any_stream(monkeypatch):
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.BytesIO()
        text_stream = io.TextIOWrapper(streams[name], encoding="latin-1", errors="strict")
        monkeypatch.setattr(sys, name, text_stream)
    terminal.print_line("a\x1b[2Jé", "数\n", 7)
    terminal.print_pieces(piece for piece in ("[\udcff", "é]"))
    terminal.notice("a\x1b[2Jé\n数\r")
    printed = {name: stream.getvalue().decode("latin-1") for name, stream in streams.items()}
    assert printed == {
        "stdout": "a\\x1b[2Jé \\u6570\\n 7\n[\\udcffé]\n",
        "stderr": "a\\x1b[2Jé\n\\u6570\\r\n",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.99, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00")],
)
def test_a_duration_shows_minutes_and_hours_only_if_needed(seconds, text):
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_an_unknown_duration_is_a_dash(seconds):
    assert terminal.duration(seconds) == "-"


@pytest.mark.parametrize(
    ("text", "printed"),
    [("数字 é", "数字 é"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("\udcff数", "\\udcff数")],
)
def test_control_characters_are_escaped(text, printed):
    assert terminal.printable(text) == printed


@pytest.mark.parametrize(
    ("typed", "words", "told"),
    [
        (["python3", "main.py"], ["--run_name=a"], "python3 main.py --run_name=a"),
        ([".venv/bin/python", "../main.py"], [], ".venv/bin/python ../main.py"),
        (["/my venv/python", "main.py"], ["--a=b c"], "'/my venv/python' main.py '--a=b c'"),
        (["python", "/usr/bin/pytest"], ["-x"], "python main.py -x"),
    ],
)
def test_a_suggested_command_starts_like_the_typed_one(typed, words, told, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", [typed[0], "-u", *typed[1:]])
    monkeypatch.setattr(sys, "argv", typed[1:])
    assert terminal.command(*words) == told


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("/bin/tensorboard", "tensorboard '--logdir=my logs'"),
        (None, ".venv/bin/python -m tensorboard.main '--logdir=my logs'"),
    ],
)
def test_tensorboard_is_started_as_a_module_if_not_on_path(where, told, monkeypatch):
    monkeypatch.setattr(shutil, "which", {"tensorboard": where}.get)
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "main.py"])
    assert terminal.tensorboard_command("my logs") == told


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(terminal).failed == 0
