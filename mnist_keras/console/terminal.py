"""All that is printed: results on stdout, messages on stderr, and the commands in them.

What is printed may contain names of files, flags or texts of other programs. So every line goes
through `printable`: no text controls the terminal, and none stops the program because stdout
cannot encode it.
"""

import contextlib
import errno
import math
import os
import shlex
import shutil
import stat
import sys
import weakref
from typing import Any, Protocol

from mnist_keras.errors import MnistKerasError

_speaker = ""


class OutputError(MnistKerasError):
    """The standard output cannot be written, as on a full disk or after its reader has ended."""


class Bar(Protocol):
    """A progress bar of another library on stdout, drawn without a line break.

    Attributes:
        is_drawn: whether it is on the line of the cursor.
        rows: how many lines of the terminal it takes.
    """

    is_drawn: bool
    rows: int

    def leave(self) -> None:
        """Note that the cursor has left its line."""


_bars: "weakref.WeakSet[Any]" = weakref.WeakSet()


def add_bar(bar: Any) -> None:
    """Print no line from now on behind this `Bar`, while it exists."""
    _bars.add(bar)


def speak_as(name):
    """Start each line on stderr with a name from now on, such as a worker's; "": no name."""
    global _speaker
    _speaker = name and f"{name}: "


def print_line(*words):
    """Print words on stdout, on a line of their own; a closed terminal is not an error.

    Raises:
        OutputError: stdout cannot be written.
    """
    print_pieces([" ".join(map(str, words))])


def print_pieces(pieces):
    """Print one line on stdout, which may be too long for the memory, from an iterable of texts.

    Raises:
        OutputError: stdout cannot be written.
    """
    try:
        _leave_bars(sys.stdout)
        for piece in pieces:
            print(printable(piece, stream=sys.stdout), end="")
        print(flush=True)
    except OSError as error:
        if error.errno != errno.EIO or not _is_device(sys.stdout):
            raise OutputError(
                f"the output cannot be written. Received: {error.strerror or error}. "
                "Expected: a stdout that can be written."
            ) from error


def drop_unwritten():
    """Drop the text that stdout and stderr could not write: Python would fail at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_device(stream):
    """Whether a stream is a terminal or another device; ``isatty`` denies it after a hang-up."""
    return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)


def notice(text):
    """Print one or more lines on stderr in one write, as other processes may write there too."""
    with contextlib.suppress(OSError):  # A closed stderr must not end the program.
        _leave_bars(sys.stderr)
        print(spoken(text) + "\n", end="", file=sys.stderr, flush=True)


def spoken(text):
    """One or more lines as `notice` prints them."""
    return "\n".join(printable(it, stream=sys.stderr) for it in f"{_speaker}{text}".split("\n"))


def _leave_bars(stream):
    """Take the cursor to an empty line, if a bar is on the line where a stream prints next."""
    for bar in list(_bars):
        if bar.is_drawn and _are_shown_together(stream, sys.stdout):
            # On a terminal the bar is erased: its owner draws it again below.
            up = f"\x1b[{bar.rows - 1}A" if bar.rows > 1 else ""
            sys.stdout.write(f"\r{up}\x1b[J" if is_terminal(sys.stdout) else "\n")
            sys.stdout.flush()
            bar.leave()


def _are_shown_together(one, other):
    """Whether two streams write to the same terminal, file or pipe."""
    if one is other or (is_terminal(one) and is_terminal(other)):
        return True
    try:
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except (AttributeError, OSError, ValueError):  # None, closed, or not a file.
        return False


def is_terminal(stream):
    """Whether a text stream is a terminal; False for None and for a closed stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def duration(seconds):
    """Formats seconds as M:SS or H:MM:SS.

    >>> duration(35.9), duration(3723), duration(float("nan"))
    ('0:35', '1:02:03', '-')
    """
    if not math.isfinite(seconds):
        return "-"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def printable(text, *, stream=None):
    """The text, with escapes as in Python for what could control the terminal.

    Args:
        text: any text.
        stream: where it is printed; also what its encoding lacks is escaped. None: any encoding.

    >>> print(printable("数字"), printable("two\\nlines of 数字"))
    数字 two\\nlines of 数字
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    encoding = getattr(stream, "encoding", None)
    if encoding is None or text.isascii():
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)


def command(*arguments):
    """A command line for main.py, started like this process; arguments are quoted if needed.

    >>> command("--mode=evaluate", "--flagfile=logs/my run/flags.txt")
    "python main.py --mode=evaluate '--flagfile=logs/my run/flags.txt'"
    """
    is_main = os.path.basename(sys.argv[0]) == "main.py"
    program = (sys.orig_argv[0], sys.argv[0]) if is_main else ("python", "main.py")
    return shlex.join([*program, *map(str, arguments)])


def tensorboard_command(logdir):
    """The command line that shows the runs of a directory in TensorBoard.

    >>> tensorboard_command("my logs").endswith(" '--logdir=my logs'")
    True
    """
    # If the virtual environment is not activated, the shell does not find tensorboard.
    is_found = shutil.which("tensorboard") is not None
    program = ("tensorboard",) if is_found else (sys.orig_argv[0], "-m", "tensorboard.main")
    return shlex.join([*program, f"--logdir={logdir}"])
