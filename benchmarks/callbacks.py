"""Measure the cost of each callback of ``main.py``: ``python -m benchmarks.callbacks``.

Between two executions only the callbacks run, so training waits for the time spent in a callback's
methods. This time is measured in runs of the tutorial's 30 epochs. The work that another thread
does for the callback is reported next to it. These runs alternate with runs without callbacks; each
share is a share of the epoch in the same round.
"""

import collections
import contextlib
import functools
import os
import statistics
import time

from benchmarks import measuring
from mnist_keras.callbacks.tensorboard import lettering

WITHOUT, LOGGING = "no callback", "StepLogger, Checkpoint and Progress"
DEFAULT, ALL = "all that are on by default", "those on request too"
ON_REQUEST = {
    "histograms_every_epochs": 10,
    "pr_curves_every_epochs": 10,
    "projector": True,
}
_METHODS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)


class Costs:
    """Counts the seconds in the methods of callbacks, by class name.

    Attributes:
        seconds: {name: seconds in its methods}.
        beside: {name: processor seconds of another thread meanwhile}.

    Example:

    >>> import keras
    >>> class Slow(keras.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         time.sleep(0.02)
    >>> costs = Costs()
    >>> costs.count(Slow()).on_epoch_end(0)
    >>> 0.02 <= costs.seconds["Slow"] < 1
    True
    """

    def __init__(self):
        self.seconds = collections.defaultdict(float)
        self.beside = collections.defaultdict(float)

    def count(self, callback):
        """Count a callback's methods from now on; returns the callback."""
        name = type(callback).__name__
        for method in _METHODS:
            timed = self._timed(getattr(callback, method), self.seconds, name, time.perf_counter)
            setattr(callback, method, timed)
        if name == "Checkpoint":
            callback._write = self._timed(callback._write, self.beside, name, time.thread_time)
        return callback

    @staticmethod
    def _timed(function, totals, name, clock):
        @functools.wraps(function)
        def timed(*args, **kwargs):
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                totals[name] += clock() - began

        return timed


def turn(recipe_run, *, epochs, wanted, **flags):
    """Measure one run.

    Args:
        recipe_run: a `benchmarks.recipe_run.RecipeRun`.
        epochs: number of epochs.
        wanted: a function of a callback's name: whether the run has it.
        flags: of the callbacks.

    Returns:
        {"epoch": seconds of an epoch, "seconds": and "beside": {name: per epoch}}.
    """
    costs = Costs()
    lettering.mask.cache_clear()  # A run in its own process would draw its texts itself.

    def chosen(logdir):
        callbacks = recipe_run.callbacks(logdir, **flags)
        return [costs.count(c) for c in callbacks if wanted(type(c).__name__)]

    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        began = time.perf_counter()
        recipe_run.fit(epochs, callbacks=chosen)
        seconds = time.perf_counter() - began
    return {
        "epoch": seconds / epochs,
        "seconds": {name: total / epochs for name, total in costs.seconds.items()},
        "beside": {name: total / epochs for name, total in costs.beside.items()},
    }


def summary(results):
    """{label: (ms in its methods, ms beside, `Spread` of the shares of the epoch)}, per epoch.

    First the sums, then each callback, the most expensive first.
    """
    epochs = [it["epoch"] for it in results[WITHOUT]]

    def row(turns, names):
        in_methods = [sum(it["seconds"][name] for name in names) for it in turns]
        beside = [sum(it["beside"].get(name, 0) for name in names) for it in turns]
        shares = measuring.ratios(in_methods, of=epochs)
        return 1000 * statistics.median(in_methods), 1000 * statistics.median(beside), shares

    sums = {
        label: row(results[label], results[label][0]["seconds"]) for label in (LOGGING, DEFAULT)
    }
    defaults, everything = (results[label][0]["seconds"] for label in (DEFAULT, ALL))
    singles = {name: row(results[DEFAULT], [name]) for name in defaults}
    for name in everything:
        if name not in defaults:
            singles[f"{name} (on request)"] = row(results[ALL], [name])
    singles = dict(sorted(singles.items(), key=lambda item: -item[1][0]))
    return {**sums, **singles}


def table(rows):
    """What `summary` gives as a Markdown table."""
    return measuring.table(
        ["callback", "ms in an epoch", "ms of another thread", "% of the epoch", "least", "most"],
        [
            [label, f"{ms:.2f}", f"{beside:.2f}", *(f"{100 * share:.2f}" for share in shares)]
            for label, (ms, beside, shares) in rows.items()
        ],
    )


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    parser = measuring.parser(__doc__, rounds=5)
    parser.add_argument("--epochs", type=int, default=30, help="epochs of a run; default: 30")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks.recipe_run import RecipeRun
    from mnist_keras.data import load

    recipe_run = RecipeRun(load(data_dir=arguments.data_dir)[0])
    one = functools.partial(turn, recipe_run)
    turns = {
        WITHOUT: functools.partial(one, wanted=lambda name: False),
        LOGGING: functools.partial(one, wanted=lambda name: name in LOGGING),
        DEFAULT: functools.partial(one, wanted=lambda name: True),
        ALL: functools.partial(one, wanted=lambda name: True, **ON_REQUEST),
    }
    for function in turns.values():
        function(epochs=1)
    results = measuring.in_turns(
        {
            label: functools.partial(function, epochs=arguments.epochs)
            for label, function in turns.items()
        },
        rounds=arguments.rounds,
    )
    rows = summary(results)
    print(table(rows))
    measuring.write_json(arguments.results / "callbacks.json", {"turns": results})
    measuring.bars(
        {label: shares for label, (_, _, shares) in rows.items()},
        arguments.results / "callbacks.png",
        label="time in the callback's methods, as a share of the epoch",
    )


if __name__ == "__main__":
    main()
