"""What a run needs before its first step: a recipe that may run, the directory, the data."""

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnist_keras.app import batch_parts
from mnist_keras.app.config import RunConfig
from mnist_keras.app.resume_rules import require_same_recipe, require_steps
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.storage import DamagedError
from mnist_keras.console.terminal import command, notice
from mnist_keras.distributed import strategy as strategies
from mnist_keras.errors import MnistKerasError, UsageError

if TYPE_CHECKING:
    from mnist_keras.data import Examples
    from mnist_keras.data.stream import BatchStream
    from mnist_keras.distributed.workers import Workers

# The result on the held-out images that ranks checkpoints and ends a training early.
BEST_BY = "val_loss"


@dataclasses.dataclass
class Data:
    """A data set that was found; its training images can be released.

    Attributes:
        name: of the data set.
        train, test: each a `mnist_keras.data.Examples`.
    """

    name: str
    train: Any
    test: Any


def resolve_auto(run: RunDirectory, config: RunConfig) -> dict[str, Any] | None:
    """The values of the settings that are "auto", {flag: value}; None: the run is finished.

    They are those that the run was started with; a new run chooses them.

    Raises:
        UsageError: the run was started with other flags, or ``start_from`` has no checkpoint or is
            the run itself.
        MnistKerasError: the run's recipe or the checkpoint of ``start_from`` cannot be read.
    """
    stored = None
    if config.overwrite:
        run.require_run()
    else:
        stored = _matching_recipe(run, config)
        if stored is not None and _is_finished(run, config, stored):
            return None
    if stored is None:
        _require_another_run(run, config)
        require_checkpoint(config)
    dataset, parts = config.dataset, config.batch_parts
    if stored is not None and dataset == "auto":
        dataset = stored["dataset"]
    if stored is not None and parts == "auto" and stored["batch_parts"] != "auto":
        parts = int(stored["batch_parts"])
    return {"dataset": dataset, "batch_parts": fastest_parts(config) if parts == "auto" else parts}


def fastest_parts(config: RunConfig) -> int:
    """The number of parts that "auto" stands for in a new run."""
    is_shared = strategies.shares_batches(config)
    size = 1 if is_shared else config.batch_size
    return batch_parts.choose(network=config.network, batch_size=size)


def require_checkpoint(config: RunConfig) -> None:
    """Refuse a ``start_from`` that has no undamaged checkpoint.

    Raises:
        UsageError: there is no checkpoint.
        MnistKerasError: the newest one cannot be used, or all are damaged.
    """
    if config.start_from is None:
        return
    donor = CheckpointDirectory(RunDirectory(config.start_from).checkpoints, keep=1)
    try:
        donor.require_newest(lambda line: None)
    except (UsageError, DamagedError) as error:
        raise type(error)(f"--start_from: {error}") from error


def _require_another_run(run: RunDirectory, config: RunConfig) -> None:
    """Refuse a new run that would start from the checkpoints that it replaces."""
    if config.start_from is None:
        return
    ours, theirs = (it.checkpoints for it in (run, RunDirectory(config.start_from)))
    if os.path.realpath(ours) == os.path.realpath(theirs):
        raise UsageError(
            f"--start_from is the run itself. Received: {config.start_from}. "
            "Expected: another run, or another --run_name."
        )


