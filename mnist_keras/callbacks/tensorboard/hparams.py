"""The hyperparameters and final metrics of a run, in TensorBoard's HParams dashboard."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback


class HParams(EventCallback):
    """Writes a run's hyperparameters once; the metrics are the last points of all its curves.

    Values may have any type. A dict gives one hyperparameter per entry. None is written as "none",
    a list as JSON and an array like a list. Values of unknown types are converted by ``str``.

    Args:
        logdir: the run's directory.
        recipe: {name: value}.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> logdir = tempfile.mkdtemp()
    >>> hparams = HParams(logdir, {"optimizer": "sgd", "units": [1]})
    >>> history = model.fit(x, y, verbose=0, callbacks=[hparams])
    """

    def __init__(self, logdir: StrPath, recipe: Mapping[str, Any]) -> None:
        super().__init__(logdir)
        self._recipe = recipe

    def on_log_begin(self) -> None:
        # Without an id TensorBoard names the trial after the run, so each run is one trial.
        if not self.has_logged(metadata.SESSION_START_INFO_TAG):
            self.log_summary(hparams_pb(flat(self._recipe), trial_id=""))

    def on_train_end(self, logs: Logs = None) -> None:
        if not self.has_logged(metadata.SESSION_END_INFO_TAG):
            self.log_summary(session_end_pb(api_pb2.STATUS_SUCCESS), keep=False)
        super().on_train_end(logs)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flattens any values to {name: bool, int, float or str}; names of nested dicts join by a dot.

    >>> flat({"lr": 0.1, "layers": [512, 10], "decay": None, "adam": {"beta": 0.9}})
    {'lr': 0.1, 'layers': '[512, 10]', 'decay': 'none', 'adam.beta': 0.9}
    """
    plain = {}
    for name, value in values.items():
        if isinstance(value, dict):
            plain.update(flat(value, f"{prefix}{name}."))
        else:
            plain[f"{prefix}{name}"] = _plain(value)
    return plain


def _plain(value):
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return json.dumps(value, default=str)
    if isinstance(value, (bool, str)):
        return value
    # TensorBoard stores numbers as doubles and sends them to its page as JSON.
    is_double = isinstance(value, int) and abs(value) <= 2**53
    is_double = is_double or (isinstance(value, float) and math.isfinite(value))
    return value if is_double else str(value)
