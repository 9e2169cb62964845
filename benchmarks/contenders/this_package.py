"""``TapeModel.fit`` as ``main.py`` sets it up, with all its callbacks and with none."""

import functools

from benchmarks.recipe_run import RecipeRun


def fit(*, callbacks=None, **flags):
    """Maker of a fit, with `RecipeRun`'s callbacks or those of a function of the directory."""

    def make(train):
        return functools.partial(RecipeRun(train, **flags).fit, callbacks=callbacks)

    return make


CONTENDERS = {
    "this package, all callbacks": fit(),
    "this package, no callback": fit(callbacks=lambda _: []),
    "this package, mixed_bfloat16, all callbacks": fit(dtype_policy="mixed_bfloat16"),
}
