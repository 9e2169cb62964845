"""This package as ``main.py`` sets it up, with another order and other batch sizes."""

import itertools

from benchmarks.recipe_run import RecipeRun

WARM_UPS = 0
_WARM_UP_STEPS = 300


def fit(**flags):
    """Maker of a fit that continues after the last epoch, each epoch in its own order."""

    def make(train):
        recipe_run = RecipeRun(train, **flags)
        recipe_run.fit(1, steps_per_epoch=_WARM_UP_STEPS)
        turns = itertools.count(1)
        return lambda epochs: recipe_run.fit(epochs, initial_epoch=next(turns) * epochs)

    return make


BATCH_SIZES = (50, 200, 1000, 5000)
CONTENDERS = {
    "file order": fit(),
    "shuffled": fit(shuffle=True),
    **{f"batch size {size}": fit(batch_size=size) for size in BATCH_SIZES},
}
