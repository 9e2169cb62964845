"""Lines that stay at the bottom of a terminal, below all other output."""

import contextlib
import sys
import threading

from mnist_keras.console.terminal import is_terminal

_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"


class PinnedLines:
    """Draws and redraws lines on a terminal, starting at the cursor.

    Other output of the program on stdout and stderr appears above the lines, byte for byte. The
    cursor stays at the start of the lines and is not hidden, so a killed process leaves a usable
    terminal. A closed terminal is not an error.

    Args:
        terminal: the terminal's text stream.
    """

    def __init__(self, terminal):
        self._terminal = terminal
        self._lock = threading.RLock()
        self._lines = []
        self._is_drawn = False
        self._unfinished = set()
        self._replaced = {}

    def show(self, lines):
        """Draw these lines; each must be shorter than the terminal's width."""
        with self._lock:
            if not self._replaced:
                self._replace_streams()
            self._lines = lines
            self._draw()

    def close(self):
        """Erase the lines and restore stdout and stderr."""
        with self._lock:
            self._erase()
            self._lines = []
            for name, (stream, substitute) in self._replaced.items():
                if getattr(sys, name) is substitute:
                    setattr(sys, name, stream)
            self._replaced = {}

    def write(self, stream, text):
        """Write text to a stream, above the lines."""
        with self._lock:
            self._erase()
            if text:
                change = self._unfinished.discard if text.endswith("\n") else self._unfinished.add
                change(stream)
            with contextlib.suppress(OSError):  # Hung up.
                stream.write(text)
                if not self._unfinished:
                    stream.flush()
                    self._draw()
            return len(text)

    def _replace_streams(self):
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if is_terminal(stream):
                substitute = _Above(self, stream)
                self._replaced[name] = stream, substitute
                setattr(sys, name, substitute)

    def _draw(self):
        if not self._lines or self._unfinished:
            return
        back = f"\x1b[{len(self._lines) - 1}A" if len(self._lines) > 1 else ""
        self._send("\r" + f"{_ERASE_LINE}\n".join(self._lines) + f"{_ERASE_BELOW}{back}\r")
        self._is_drawn = True

    def _erase(self):
        if self._is_drawn:
            self._send(f"\r{_ERASE_BELOW}")
            self._is_drawn = False

    def _send(self, text):
        with contextlib.suppress(OSError, ValueError):  # Hung up, or closed.
            self._terminal.write(text)
            self._terminal.flush()


class _Above:
    """Replaces a stream to the terminal while lines are pinned."""

    def __init__(self, pinned, stream):
        self._pinned = pinned
        self._stream = stream

    def write(self, text):
        return self._pinned.write(self._stream, text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        with contextlib.suppress(OSError):  # Hung up.
            self._stream.flush()

    def __getattr__(self, name):
        return getattr(self._stream, name)
