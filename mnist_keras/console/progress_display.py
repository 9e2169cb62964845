"""How far a long task has got: a bar on stderr, or a plain line now and then without a terminal."""

import contextlib
import dataclasses
import sys
import time

from mnist_keras.console.pinned_lines import PinnedLines
from mnist_keras.console.terminal import duration, is_terminal, notice, printable

LINE_EVERY_S = 30.0
_REDRAW_EVERY_S = 0.25
_LEAST_BAR_COLUMNS, _MOST_BAR_COLUMNS = 6, 60


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of what is shown.

    Attributes:
        text: printable words; of a bar "".
        rank: those of the lowest ranks stay in a narrow window.
        style: as rich names it.
        fraction: of a bar, how much is done, from 0 to 1; None: this is no bar.
    """

    text: str
    rank: int
    style: str = ""
    fraction: float | None = None

    @property
    def columns(self):
        """How wide it is on a terminal; of a bar, at least."""
        from rich.cells import cell_len

        return cell_len(self.text) if self.fraction is None else _LEAST_BAR_COLUMNS


class ProgressDisplay:
    """Shows parts on stderr: at most four times a second on a terminal, else seldom.

    Args:
        line_every_s: seconds from one plain line to the next, where stderr is no terminal.
        clock: the time in seconds.
    """

    def __init__(self, *, line_every_s=LINE_EVERY_S, clock=time.monotonic):
        self._clock = clock
        self._console = _console_of(sys.stderr)
        self._pinned = None if self._console is None else PinnedLines(sys.stderr)
        self._every_s = line_every_s if self._console is None else _REDRAW_EVERY_S
        self._due_s = clock() + (line_every_s if self._console is None else 0.0)

    @property
    def is_due(self):
        """Whether it is time for `show`."""
        return self._clock() >= self._due_s

    def show(self, lines):
        """Show lines, lists of `Part`, in place of those shown before."""
        self._due_s = self._clock() + self._every_s
        if self._pinned is None:
            self._say(lines)
            return
        with contextlib.suppress(OSError, ValueError):  # Hung up, or closed: rich flushes it.
            self._pinned.show([self._drawn(*fitted(parts, self._columns)) for parts in lines])

    def close(self, lines=()):
        """Leave the terminal in order, and at last these lines as a plain one."""
        if self._pinned is not None:
            self._pinned.close()
        if lines:
            self._say(lines)

    @property
    def _columns(self):
        return max(self._console.width - 1, 1)  # Some terminals wrap a full line.

    def _say(self, lines):
        parts, gap = [part for line in lines for part in line if part.text], 2
        if self._console is not None:
            parts, gap, _ = fitted(parts, self._columns)
        with contextlib.suppress(OSError, ValueError):  # Hung up, or closed.
            notice((" " * gap).join(part.text for part in parts))

    def _drawn(self, parts, gap, bar_columns):
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        line = Text()
        for part in parts:
            line.append(" " * gap if line else "").append(part.text, part.style)
            if part.fraction is not None:
                end = line.cell_len + bar_columns
                bar = ProgressBar(1.0, part.fraction, width=bar_columns)
                for segment in self._console.render(bar):
                    line.append(segment.text, segment.style)
                line.append(" " * (end - line.cell_len))  # Without colours only its done part.
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True)
        return captured.get()


def fitted(parts, columns):
    """What of the parts has room in so many columns.

    Returns:
        (the parts, the columns between two of them, the columns of a bar).

    >>> parts = [Part("2/30 epochs", 0), Part("", 1, fraction=0.1), Part("7:20 left", 2)]
    >>> for columns in (40, 28, 19, 11, 6):
    ...     kept, *widths = fitted(parts, columns)
    ...     print([part.text for part in kept], widths)
    ['2/30 epochs', '', '7:20 left'] [2, 16]
    ['2/30 epochs', '', '7:20 left'] [1, 6]
    ['2/30 epochs', ''] [2, 6]
    ['2/30 epochs'] [2, 6]
    ['2/30 e'] [2, 6]
    """
    from rich.cells import set_cell_size

    by_rank = sorted(parts, key=lambda part: part.rank)
    kept, gap, free = max((_kept(by_rank, columns, gap) for gap in (2, 1)), key=lambda k: len(k[0]))
    if not kept:
        kept = [dataclasses.replace(by_rank[0], text=set_cell_size(by_rank[0].text, columns))]
        return kept, gap, _LEAST_BAR_COLUMNS
    bar_columns = min(_LEAST_BAR_COLUMNS + free, _MOST_BAR_COLUMNS)
    return [part for part in parts if part in kept], gap, bar_columns


def _kept(by_rank, columns, gap):
    """(the first of the parts that have room, the gap, the columns that stay free)."""
    kept, free = [], columns + gap
    for part in by_rank:
        if part.columns + gap > free:
            break
        kept.append(part)
        free -= part.columns + gap
    return kept, gap, free


@contextlib.contextmanager
def task_progress(name, total, *, amount="{:,}".format, unit="", clock=time.monotonic):
    """Shows how far a task of this name is; nothing of it stays.

    Args:
        name: printed as it is.
        total: how much there is to do; None: nobody knows.
        amount: makes a text of how much.
        unit: behind the amounts.
        clock: the time in seconds.

    Yields:
        ``show(done)``, done counted up to ``total``.

    >>> with task_progress("digits", 2) as show:
    ...     show(1)
    """
    display = ProgressDisplay(clock=clock)
    began_s = clock()

    def show(done):
        if not display.is_due:
            return
        of_total = f"/{amount(total)}" if total else ""
        parts = [Part(printable(name), 2), Part(f"{amount(done)}{of_total}{unit}", 1)]
        if total:
            parts.insert(1, Part("", 0, fraction=done / total))
        if total and done:
            left_s = (clock() - began_s) * (total - done) / done
            parts.append(Part(f"{duration(left_s)} left", 3, "cyan"))
        display.show([parts])

    try:
        yield show
    finally:
        display.close()


def _console_of(stream):
    """rich's view of a terminal; None: this is none, or one on which nothing can be redrawn."""
    if not is_terminal(stream):
        return None
    from rich.console import Console

    console = Console(file=stream)
    is_capable = console.is_terminal and not console.is_dumb_terminal
    return console if is_capable and not console.legacy_windows else None
