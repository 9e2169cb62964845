"""Each public callback in a fit of its own: prints whether it changes a number, as JSON."""

import contextlib
import io
import json
import pathlib
import sys

import keras
import numpy as np

from tests.callbacks.test_alone import CORE, IMAGES, INPUTS, LABELS, MAKE, TARGETS, plugins_in


def layers():
    hidden = keras.layers.Dense(4, activation="relu")
    return [keras.layers.Flatten(), hidden, keras.layers.Dropout(0.5), keras.layers.Dense(3)]


def fit(callbacks):
    """The history and the weights of a training with dropout, shuffling and validation."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(layers())
    model.compile(keras.optimizers.Adam(use_ema=True), loss="mse", metrics=["accuracy"])
    data = {"batch_size": 5, "validation_data": (IMAGES[:4] / 255, np.eye(3)[LABELS[:4]])}
    history = model.fit(INPUTS, TARGETS, epochs=2, verbose=0, callbacks=callbacks, **data)
    return history.history, [weight.tolist() for weight in model.get_weights()]


def main(directory):
    history, weights = fit([])
    found = {}
    for name, make in {**MAKE, **CORE}.items():
        path = directory / name
        path.mkdir()
        said, printed = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            changed, others = fit([make(path)])
        if name == "AveragedWeights":  # It is to change what is validated.
            changed = {key: changed.get(key) for key in ("accuracy", "loss")}
        is_same = changed.items() <= history.items() and others == weights
        found[name] = {
            "is_same": is_same,
            "said": said.getvalue().splitlines(),
            "plugins": sorted(plugins_in(path)),
            "files": sorted(it.name for it in path.rglob("*") if it.is_file()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
