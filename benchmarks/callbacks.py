"""What each callback of ``main.py`` costs on its own: ``python -m benchmarks.callbacks``.

All train the same model, in one process and in turns, a run of ten epochs each: what is done once
in a run or every ten epochs is done once. A turn's ratio is that to the turn of the same round
without any callback.
"""

import contextlib
import functools
import os
import time

from benchmarks import measuring

WITHOUT, DEFAULT = "no callback", "all that are on by default"
ON_REQUEST = {
    "histograms_every_epochs": 10,
    "pr_curves_every_epochs": 10,
    "projector": True,
}


def choices(by_default, on_request):
    """Who takes turns: {label: the names of the callbacks}.

    Args:
        by_default, on_request: the names of the callbacks of a run without and with `ON_REQUEST`.
    """
    singles = {name: (name,) for name in by_default}
    more = {f"{name} (on request)": (name,) for name in on_request if name not in by_default}
    return {WITHOUT: (), DEFAULT: tuple(by_default), **singles, **more}


def summary(results):
    """{label: (milliseconds added to an epoch, `Spread` of the ratios)}, the dearest first."""
    without = results[WITHOUT]
    rows = {}
    for label, seconds in results.items():
        if label == WITHOUT:
            continue
        added = [1000 * (a - b) for a, b in zip(seconds, without, strict=True)]
        rows[label] = measuring.spread(added).median, measuring.ratios(seconds, of=without)
    return dict(sorted(rows.items(), key=lambda row: -row[1][1].median))


def table(rows):
    """What `summary` gives as a Markdown table."""
    return measuring.table(
        ["callback", "ms added to an epoch", "× the epoch without", "least", "greatest"],
        [
            [label, f"{added:.1f}", *(f"{figure:.3f}" for figure in ratios)]
            for label, (added, ratios) in rows.items()
        ],
    )


def names_of(callbacks):
    """The names of their classes."""
    return [type(callback).__name__ for callback in callbacks]


def seconds_per_epoch(recipe_run, names, *, epochs):
    """Of one run with the callbacks of these names alone; what it prints is thrown away."""

    def chosen(logdir):
        callbacks = recipe_run.callbacks(logdir, **ON_REQUEST)
        return [callback for callback in callbacks if type(callback).__name__ in names]

    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        began = time.perf_counter()
        recipe_run.fit(epochs, callbacks=chosen)
        return (time.perf_counter() - began) / epochs


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    parser = measuring.parser(__doc__, rounds=7)
    parser.add_argument("--epochs", type=int, default=10, help="in a turn; default: 10")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks.recipe_run import RecipeRun
    from mnist_keras.data import load

    recipe_run = RecipeRun(load(data_dir=arguments.data_dir)[0])
    by_default = names_of(recipe_run.callbacks("nowhere"))
    on_request = names_of(recipe_run.callbacks("nowhere", **ON_REQUEST))
    seconds = functools.partial(seconds_per_epoch, recipe_run)
    members = choices(by_default, on_request)
    for names in members.values():
        seconds(names, epochs=1)
    results = measuring.in_turns(
        {
            label: functools.partial(seconds, names, epochs=arguments.epochs)
            for label, names in members.items()
        },
        rounds=arguments.rounds,
    )
    rows = summary(results)
    print(table(rows))
    measuring.write_json(arguments.results / "callbacks.json", {"seconds": results})
    measuring.bars(
        {label: ratios for label, (_, ratios) in rows.items()},
        arguments.results / "callbacks.png",
        label="time of an epoch, as a multiple of that without callbacks",
    )


if __name__ == "__main__":
    main()
