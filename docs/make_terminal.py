"""Puts what real runs show into docs/terminal.md: ``python -m docs.make_terminal``.

It takes some minutes, real MNIST and tmux.
"""

import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "terminal.md"
RECIPE = "python main.py --flagfile=flags.txt"
_CONFIGURATION = "set -g status off\nset -g remain-on-exit on\nset -g remain-on-exit-format ''\n"
_PATIENCE_S = 600
_SEVERAL_EPOCHS = r"\b[4-9]/30 epochs(.|\n)*images/s"
_FOREIGN = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES", "TMUX")


class Window:
    """A tmux of its own in which one command runs.

    Args:
        command: for the shell.
        columns: how wide it is.
        place: where it runs.
        rows: how high it is.
        variables: of the environment, as ``"NO_COLOR=1"``.
    """

    def __init__(self, command, *, columns, place, rows=14, variables=""):
        self._socket = str(place / "tmux")
        configuration = place / "tmux.conf"
        configuration.write_text(_CONFIGURATION)
        size = ["-x", str(columns), "-y", str(rows), "-c", str(place)]
        self._tmux(
            "-u", "-f", str(configuration), "new-session", "-d", *size, f"{variables} {command}"
        )

    def screen(self, pattern=None):
        """What is seen as soon as the pattern is there; None: when the command has ended."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            seen = self._tmux("capture-pane", "-p").rstrip()
            is_over = self._tmux("display", "-p", "#{pane_dead}").strip() == "1"
            if is_over or (pattern is not None and re.search(pattern, seen)):
                return seen
            time.sleep(0.1)
        raise TimeoutError(seen)

    def interrupt(self):
        """Press Ctrl-C."""
        self._tmux("send-keys", "C-c")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._tmux("kill-server")

    def _tmux(self, *words):
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def environment():
    """The user's, in which ``python`` is this one."""
    inherited = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    return {**inherited, "PATH": path, "TERM": "xterm-256color"}


def screens(place):
    """{title: text} of all that the page shows."""
    with Window(RECIPE + " --run_name=first", columns=80, place=place) as window:
        yield "80 columns", window.screen(_SEVERAL_EPOCHS)
        yield "80 columns, at the end", window.screen()
    name = "--run_name=第一次训练"
    with Window(f"{RECIPE} {name}", columns=60, place=place) as window:
        yield "60 columns", window.screen(_SEVERAL_EPOCHS)
        window.interrupt()
        yield "60 columns, after Ctrl-C", window.screen()
    with Window(f"{RECIPE} {name}", columns=200, place=place) as window:
        yield "200 columns", window.screen(r"\b9/30 epochs(.|\n)*images/s")
        window.interrupt()
        window.screen()
    with Window(RECIPE, columns=80, place=place, rows=8, variables="NO_COLOR=1") as window:
        yield "NO_COLOR", window.screen(_SEVERAL_EPOCHS)
        window.interrupt()
        window.screen()
    yield "pipe", shell(f"{RECIPE} --run_name=piped 2>&1 | cat", place)
    # The shell stays, else the terminal has nobody left and counts as closed.
    command = f"nohup {RECIPE} --run_name=hung_up; true"
    with Window(command, columns=80, place=place, rows=4) as window:
        shown = window.screen()
    yield "nohup", f"{shown}\n\n$ cat nohup.out\n{shortened((place / 'nohup.out').read_text())}"
    with Window("python main.py --mode=compare logs/*", columns=80, place=place) as window:
        yield "compare", window.screen()


def shell(command, place):
    """What a command prints where there is no terminal."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return shortened(done.stdout)


def shortened(text, *, first=7, last=9):
    """Text without most of its lines; those that tell how far it is stay."""
    lines = text.splitlines()
    kept = [line for line in lines[first:-last] if re.match(r"\d+/\d+ epochs", line)]
    return "\n".join([*lines[:first], "...", *(f"{line}\n..." for line in kept), *lines[-last:]])


def put(text, title, page):
    """The page with another text in the block below a mark."""
    mark = re.escape(f"<!-- {title} -->\n```text\n")
    changed, count = re.subn(
        f"({mark}).*?(```\n)", lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.S
    )
    if count != 1:
        raise ValueError(f"the page has no block of that name. Received: {title}. Expected: one.")
    return changed


def main():
    """Run it all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data_dir", type=pathlib.Path, help="of MNIST; default: as main.py finds it"
    )
    data_dir = parser.parse_args().data_dir
    if data_dir is not None:
        os.environ["MNIST_KERAS_DATA_DIR"] = str(data_dir.resolve())
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        place = pathlib.Path(directory)
        for name in ("main.py", "flags.txt"):
            (place / name).symlink_to(ROOT / name)
        for title, text in screens(place):
            print(title, file=sys.stderr)
            page = put(text, title, page)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
