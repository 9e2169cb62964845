"""What is said to the user on stderr, and the commands that they are told to go on with."""

import contextlib
import math
import os
import shlex
import shutil
import sys

_speaker = ""


def speak_as(name):
    """Begin each line on stderr with a name from now on, as of one of several workers; "": none."""
    global _speaker
    _speaker = name and f"{name}: "


def notice(line):
    """Say something on stderr, a line, written at once, as other processes may write there too."""
    with contextlib.suppress(OSError):  # Where nobody listens it is no reason to end.
        print(f"{_speaker}{line}\n", end="", file=sys.stderr, flush=True)


def is_terminal(stream):
    """Whether a text stream leads to a terminal; None and a closed one do not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def duration(seconds):
    """Seconds as people read them.

    >>> duration(35.9), duration(3723), duration(float("nan"))
    ('0:35', '1:02:03', '-')
    """
    if not math.isfinite(seconds):
        return "-"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def printable(text):
    """The text itself, or, where some of it would control the terminal, what Python writes for it.

    >>> print(printable("数字"), printable("two\\nlines"))
    数字 two\\nlines
    """
    return text if text.isprintable() else ascii(text)[1:-1]


def command(*arguments):
    """A command line of main.py, started as it was this time; each argument quoted as it needs.

    >>> command("--mode=evaluate", "--flagfile=logs/my run/flags.txt")
    "python main.py --mode=evaluate '--flagfile=logs/my run/flags.txt'"
    """
    is_main = os.path.basename(sys.argv[0]) == "main.py"
    program = (sys.orig_argv[0], sys.argv[0]) if is_main else ("python", "main.py")
    return shlex.join([*program, *map(str, arguments)])


def tensorboard_command(logdir):
    """The command line that shows the runs in a directory.

    >>> tensorboard_command("my logs").endswith(" '--logdir=my logs'")
    True
    """
    # In a virtual environment that is not activated the shell finds no tensorboard.
    is_found = shutil.which("tensorboard") is not None
    program = ("tensorboard",) if is_found else (sys.orig_argv[0], "-m", "tensorboard.main")
    return shlex.join([*program, f"--logdir={logdir}"])
