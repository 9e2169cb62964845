"""``--mode=find_learning_rate``: a learning rate for a recipe, from a sweep that trains no run."""

import contextlib
import dataclasses
import math
from typing import Any

from mnist_keras.app import prepare
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory, run_directory
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import notice, print_line, tensorboard_command
from mnist_keras.distributed import strategy as strategies
from mnist_keras.errors import MnistKerasError, UsageError

_UPDATES = 200


def find_learning_rate(config: RunConfig) -> None:
    """Print the learning rate that `mnist_keras.callbacks.LearningRateFinder` suggests.

    Network, data, optimizer, loss and batch size are those of the recipe; its learning rate and its
    schedule do not matter. Only ``sweeps/`` in the run's directory is written, so that a run of
    this name is not changed.

    Args:
        config: the settings of the recipe.

    Raises:
        UsageError: there are several workers, or ``start_from`` has no checkpoint.
        MnistKerasError: no rate can be suggested, or the run's directory cannot be written.
    """
    if strategies.find_cluster(config) is not None:
        raise UsageError(
            "--mode=find_learning_rate runs on one machine. Received: several workers. "
            "Expected: --distribution=mirrored or one_device."
        )
    prepare.require_checkpoint(config)
    data = prepare.load(config, strategies.SingleWorker())
    run = run_directory(config)
    run.make()
    parts: Any = config.batch_parts
    config = dataclasses.replace(
        config,
        dataset=data.name,
        batch_parts=prepare.fastest_parts(config) if parts == "auto" else parts,
    )
    import_tensorflow(quiet=not config.debug, parts=config.batch_parts)
    rate, reason = _sweep(run, config, data)
    from mnist_keras.callbacks.tensorboard import sweep_log

    watch = tensorboard_command(run.path.parent)
    notice(f"the loss at each rate: {sweep_log.picture_file(run.path)}. Watch: {watch}")
    if rate is None:
        raise MnistKerasError(reason)
    print_line(f"suggested learning rate: {rate:.2g}")
    notice(f"to train with it: --learning_rate={rate:.2g} instead of --mode=find_learning_rate")


def _sweep(run: RunDirectory, config: RunConfig, data: prepare.Data) -> tuple[float | None, str]:
    """The suggested rate; or None and the reason for that."""
    from mnist_keras.app.recipe import build_model
    from mnist_keras.callbacks import LearningRateFinder, Progress, load_weights

    strategy = strategies.local_strategy(config)
    stream, _ = prepare.streams(config, data.train)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build_model(config, steps=len(stream) * config.epochs)
    if config.start_from is not None:
        load_weights(model, RunDirectory(config.start_from).checkpoints)
    reasons: list[str] = []
    steps = _UPDATES * config.gradient_accumulation_steps
    finder = LearningRateFinder(run.path, steps=steps, notice=reasons.append)
    notice(f"a sweep of {steps} steps on {data.name}, from the smallest learning rate on")
    epochs = math.ceil(steps / len(stream))
    model.fit(stream, epochs=epochs, verbose=0, callbacks=[finder, Progress()])
    return finder.suggested_rate, "".join(reasons)
