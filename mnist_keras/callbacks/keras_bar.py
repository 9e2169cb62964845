"""Keras's progress bar, which shares the terminal with the lines that callbacks print."""

import shutil
import weakref

import keras

from mnist_keras import _keras
from mnist_keras.console import terminal

# Those whose bar `terminal` knows.
_LOGGERS: "weakref.WeakSet[keras.callbacks.ProgbarLogger]" = weakref.WeakSet()


class KerasBar:
    """The bar of ``fit(verbose=1)``, a `mnist_keras.console.terminal.Bar`.

    Keras draws it without a line break, so what another callback prints would continue its line.

    Args:
        logger: the ``keras.callbacks.ProgbarLogger`` that draws it.
    """

    def __init__(self, logger: keras.callbacks.ProgbarLogger) -> None:
        # The logger holds this object by `after`, so not the other way round.
        self._logger = weakref.ref(logger)
        self._left_at: float | None = None
        _keras.after(logger, "on_epoch_end", self.leave)  # There Keras ends the line itself.

    @property
    def is_drawn(self) -> bool:
        """Whether the bar is on the line of the cursor."""
        bar = self._bar
        if bar is None or bar.verbose != 1:
            return False
        return _keras.width_of_bar(bar) > 0 and _keras.drawn_at(bar) != self._left_at

    @property
    def rows(self) -> int:
        """How many lines of the terminal the bar takes."""
        columns = shutil.get_terminal_size().columns
        return 1 + (_keras.width_of_bar(self._bar) - 1) // columns

    def leave(self) -> None:
        """Note that the cursor has left the bar's line; Keras draws it anew on another one."""
        self._left_at = None if self._bar is None else _keras.drawn_at(self._bar)

    @property
    def _bar(self):
        logger = self._logger()
        return None if logger is None else logger.progbar


def share_the_terminal(callbacks: keras.callbacks.CallbackList | None) -> None:
    """Let lines for the user stand apart from the bar of these callbacks, if they have one."""
    for callback in () if callbacks is None else callbacks.callbacks:
        if isinstance(callback, keras.callbacks.ProgbarLogger) and callback not in _LOGGERS:
            _LOGGERS.add(callback)
            terminal.add_bar(KerasBar(callback))
