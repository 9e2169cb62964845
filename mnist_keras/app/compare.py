"""``--mode=compare``: runs side by side, read from the files that they leave."""

import dataclasses
import json
import os
import pathlib
import shutil
import sys

from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.console.terminal import duration, is_terminal, notice, printable
from mnist_keras.errors import MnistKerasError, UsageError

_PLACES = ("run_name", "logdir", "data_dir")
_ONLY_SHOWN = (  # They say what a run writes of itself, and change nothing that it comes to.
    "report",
    "chart_layout",
    "run_text",
    "hparams",
    "network_graph",
    "memory_usage",
    "weight_norms_every_epochs",
    "pictures_every_epochs",
    "histograms_every_epochs",
    "pr_curves_every_epochs",
    "projector",
    "profile_steps",
)
_SCORES = ("test_loss", "test_accuracy")
_STATE = "state.json"  # of a checkpoint; mnist_keras.checkpoint.training_state itself imports Keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What the files of a run tell.

    Attributes:
        path: its directory.
        recipe: {flag: text} of every flag that has a value.
        epochs: how many are done: "30"; "12/30" where that is not all.
        steps: batches trained on; None: unknown.
        metrics: {name: number or None}: those at the end of the last epoch that was saved; of a
            finished run the scores on the test set too.
        seconds: of training; None: unknown.
        images_per_second: over those; None: unknown.
    """

    path: pathlib.Path
    recipe: dict
    epochs: str
    steps: int | None
    metrics: dict
    seconds: float | None
    images_per_second: float | None


def compare(config):
    """Print a table of runs, one a line, with the flags that differ.

    On a terminal that is too narrow for it, it is cut into several, one below the other. What is
    no run is left out, and named on stderr.

    Args:
        config: a `mnist_keras.app.config.RunConfig`; its ``paths`` are directories of runs. Without
            any these are all the runs in its ``logdir``.

    Raises:
        UsageError: there is no run among them.
    """
    recipes = pathlib.Path(config.logdir).glob("*/flags.txt")
    paths = config.paths or sorted(str(recipe.parent) for recipe in recipes)
    runs: dict[str, Run] = {}
    for path in paths:
        try:
            runs.setdefault(os.path.realpath(path), read_run(path))
        except (MnistKerasError, OSError) as error:
            notice(f"left out: {printable(str(error))}")
    if not runs:
        received = printable(" ".join(config.paths) or f"--logdir={config.logdir}")
        raise UsageError(
            f"there is no run to compare. Received: {received}. Expected: the directories of runs."
        )
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    for line in table(list(runs.values()), columns=columns):
        print(line)


def read_run(path):
    """What the files of a run tell, a `Run`.

    Raises:
        MnistKerasError: there is no run, or its recipe cannot be read.
    """
    run = RunDirectory(path)
    try:
        recipe = run.stored_recipe()
    except UsageError:
        recipe = None
    if recipe is None:
        raise UsageError(
            f"this is no run's directory. Received: {path}. Expected: a directory with flags.txt."
        )
    summary = run.finished()
    is_finished = summary is not None and str(summary["epochs"]) == recipe["epochs"]
    position, seconds, metrics = _newest_state(run)
    facts = {"steps": position["step"], "seconds": seconds}
    if is_finished:
        facts = summary
        metrics = {**metrics, **{name: summary.get(name) for name in _SCORES}}
    elif seconds and recipe["batch_size"].isdecimal():
        images = position["step"] * int(recipe["batch_size"])
        facts["images_per_second"] = images / seconds
    return Run(
        path=pathlib.Path(path),
        recipe={name: text for name, text in recipe.items() if name not in _PLACES},
        epochs=recipe["epochs"] if is_finished else f"{position['epoch']}/{recipe['epochs']}",
        steps=_number(facts.get("steps")),
        metrics={name: _number(value) for name, value in metrics.items()},
        seconds=_number(facts.get("seconds")),
        images_per_second=_number(facts.get("images_per_second")),
    )


def _newest_state(run):
    """(position, seconds of training or None, metrics of the last epoch saved) of a run."""
    checkpoints = CheckpointDirectory(run.checkpoints, keep=1)
    position, seconds = None, None
    for step in reversed(checkpoints.steps()):
        directory = checkpoints.directory(step)
        try:
            if position is None:
                state = json.loads(storage.read_member(directory, _STATE))
                position = state["position"]
                seconds = dict(state["callbacks"]).get("Stopwatch", {}).get("seconds")
            metrics = storage.read_manifest(directory)["description"]["metrics"]
        except storage.DamagedError:
            continue
        if metrics:
            return position, seconds, metrics
    return position or {"step": 0, "epoch": 0}, seconds, {}


def _number(value):
    """The value, where it is a number; summary.json is a text that anybody may edit."""
    return value if isinstance(value, (int, float)) else None


def table(runs, *, columns=None):
    """The lines of a table of runs, aligned also where characters are wide.

    Args:
        runs: a list of `Run`.
        columns: how wide it may be; wider ones go on below, after an empty line. None: as it comes.

    >>> rest = {"steps": 600, "metrics": {"loss": 0.5}, "seconds": 75, "images_per_second": 1600.2}
    >>> runs = [
    ...     Run(path=pathlib.Path("logs/数字"), recipe={"seed": "0"}, epochs="2", **rest),
    ...     Run(path=pathlib.Path("logs/a"), recipe={"seed": "1"}, epochs="2/3", **rest),
    ... ]
    >>> print(*table(runs), sep="\\n")
    run   --seed  epochs  steps    loss  time  images/s
    数字       0       2    600  0.5000  1:15     1,600
    a          1     2/3    600  0.5000  1:15     1,600
    """
    cells = []
    for name in _differing(runs):
        cells.append([f"--{name}", *(run.recipe.get(name) for run in runs)])
    cells.append(["epochs", *(run.epochs for run in runs)])
    cells.append(["steps", *(_text(run.steps, "{:.0f}".format) for run in runs)])
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    for name in sorted(metrics, key=_rank):
        cells.append([name, *(_text(run.metrics.get(name), "{:.4f}".format) for run in runs)])
    cells.append(["time", *(_text(run.seconds, duration) for run in runs)])
    cells.append(["images/s", *(_text(run.images_per_second, "{:,.0f}".format) for run in runs)])
    names = _padded(_names(runs), left=True)
    lines = []
    for part in _parts(names, [_padded(column, left=False) for column in cells], columns):
        lines += ["", *("  ".join(row) for row in zip(names, *part, strict=True))]
    return lines[1:]


def _parts(names, padded, columns):
    """The padded columns in as few parts as have room beside the names, at least one in each."""
    from rich.cells import cell_len

    parts: list[list[list[str]]] = []
    free = 0
    for column in padded:
        width = 2 + cell_len(column[0])
        if not parts or (columns is not None and width > free):
            parts.append([])
            free = (columns or 0) - cell_len(names[0])
        parts[-1].append(column)
        free -= width
    return parts


def _names(runs):
    """The column of the runs' names; their paths where two have one name."""
    names = [os.path.basename(os.path.abspath(run.path)) for run in runs]
    is_clear = len(set(names)) == len(names)
    return ["run", *(names if is_clear else (str(run.path) for run in runs))]


def _differing(runs):
    """The flags in which the runs differ, without those that the other columns say."""
    left_out = {"epochs", *_ONLY_SHOWN}
    names = dict.fromkeys(name for run in runs for name in run.recipe if name not in left_out)
    return [name for name in names if len({run.recipe.get(name) for run in runs}) > 1]


def _rank(metric):
    return metric in _SCORES, metric.startswith("val_"), not metric.endswith("loss")


def _text(value, write):
    return None if value is None else write(value)


def _padded(cells, *, left):
    from rich.cells import cell_len

    texts = ["-" if cell is None else printable(cell) for cell in cells]
    width = max(map(cell_len, texts))
    spaces = [" " * (width - cell_len(text)) for text in texts]
    return [text + pad if left else pad + text for text, pad in zip(texts, spaces, strict=True)]