def open_run(run: RunDirectory, config: RunConfig, *, examples: int) -> None:
    """Take the run's directory and store the recipe.

    Args:
        run: closed; its directory may not exist yet.
        config: without "auto" for the data set.
        examples: training images in an epoch.

    Raises:
        UsageError: the run was started with other flags, or is past its end.
        MnistKerasError: the directory cannot be written, or another process is training this run.
    """
    run.open()
    if config.overwrite:
        run.clear()
    run.announce_links()
    _matching_recipe(run, config)  # Another process may have started this run in the meantime.
    require_steps(run, config, steps_per_epoch=-(-examples // config.batch_size))
    run.store_recipe(config)


def load(config: RunConfig, workers: "Workers | strategies.SingleWorker") -> Data:
    """The data set that the chief finds. Every worker calls it.

    Raises:
        UsageError: a setting does not fit the data set.
        DataError: the data set is not available.
    """
    from mnist_keras.data.datasets import catalog

    loaded: list[Any] = []

    def resolve(dataset: str) -> str:
        loaded[:] = catalog.resolve(dataset, data_dir=config.data_dir)
        return loaded[0]

    found = workers.on_chief(lambda: resolve(config.dataset))
    if not workers.is_chief:
        resolve(found)
    data = Data(*loaded)
    _require_fitting(config, examples=len(data.train))
    data.train = _in_partitions(config, data.train)
    return data


def streams(
    config: RunConfig, train_set: "Examples", *, test_set: "Examples | None" = None
) -> tuple["BatchStream", "BatchStream | None"]:
    """The batches to train on, and those held out for validation or None.

    Args:
        config: the settings of the run.
        train_set: the training images, with the held-out ones last.
        test_set: the images that the run ends with, which a resume must not exchange.
    """
    from mnist_keras.app.recipe import augmentation
    from mnist_keras.data import batches

    held_out = config.validation_examples
    split = len(train_set) - held_out
    scored_on = {} if test_set is None else {"test": test_set.digest()}
    if held_out and config.data_partitions == 1:  # Else some of them may be on other machines.
        scored_on["validation"] = train_set[split:].digest()
    stream = batches(
        train_set.images[:split],
        train_set.labels[:split],
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
        augmentation=augmentation(config),
        partitions=config.data_partitions,
        description=train_set.description,
        scored_on=scored_on,
    )
    if not held_out:
        return stream, None
    images, labels = train_set.images[split:], train_set.labels[split:]
    return stream, batches(
        images,
        labels,
        batch_size=min(config.batch_size, held_out),
        partitions=config.data_partitions,
        description=train_set.description,
    )


def _matching_recipe(run: RunDirectory, config: RunConfig) -> dict[str, str] | None:
    stored = run.stored_recipe()
    if stored is not None:
        require_same_recipe(run, config, stored)
    return stored


def _is_finished(run: RunDirectory, config: RunConfig, stored: Mapping[str, str]) -> bool:
    summary = run.finished()
    if summary is None:
        return False
    stopped = bool(summary.get("stopped_early"))
    is_longer = summary["epochs"] < config.epochs and not stopped
    if is_longer or not run.has_model_of(summary):
        _require_checkpoint_of(run, config, summary, is_longer=is_longer)
        return False
    early = f", stopped early with --epochs={config.epochs}" if stopped else ""
    if isinstance(summary.get("steps"), int):
        # As it was trained: to look at a run with other flags removes nothing.
        kept = kept_checkpoints(dataclasses.replace(config, **_stored_numbers(stored)))
        checkpoints = CheckpointDirectory(run.checkpoints, **kept)
        run.tidy(checkpoints, newest_step=summary["steps"])
    flags = [f"--epochs={2 * summary['epochs']}"]
    if stopped:  # With more epochs it would have stopped there too.
        flags = [f"--run_name={run.name}_longer", f"--start_from={run.path}"]
    notice(
        f"run {run.name} is finished: {summary['epochs']} epochs{early}, "
        f"test accuracy {summary['test_accuracy']:.4f}, model in {run.model}. "
        f"To train it longer: {command(run.flagfile, *flags)}. --overwrite starts it anew."
    )
    return True


def kept_checkpoints(config: RunConfig) -> dict[str, Any]:
    """Which checkpoints of a run are kept: arguments of `mnist_keras.callbacks.Checkpoint`."""
    return {
        "keep": config.keep_checkpoints,
        "keep_best": config.keep_best_checkpoints,
        "keep_every_steps": config.keep_every_steps,
        "monitor": BEST_BY if config.validation_examples else None,
    }


def _stored_numbers(stored: Mapping[str, str]) -> dict[str, Any]:
    """The values in a recipe that `kept_checkpoints` reads."""
    names = ("keep_checkpoints", "keep_best_checkpoints", "keep_every_steps")
    return {name: int(stored[name]) for name in names if name in stored}


def _require_checkpoint_of(
    run: RunDirectory, config: RunConfig, summary: Mapping[str, Any], *, is_longer: bool
) -> None:
    """Refuse to continue a finished run that would have to be trained again from its beginning.

    Announces otherwise that a damaged model.keras is written again.

    Args:
        is_longer: whether the run is to train longer. Then any checkpoint will do.

    Raises:
        UsageError: the run is past the end that is asked for.
        MnistKerasError: the run's last checkpoint is not there.
    """
    newest, last = run.newest_step(), summary.get("steps")
    if newest is None or not (is_longer or newest == last):
        wrong = (
            "the finished run cannot be trained longer: its checkpoints are gone or damaged"
            if is_longer
            else f"{run.model} is damaged, and the run's last checkpoint is gone or damaged too"
        )
        raise MnistKerasError(
            f"{wrong}. Received: no undamaged checkpoint after {last} steps in "
            f"{run.checkpoints}. Expected: one, or --overwrite to start the run anew."
        )
    if is_longer:
        return
    if config.epochs < summary["epochs"]:
        require_steps(run, config, steps_per_epoch=-(-newest // summary["epochs"]))
    notice(f"{run.model} is damaged: it is written again from the run's last checkpoint.")


def _require_fitting(config: RunConfig, *, examples: int) -> None:
    """Refuse settings that ask for more images or steps than there are."""
    left = examples - config.validation_examples
    if left < 1:
        raise UsageError(
            "--validation_examples leaves no image to train on. "
            f"Received: {config.validation_examples}. Expected: less than {examples}."
        )
    if config.batch_size > left:
        raise UsageError(
            f"--batch_size is larger than the training set. Received: {config.batch_size}. "
            f"Expected: at most {left}, the number of training images."
        )
    steps = -(-left // config.batch_size) * config.epochs
    if config.warmup_steps is not None and config.warmup_steps >= steps:
        raise UsageError(
            f"--warmup_steps is longer than the training. Received: {config.warmup_steps}. "
            f"Expected: less than {steps}, the number of steps."
        )
    if config.profile_steps is not None and int(config.profile_steps.split("-")[0]) >= steps:
        raise UsageError(
            f"--profile_steps begins after the last step. Received: {config.profile_steps}. "
            f"Expected: a first step below {steps}, the number of steps."
        )


def _in_partitions(config: RunConfig, train_set: "Examples") -> "Examples":
    """The training images with the held-out ones last: the last ones of each partition."""
    from mnist_keras.data import Examples
    from mnist_keras.data.partitions import held_out_last, require_even

    partitions, held_out = config.data_partitions, config.validation_examples
    if partitions == 1:
        return train_set
    counts = {"images": len(train_set), "validation_examples": held_out}
    require_even(partitions, batch_size=config.batch_size, **counts)
    images, labels = held_out_last(
        train_set.images, train_set.labels, partitions=partitions, held_out=held_out
    )
    return Examples(images, labels, description=train_set.description)
