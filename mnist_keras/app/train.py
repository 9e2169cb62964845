"""``--mode=train``: prepare a run, train it, finish it. The same command resumes it."""

import contextlib
import dataclasses
import gc
from typing import TYPE_CHECKING, Any, NamedTuple

from mnist_keras.app import prepare, sinks
from mnist_keras.app.config import RunConfig
from mnist_keras.app.finish import finish
from mnist_keras.app.run_directory import RunDirectory, run_directory
from mnist_keras.app.setting import settings
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import command, notice, print_line, tensorboard_command
from mnist_keras.distributed import strategy as strategies

if TYPE_CHECKING:
    from mnist_keras.data import Examples
    from mnist_keras.data.stream import BatchStream
    from mnist_keras.distributed.workers import Workers

_BEST_BY = "val_loss"


class Trained(NamedTuple):
    """What a training has come to.

    Attributes:
        model: the trained `mnist_keras.model.tape_model.TapeModel`.
        seconds: that the training took, over all sessions.
        epochs: that were trained, over all sessions.
        stopped_early: whether it ended for lack of improvement.
    """

    model: Any
    seconds: float
    epochs: int
    stopped_early: bool


def train(config: RunConfig) -> None:
    """Train the run that a config names, or resume it.

    Args:
        config: the settings of the run.

    Raises:
        MnistKerasError: what stops it. The run's directory then holds its former files and the
            checkpoints written since.
        Interrupted: after SIGINT or SIGTERM.
    """
    cluster = strategies.find_cluster(config)
    if cluster is None:
        _train(config, strategies.SingleWorker())
        return
    # fail_together reports a lost worker in one line, instead of TensorFlow's messages.
    import_tensorflow(quiet=not config.debug, silent=not config.debug)
    with strategies.fail_together(cluster):
        strategy = strategies.join(cluster)
        from mnist_keras.distributed.workers import Workers

        _train(config, Workers(strategy), strategy=strategy)


def _train(
    config: RunConfig, workers: "Workers | strategies.SingleWorker", *, strategy: Any = None
) -> None:
    sinks.require_packages(config)
    run = run_directory(config)
    workers.require_same("flags", _shared_flags(config))
    resolved = workers.on_chief(lambda: prepare.resolve_auto(run, config))
    if resolved is None:
        return
    config = dataclasses.replace(config, **resolved)
    data = prepare.load(config, workers)
    config = dataclasses.replace(config, dataset=data.name)
    try:
        examples = len(data.train) - config.validation_examples
        workers.on_chief(lambda: prepare.open_run(run, config, examples=examples))
        if not workers.are_several:
            import_tensorflow(quiet=not config.debug, parts=config.batch_parts)
            strategy = strategies.local_strategy(config)
        trained = _fit(run, config, workers, strategy=strategy, data=data)
        gc.collect()  # The training images are no longer needed.
        finish(
            run,
            config,
            workers,
            trained=trained,
            test_set=data.test,
            examples=examples,
        )
    finally:
        run.close()


def _shared_flags(config: RunConfig) -> dict[str, Any]:
    """The flags that must be the same on all workers."""
    shared = (it.name for it in settings(RunConfig).values() if it.is_same_on_all_workers)
    return {name: getattr(config, name) for name in shared}


