"""``--mode=train``: a run from its recipe to the trained network, resumed where it was left."""

import contextlib
import dataclasses
import gc
import math
from typing import Any

from mnist_keras.app import batch_parts
from mnist_keras.app.run_directory import RunDirectory, run_directory
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import command, notice, tensorboard_command
from mnist_keras.distributed import strategy as strategies
from mnist_keras.errors import MnistKerasError, UsageError


def train(config):
    """Train, or go on training, the run that a recipe names.

    Args:
        config: a `mnist_keras.app.config.RunConfig`.

    Raises:
        MnistKerasError: what stops it; the run's directory then holds what it held, and the
            checkpoints written since.
        Interrupted: after SIGINT or SIGTERM.
    """
    cluster = strategies.find_cluster(config)
    if cluster is None:
        _train(config, strategies.Alone())
        return
    # What TensorFlow says of a lost worker is said in one line here.
    import_tensorflow(quiet=not config.debug, silent=not config.debug)
    with strategies.one_for_all(cluster):
        strategy = strategies.join(cluster)
        from mnist_keras.distributed.workers import Workers

        _train(config, Workers(strategy), strategy=strategy)


def _train(config, workers, *, strategy=None):
    run = run_directory(config)
    workers.require_same("flags", _common_flags(config))
    begun = workers.on_chief(lambda: _begin(run, config))
    if begun is None:
        return
    config = dataclasses.replace(config, **begun)
    data = _load(config, workers)
    config = dataclasses.replace(config, dataset=data.name)
    try:
        examples = len(data.train) - config.validation_examples
        workers.on_chief(lambda: _open(run, config, examples=examples))
        _train_in(run, config, workers, strategy, data)
    finally:
        run.close()


def _common_flags(config):
    """Those that have to be the same on all workers."""
    own = ("data_dir", "logdir", "run_name", "start_from", "debug")  # Paths, and what is shown.
    return {name: value for name, value in vars(config).items() if name not in own}


def _begin(run, config):
    """What "auto" comes to in a run, {flag: value}; None: the run is finished."""
    stored = None
    if config.overwrite:
        run.require_run()
    else:
        stored = _matching_recipe(run, config)
        if stored is not None and _is_finished(run, config):
            return None
    if stored is None and config.start_from is not None:
        _require_checkpoint(config)
    return _as_begun(config, stored)


