"""``--mode=train``: a run from its recipe to the trained network, resumed where it was left."""

import dataclasses
import math
import shlex
import sys

from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.quiet_tensorflow import import_tensorflow
from mnist_keras.run_directory import RunDirectory, run_directory


def train(config):
    """Train, or go on training, the run that a recipe names.

    Args:
        config: a `mnist_keras.config.RunConfig`.

    Raises:
        MnistKerasError: what stops it; the run's directory then holds what it held, and the
            checkpoints written since.
        Interrupted: after SIGINT or SIGTERM.
    """
    run = run_directory(config)
    stored = None
    if config.overwrite:
        run.require_run()
    else:
        stored = _matching_recipe(run, config)
        if stored is not None and _is_finished(run, config):
            return
        if stored is not None and config.dataset == "auto":
            config = dataclasses.replace(config, dataset=stored["dataset"])
    if stored is None and config.start_from is not None:
        _require_checkpoint(config)
    dataset, train_set, test_set = _load(config)
    config = dataclasses.replace(config, dataset=dataset)
    run.open()
    try:
        if config.overwrite:
            run.clear()
        # Another process may have begun this run since it was looked at.
        _matching_recipe(run, config)
        steps_per_epoch = -(-(len(train_set) - config.validation_examples) // config.batch_size)
        run.require_steps(config, steps_per_epoch=steps_per_epoch)
        run.store_recipe(config)
        _train_in(run, config, train_set, test_set)
    finally:
        run.close()


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


def _is_finished(run, config):
    summary = run.finished()
    if summary is None or summary["epochs"] < config.epochs:
        return False
    _notice(
        f"run {run.name} is finished: {summary['epochs']} epochs, "
        f"test accuracy {summary['test_accuracy']:.4f}, model in {run.model}. "
        "More --epochs extend it, --overwrite begins it anew."
    )
    return True


def _load(config):
    from mnist_keras.data import sources

    dataset, train_set, test_set = sources.resolve(config.dataset, data_dir=config.data_dir)
    left = len(train_set.labels) - config.validation_examples
    if left < 1:
        raise UsageError(
            f"--validation_examples leaves nothing to train on. Received: "
            f"{config.validation_examples}. Expected: less than {len(train_set.labels)}."
        )
    if config.batch_size > left:
        raise UsageError(
            f"--batch_size is over the data set. Received: {config.batch_size}. "
            f"Expected: at most {left}, the number of training images."
        )
    return dataset, train_set, test_set


def _train_in(run, config, train_set, test_set):
    import_tensorflow(quiet=not config.debug)
    from mnist_keras.callbacks import DivergedError, Interrupted
    from mnist_keras.callbacks.stopwatch import Stopwatch
    from mnist_keras.recipe import build_model

    stream, validation = _streams(config, train_set)
    if config.steps_per_execution != "auto":
        steps_per_execution = min(config.steps_per_execution, len(stream))
        config = dataclasses.replace(config, steps_per_execution=steps_per_execution)
    model = build_model(config, steps=len(stream) * config.epochs)
    print(
        "datasets:", (stream.examples, *train_set.images.shape[1:]), (stream.examples,), flush=True
    )
    _notice(
        f"run {run.path}: {config.epochs} epochs of {len(stream)} steps, "
        f"{model.steps_per_execution} steps per execution. Watch: "
        f"tensorboard --logdir={shlex.quote(str(run.path.parent))}"
    )
    stopwatch = Stopwatch()
    try:
        model.fit(
            stream,
            epochs=config.epochs,
            validation_data=validation,
            verbose=0,
            callbacks=[stopwatch, *_callbacks(run, config)],
        )
    except DivergedError as error:
        raise DivergedError(f"{error} {_at_a_lower_rate(run, config)}", error.step) from error
    except Interrupted:
        _notice(f"run {run.name} is interrupted. To go on: python main.py {_flagfile(run)}")
        raise
    _finish(run, config, model, stream, test_set, seconds=stopwatch.seconds)


def _streams(config, train_set):
    """What is trained on, and what is held out, or None."""
    from mnist_keras.data import batches

    held_out = config.validation_examples
    split = len(train_set) - held_out
    stream = batches(
        train_set.images[:split],
        train_set.labels[:split],
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
    )
    if not held_out:
        return stream, None
    images, labels = train_set.images[split:], train_set.labels[split:]
    return stream, batches(images, labels, batch_size=min(config.batch_size, held_out))


def _callbacks(run, config):
    from mnist_keras.callbacks import Checkpoint, DivergenceGuard, GracefulShutdown, StepLogger

    return [
        StepLogger(run.path, every_steps=config.log_every_steps),
        DivergenceGuard(),
        Checkpoint(
            run.checkpoints,
            every_steps=config.checkpoint_every_steps,
            every_minutes=config.checkpoint_every_minutes,
            keep=config.keep_checkpoints,
            keep_best=config.keep_best_checkpoints,
            keep_every_steps=config.keep_every_steps,
            monitor="val_loss" if config.validation_examples else None,
            start_from=config.start_from and RunDirectory(config.start_from).checkpoints,
            notice=_notice,
        ),
        GracefulShutdown(),
    ]


def _at_a_lower_rate(run, config):
    flags = f"--run_name={shlex.quote(f'{run.name}_lower_rate')} "
    flags += f"--learning_rate={config.learning_rate / 10:g}"
    if run.has_checkpoint():
        flags += f" --start_from={shlex.quote(str(run.path))}"
        kept = "The checkpoints are as they were; to go on from the newest"
    else:
        kept = "There is no checkpoint yet; to begin again"
    return f"{kept} at a lower rate: python main.py {_flagfile(run)} {flags}"


def _finish(run, config, model, stream, test_set, *, seconds):
    """Score the network, write model.keras and summary.json, and print the last line."""
    from mnist_keras.evaluation import print_scores, test_scores
    from mnist_keras.model_file import model_file

    test_loss, test_accuracy = test_scores(model, test_set)
    if not math.isfinite(test_loss):
        raise MnistKerasError(
            f"the trained network is of no use. Received: test loss {test_loss}. "
            "Expected: a finite one. A lower --learning_rate may help."
        )
    run.write_model(model_file(model.network))
    run.write_summary(
        {
            "dataset": config.dataset,
            "epochs": config.epochs,
            "steps": model.steps_trained,
            "seconds": round(seconds, 3),
            "images_per_second": round(config.epochs * stream.examples / seconds, 1),
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
        }
    )
    print_scores(test_loss, test_accuracy)
    _notice(f"model: {run.model}. Once more: python main.py --mode=evaluate {_flagfile(run)}")


def _flagfile(run):
    return f"--flagfile={shlex.quote(str(run.recipe))}"


def _notice(line):
    print(line, file=sys.stderr, flush=True)
