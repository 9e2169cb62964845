"""Terminals for tests of terminal output: in this process, and for another process."""

import codecs
import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pyte

from tests import forks

_ROWS = 160
FOREIGN = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "COLUMNS", "LINES")


class Screen:
    """The visible lines and those that have scrolled off.

    Attributes:
        received: all received characters.
        frames: the lines after each chunk of output.
    """

    def __init__(self, columns):
        self.received = ""
        self.frames = []
        self._screen = pyte.Screen(columns, _ROWS)
        self._stream = pyte.Stream(self._screen)

    @property
    def lines(self):
        """The current lines, without empty ones at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().splitlines()

    def feed(self, text):
        """Show text sent to the terminal."""
        if not text:
            return
        self.received += text
        self._stream.feed(text)
        if self.frames[-1:] != [self.lines]:
            self.frames.append(self.lines)


class Terminal(io.StringIO):
    """A text stream to a screen; several streams may share one screen."""

    def __init__(self, screen):
        super().__init__()
        self._screen = screen

    def isatty(self):
        return True

    def write(self, text):
        self._screen.feed(text.replace("\n", "\r\n"))
        return len(text)


def use_terminal(monkeypatch, *, columns, **variables):
    """Set the environment of a terminal of a given width."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **variables}.items():
        monkeypatch.setenv(name, value)


def run_in_terminal(command, *, columns, cwd, stdout=None, told=lambda text, process: None, **env):
    """Run a process in its own terminal of a given width.

    Args:
        command: the process's arguments.
        columns: the terminal's width.
        cwd: its working directory.
        stdout: an open file to use instead of the terminal.
        told: called with all output so far and the process, after each chunk of output.
        env: the environment.

    Returns:
        (exit status, the `Screen`).
    """
    screen, decoder = Screen(columns), codecs.getincrementaldecoder("utf-8")()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    streams = {"stdin": slave, "stdout": stdout or slave, "stderr": slave}
    popen = forks.Popen if command[0] == sys.executable else subprocess.Popen
    with popen(command, cwd=cwd, env=env, start_new_session=True, **streams) as process:
        os.close(slave)
        with contextlib.suppress(OSError):  # EIO on Linux, when the last process has closed it.
            while data := os.read(master, 1 << 16):
                screen.feed(decoder.decode(data))
                told(screen.received, process)
        os.close(master)
    return process.returncode, screen
