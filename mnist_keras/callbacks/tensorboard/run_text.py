"""How a run was started, in TensorBoard's text dashboard."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback
from mnist_keras.callbacks.tensorboard.machine import machine, versions


class RunText(EventCallback):
    """Writes ``recipe``, ``versions``, ``machine`` and ``command``, once per run.

    Args:
        logdir: the run's directory.
        recipe: {name: value}, any values.
        command: the command line, a list of words; None: the command line of this process.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> logdir = tempfile.mkdtemp()
    >>> text = RunText(logdir, {"optimizer": "sgd", "epochs": 1})
    >>> history = model.fit(x, y, verbose=0, callbacks=[text])
    """

    def __init__(
        self, logdir: StrPath, recipe: Mapping[str, Any], *, command: Sequence[str] | None = None
    ) -> None:
        super().__init__(logdir)
        self._recipe = recipe
        self._command = sys.orig_argv if command is None else command

    def on_log_begin(self) -> None:
        command = shlex.join(self._command)
        texts = {
            "recipe": table(self._recipe),
            "versions": table(versions()),
            "machine": table(machine()),
            "command": "".join(f"    {line}\n" for line in command.splitlines()),
        }
        for tag, text in texts.items():
            if not self.has_logged(tag):
                self.log_text(tag, text)


def table(values: Mapping[str, Any]) -> str:
    """Formats {name: value} as a Markdown table.

    >>> print(table({"epochs": 3, "a|b": None}))
    | | |
    | --- | --- |
    | epochs | 3 |
    | a&#124;b | None |
    """
    rows = ["| | |", "| --- | --- |"]
    rows += [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(rows)


def _cell(value):
    return " ".join(str(value).replace("|", "&#124;").split())
