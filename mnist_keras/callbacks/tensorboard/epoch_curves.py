"""The values of an epoch that become curves."""

import numpy as np

from mnist_keras.annotations import Logs
from mnist_keras.checkpoint import backends

_MOST_ENTRIES = 32


def epoch_curves(logs: Logs) -> dict[str, float]:
    """{name: float} of the logs of an epoch.

    A metric may return an array, for example a score per class. If it has at most 32 entries, each
    one is a curve of its own, NAME/INDEX; otherwise their mean is one, NAME/mean.

    >>> epoch_curves({"loss": 0.5, "f1": np.array([0.25, 1.0]), "recall": np.ones(200)})
    {'loss': 0.5, 'f1/0': 0.25, 'f1/1': 1.0, 'recall/mean': 1.0}
    """
    curves = {}
    for name, value in (logs or {}).items():
        array = backends.host_array(value)
        if array.size == 1:
            curves[name] = float(array.item())
        elif array.size > _MOST_ENTRIES:
            curves[f"{name}/mean"] = float(array.mean())
        else:
            for index, entry in np.ndenumerate(array):
                curves["/".join([name, *map(str, index)])] = float(entry)
    return curves