def _open(run, config, *, examples):
    """Take the run's directory, with ``examples`` images to train on, and store the recipe."""
    run.open()
    if config.overwrite:
        run.clear()
    # Another process may have begun this run since it was looked at.
    _matching_recipe(run, config)
    run.require_steps(config, steps_per_epoch=-(-examples // config.batch_size))
    run.store_recipe(config)


def _require_checkpoint(config):
    if not RunDirectory(config.start_from).has_checkpoint():
        raise UsageError(
            f"--start_from has no checkpoint. Received: {config.start_from}. "
            "Expected: the directory of a run that has saved one."
        )


def _matching_recipe(run, config):
    stored = run.stored_recipe()
    if stored is not None:
        run.check_recipe(config, stored)
    return stored


def _as_begun(config, stored):
    """What "auto" came to when the run was begun, or comes to now, {flag: value}."""
    dataset, parts = config.dataset, config.batch_parts
    if stored is not None and dataset == "auto":
        dataset = stored["dataset"]
    if stored is not None and parts == "auto" and stored["batch_parts"] != "auto":
        parts = int(stored["batch_parts"])
    if parts == "auto":
        is_shared = strategies.shares_batches(config)
        size = 1 if is_shared else config.batch_size
        parts = batch_parts.choose(network=config.network, batch_size=size)
    return {"dataset": dataset, "batch_parts": parts}


def _is_finished(run, config):
    summary = run.finished()
    if summary is None or summary["epochs"] < config.epochs:
        return False
    longer = command(_flagfile(run), f"--epochs={2 * summary['epochs']}")
    notice(
        f"run {run.name} is finished: {summary['epochs']} epochs, "
        f"test accuracy {summary['test_accuracy']:.4f}, model in {run.model}. "
        f"To go on for longer: {longer}. --overwrite begins it anew."
    )
    return True


@dataclasses.dataclass
class _Data:
    """A resolved data set whose training half can be released."""

    name: str
    train: Any
    test: Any


def _load(config, workers):
    """The `_Data` of the data set that the chief finds."""
    from mnist_keras.data.datasets import catalog

    loaded: list[Any] = []

    def resolve(dataset):
        loaded[:] = catalog.resolve(dataset, data_dir=config.data_dir)
        return loaded[0]

    found = workers.on_chief(lambda: resolve(config.dataset))
    if not workers.is_chief:
        resolve(found)
    data = _Data(*loaded)
    left = len(data.train) - config.validation_examples
    if left < 1:
        raise UsageError(
            f"--validation_examples leaves nothing to train on. Received: "
            f"{config.validation_examples}. Expected: less than {len(data.train)}."
        )
    if config.batch_size > left:
        raise UsageError(
            f"--batch_size is over the data set. Received: {config.batch_size}. "
            f"Expected: at most {left}, the number of training images."
        )
    steps = -(-left // config.batch_size) * config.epochs
    if config.warmup_steps is not None and config.warmup_steps >= steps:
        raise UsageError(
            f"--warmup_steps is over the whole training. Received: {config.warmup_steps}. "
            f"Expected: less than {steps}, its steps."
        )
    if config.profile_steps is not None and int(config.profile_steps.split("-")[0]) >= steps:
        raise UsageError(
            f"--profile_steps begins after the whole training. Received: {config.profile_steps}. "
            f"Expected: a first step below {steps}, the number of its steps."
        )
    data.train = _in_partitions(config, data.train)
    return data


def _in_partitions(config, train_set):
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


def _train_in(run, config, workers, strategy, data):
    if not workers.are_several:
        import_tensorflow(quiet=not config.debug, parts=config.batch_parts)
        strategy = strategies.local_strategy(config)
    from mnist_keras.app.recipe import build_model
    from mnist_keras.callbacks import DivergedError, Interrupted
    from mnist_keras.callbacks.stopwatch import Stopwatch

    stream, validation = streams(config, data.train)
    if config.steps_per_execution != "auto":
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
            notice(f"run {run.name} is interrupted. To go on: {command(_flagfile(run))}")
        raise
    examples = stream.examples
    # The training images have done their work.
    del stream, watchers
    model.train_function = None
    gc.collect()
    _finish(run, config, workers, model, data.test, examples=examples, seconds=stopwatch.seconds)


def _announce(run, config, model, stream, *, images_shape):
    print("datasets:", (stream.examples, *images_shape), (stream.examples,), flush=True)
    replicas = model.distribute_strategy.num_replicas_in_sync
    shared = f" {replicas} replicas share each batch." if replicas > 1 else ""
    notice(
        f"run {run.path}: {config.epochs} epochs of {len(stream)} steps, "
        f"{model.steps_per_execution} steps per execution.{shared} "
        f"Watch: {tensorboard_command(run.path.parent)}"
    )


def streams(config, train_set):
    """What a recipe trains on, and what it holds out, or None: two `BatchStream`s."""
    from mnist_keras.app.recipe import augmentation
    from mnist_keras.data import batches

    held_out = config.validation_examples
    split = len(train_set) - held_out
    stream = batches(
        train_set.images[:split],
        train_set.labels[:split],
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
        augmentation=augmentation(config),
        partitions=config.data_partitions,
        description=train_set.description,
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


def callbacks(run, config, *, stream, train_set):
    """The callbacks of a run, all but its stopwatch; arguments as for `dashboards.callbacks`."""
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
    return [
        *averaged,
        StepLogger(run.path, every_steps=config.log_every_steps),
        DivergenceGuard(),
        Progress(),
        Checkpoint(
            run.checkpoints,
            every_steps=config.checkpoint_every_steps,
            every_minutes=config.checkpoint_every_minutes,
            keep=config.keep_checkpoints,
            keep_best=config.keep_best_checkpoints,
            keep_every_steps=config.keep_every_steps,
            monitor="val_loss" if config.validation_examples else None,
            start_from=config.start_from and RunDirectory(config.start_from).checkpoints,
            notice=notice,
        ),
        GracefulShutdown(),
        *dashboards.callbacks(run, config, stream=stream, train_set=train_set),
    ]


def _at_a_lower_rate(run, config):
    flags = [f"--run_name={run.name}_lower_rate", f"--learning_rate={config.learning_rate / 10:g}"]
    if run.has_checkpoint():
        flags.append(f"--start_from={run.path}")
        kept = "The checkpoints are as they were; to go on from the newest"
    else:
        kept = "There is no checkpoint yet; to begin again"
    return f"{kept} at a lower rate: {command(_flagfile(run), *flags)}"


def _finish(run, config, workers, model, test_set, *, examples, seconds):
    """Score the network, write model.keras and summary.json, and print the last line."""
    from mnist_keras.app.evaluate import test_scores

    test_loss, test_accuracy = test_scores(model, test_set)
    if not math.isfinite(test_loss):
        raise MnistKerasError(
            f"the trained network is of no use. Received: test loss {test_loss}. "
            "Expected: a finite one. A lower --learning_rate may help."
        )
    summary = {
        "dataset": config.dataset,
        "epochs": config.epochs,
        "steps": model.steps_trained,
        "seconds": round(seconds, 3),
        "images_per_second": round(config.epochs * examples / seconds, 1),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }
    # The others end when this is done, and not well if it fails.
    workers.on_chief(lambda: _write(run, config, model, test_set, summary))


def _write(run, config, model, test_set, summary):
    from mnist_keras.app import dashboards
    from mnist_keras.app.evaluate import print_scores
    from mnist_keras.app.model_file import model_file

    test_loss, test_accuracy = summary["test_loss"], summary["test_accuracy"]
    run.write_model(model_file(model.network))
    dashboards.write_scores(run, step=model.steps_trained, loss=test_loss, accuracy=test_accuracy)
    if config.report:
        _write_report(run, config, model, test_set, summary)
    run.write_summary(summary)
    print_scores(test_loss, test_accuracy)
    if config.report:
        notice(f"report: {run.report}")
    notice(f"model: {run.model}. Once more: {command('--mode=evaluate', _flagfile(run))}")


def _write_report(run, config, model, test_set, summary):
    from mnist_keras.app.report import render, run_facts
    from mnist_keras.callbacks.tensorboard.exam import Exam

    exam = Exam(
        test_set.images,
        test_set.labels,
        most=len(test_set),
        description=test_set.description,
    )
    run.write_report(render(run_facts(run, config, model=model, exam=exam, summary=summary)))


def _flagfile(run):
    return f"--flagfile={run.recipe}"
