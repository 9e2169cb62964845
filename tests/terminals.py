"""Terminals for the tests of what is shown on one: in this process, and for a whole process."""

import codecs
import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import termios

import pyte

_ROWS = 160
FOREIGN = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "COLUMNS", "LINES")


class Screen:
    """What one would see, with all that has scrolled off it.

    Attributes:
        received: every character that came.
        frames: the lines at each moment at which somebody might have looked.
    """

    def __init__(self, columns):
        self.received = ""
        self.frames = []
        self._screen = pyte.Screen(columns, _ROWS)
        self._stream = pyte.Stream(self._screen)

    @property
    def lines(self):
        """The lines as they are now, without the empty ones at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().splitlines()

    def feed(self, text):
        """Show what a terminal was sent."""
        if not text:
            return
        self.received += text
        self._stream.feed(text)
        if self.frames[-1:] != [self.lines]:
            self.frames.append(self.lines)


class Terminal(io.StringIO):
    """A text stream to a screen; a second one may lead to the same screen."""

    def __init__(self, screen):
        super().__init__()
        self._screen = screen

    def isatty(self):
        return True

    def write(self, text):
        self._screen.feed(text.replace("\n", "\r\n"))
        return len(text)


def use_terminal(monkeypatch, *, columns, **variables):
    """Let the environment be that of a terminal as wide as that."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **variables}.items():
        monkeypatch.setenv(name, value)


def run_in_terminal(command, *, columns, cwd, stdout=None, told=lambda text, process: None, **env):
    """Run a process in a terminal of its own, as wide as that.

    Args:
        command: the process's arguments.
        columns: the terminal's width.
        cwd: where it runs.
        stdout: an open file instead of the terminal.
        told: called with all that came so far and the process, whenever something comes.
        env: the environment.

    Returns:
        (exit status, the `Screen`).
    """
    screen, decoder = Screen(columns), codecs.getincrementaldecoder("utf-8")()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    streams = {"stdin": slave, "stdout": stdout or slave, "stderr": slave}
    with subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True, **streams) as process:
        os.close(slave)
        with contextlib.suppress(OSError):  # Linux says EIO when the last process has hung up.
            while data := os.read(master, 1 << 16):
                screen.feed(decoder.decode(data))
                told(screen.received, process)
        os.close(master)
    return process.returncode, screen
