"""Progress of a long task: a bar on stderr, or sometimes a plain line if it is not a terminal."""

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
    """A piece of a progress line: a text or a bar.

    Attributes:
        text: printable text; "" for a bar.
        rank: in a narrow window only the parts of the lowest ranks are shown.
        style: a style of rich.
        fraction: the progress of a bar, from 0 to 1; None: this part is not a bar.
    """

    text: str
    rank: int
    style: str = ""
    fraction: float | None = None

    @property
    def columns(self):
        """The width on a terminal; for a bar, the minimum width."""
        from rich.cells import cell_len

        return cell_len(self.text) if self.fraction is None else _LEAST_BAR_COLUMNS


class ProgressDisplay:
    """Shows parts on stderr: up to four times a second on a terminal, otherwise rarely.

    Args:
        line_every_s: seconds between plain lines, if stderr is not a terminal.
        clock: a function that returns the time in seconds.
    """

    def __init__(self, *, line_every_s=LINE_EVERY_S, clock=time.monotonic):
        self._clock = clock
        self._console = _console_of(sys.stderr)
        self._pinned = None if self._console is None else PinnedLines(sys.stderr)
        self._every_s = line_every_s if self._console is None else _REDRAW_EVERY_S
        self._due_s = clock() + (line_every_s if self._console is None else 0.0)

    @property
    def is_due(self):
        """Whether `show` should be called now."""
        return self._clock() >= self._due_s

    def show(self, lines):
        """Show lines, each a list of `Part`, in place of the previous ones."""
        self._due_s = self._clock() + self._every_s
        if self._pinned is None:
            self._say(lines)
            return
        with contextlib.suppress(OSError, ValueError):  # Hung up, or closed; rich flushes it.
            self._pinned.show([self._drawn(*fitted(parts, self._columns)) for parts in lines])

    def close(self, lines=()):
        """Remove the display, then print these lines as one plain line."""
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
                line.append(" " * (end - line.cell_len))  # Without colours rich omits the rest.
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True)
        return captured.get()


def fitted(parts, columns):
    """Select the parts that fit into ``columns`` columns.

    Returns:
        (the parts, the columns between two parts, the columns of a bar).

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
    """(the first parts, as many as fit; the gap; the free columns)."""
    kept, free = [], columns + gap
    for part in by_rank:
        if part.columns + gap > free:
            break
        kept.append(part)
        free -= part.columns + gap
    return kept, gap, free


@contextlib.contextmanager
def task_progress(name, total, *, amount="{:,}".format, unit="", clock=time.monotonic):
    """Shows the progress of a task on stderr; the display is erased at the end.

    Args:
        name: the task's name.
        total: the total amount; None: unknown.
        amount: formats an amount as text.
        unit: printed after the amounts.
        clock: a function that returns the time in seconds.

    Yields:
        ``show(done)``, to be called with the amount done, from 0 to ``total``.

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
    """The rich console of a terminal; None if the stream cannot redraw lines."""
    if not is_terminal(stream):
        return None
    from rich.console import Console

    console = Console(file=stream)
    is_capable = console.is_terminal and not console.is_dumb_terminal
    return console if is_capable and not console.legacy_windows else None