def _fit(
    run: RunDirectory,
    config: RunConfig,
    workers: "Workers | strategies.SingleWorker",
    *,
    strategy: Any,
    data: prepare.Data,
) -> Trained:
    """Train the model. Releases ``data.train``."""
    from mnist_keras.app.recipe import build_model
    from mnist_keras.callbacks import DivergedError, Interrupted
    from mnist_keras.callbacks.stopwatch import Stopwatch

    stream, validation = prepare.streams(config, data.train)
    if isinstance(config.steps_per_execution, int):
        steps_per_execution = min(config.steps_per_execution, len(stream))
        config = dataclasses.replace(config, steps_per_execution=steps_per_execution)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build_model(config, steps=len(stream) * config.epochs)
    if workers.is_chief:
        _announce(run, config, model, stream, images_shape=data.train.images.shape[1:])
    stopwatch = Stopwatch()
    watchers = callbacks(run, config, stream=stream, train_set=data.train)
    data.train = None  # The stream has the images.
    try:
        model.fit(
            stream,
            epochs=config.epochs,
            validation_data=validation,
            verbose=0,
            callbacks=[stopwatch, *watchers],
        )
    except DivergedError as error:
        if not workers.is_chief:
            raise
        raise DivergedError(f"{error} {_at_a_lower_rate(run, config)}", error.step) from error
    except Interrupted:
        if workers.is_chief:
            notice(f"run {run.name} is interrupted. To resume: {command(run.flagfile)}")
        raise
    model.train_function = None  # It refers to the stream.
    epochs = _stopped_after(watchers)
    if epochs and workers.is_chief:
        notice(
            f"run {run.name} was stopped early, after {epochs} of {config.epochs} epochs: the "
            "loss on --validation_examples was no lower in the last "
            f"--early_stopping_patience={config.early_stopping_patience} epochs."
        )
    return Trained(model, stopwatch.seconds, epochs or config.epochs, stopped_early=epochs > 0)


def _stopped_after(callbacks: list[Any]) -> int:
    """Epochs after which the training was stopped early, or 0."""
    from keras.callbacks import EarlyStopping

    stoppers = [it for it in callbacks if isinstance(it, EarlyStopping) and it.stopped_epoch]
    return 1 + stoppers[0].stopped_epoch if stoppers else 0


def _announce(
    run: RunDirectory,
    config: RunConfig,
    model: Any,
    stream: "BatchStream",
    *,
    images_shape: tuple[int, ...],
) -> None:
    print_line("datasets:", (stream.examples, *images_shape), (stream.examples,))
    replicas = model.distribute_strategy.num_replicas_in_sync
    shared = f" {replicas} replicas share each batch." if replicas > 1 else ""
    notice(
        f"run {run.path}: {config.epochs} epochs of {len(stream)} steps, "
        f"{model.steps_per_execution} steps per execution.{shared} "
        f"Watch: {tensorboard_command(run.path.parent)}"
    )


def callbacks(
    run: RunDirectory, config: RunConfig, *, stream: "BatchStream", train_set: "Examples"
) -> list[Any]:
    """The callbacks of a run except its stopwatch; arguments as for `dashboards.callbacks`."""
    from keras.callbacks import EarlyStopping

    from mnist_keras.app import dashboards
    from mnist_keras.callbacks import (
        AveragedWeights,
        Checkpoint,
        DivergenceGuard,
        GracefulShutdown,
        Progress,
        StepLogger,
    )

    averaged = [] if config.average_decay is None else [AveragedWeights()]
    patience = config.early_stopping_patience
    return [
        *averaged,
        *([EarlyStopping(_BEST_BY, mode="min", patience=patience)] if patience else []),
        StepLogger(run.path, every_steps=config.log_every_steps, sinks=sinks.sinks(run, config)),
        DivergenceGuard(),
        Progress(),
        Checkpoint(
            run.checkpoints,
            every_steps=config.checkpoint_every_steps,
            every_minutes=config.checkpoint_every_minutes,
            keep=config.keep_checkpoints,
            keep_best=config.keep_best_checkpoints,
            keep_every_steps=config.keep_every_steps,
            monitor=_BEST_BY if config.validation_examples else None,
            start_from=config.start_from and RunDirectory(config.start_from).checkpoints,
            notice=notice,
        ),
        GracefulShutdown(),
        *dashboards.callbacks(run, config, stream=stream, train_set=train_set),
    ]


def _at_a_lower_rate(run: RunDirectory, config: RunConfig) -> str:
    """What to do after a training that diverged: a sentence with a command line."""
    flags = [f"--run_name={run.name}_lower_rate", f"--learning_rate={config.learning_rate / 10:g}"]
    if run.steps_saved():
        flags.append(f"--start_from={run.path}")
        kept = "The checkpoints are unchanged. To continue from the newest"
    else:
        kept = "There is no checkpoint yet. To start again"
    return f"{kept} at a lower rate: {command(run.flagfile, *flags)}"
