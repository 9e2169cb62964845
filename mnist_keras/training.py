"""``--mode=train``: a run from its recipe to the trained network, resumed where it was left."""

import dataclasses
import math
import shlex
import sys

from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.quiet_tensorflow import import_tensorflow
from mnist_keras.run_directory import run_directory


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
    if config.overwrite:
        run.require_run()
    else:
        stored = _matching_recipe(run, config)
        if stored is not None and _is_finished(run, config):
            return
        if stored is not None and config.dataset == "auto":
            config = dataclasses.replace(config, dataset=stored["dataset"])
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
    from mnist_keras.callbacks import Checkpoint, GracefulShutdown, Interrupted, StepLogger
    from mnist_keras.callbacks.divergence_guard import DivergenceGuard
    from mnist_keras.callbacks.stopwatch import Stopwatch
    from mnist_keras.data import batches
    from mnist_keras.evaluation import print_scores, test_scores
    from mnist_keras.model_file import model_file
    from mnist_keras.recipe import build_model

    held_out = config.validation_examples
    split = len(train_set.labels) - held_out
    stream = batches(
        train_set.images[:split],
        train_set.labels[:split],
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
    )
    validation = None
    if held_out:
        validation = batches(
            train_set.images[split:],
            train_set.labels[split:],
            batch_size=min(config.batch_size, held_out),
        )
    if config.steps_per_execution != "auto":
        steps_per_execution = min(config.steps_per_execution, len(stream))
        config = dataclasses.replace(config, steps_per_execution=steps_per_execution)
    model = build_model(config, steps=len(stream) * config.epochs)
    print("datasets:", train_set.images[:split].shape, train_set.labels[:split].shape, flush=True)
    _notice(
        f"run {run.path}: {config.epochs} epochs of {len(stream)} steps, "
        f"{model.steps_per_execution} steps per execution. Watch: "
        f"tensorboard --logdir={shlex.quote(str(run.path.parent))}"
    )
    stopwatch = Stopwatch()
    callbacks = [
        stopwatch,
        StepLogger(run.path, every_steps=config.log_every_steps),
        DivergenceGuard(advice="A lower --learning_rate may help; the checkpoints are kept."),
        Checkpoint(
            run.checkpoints,
            every_steps=config.checkpoint_every_steps,
            keep=config.keep_checkpoints,
            monitor="val_loss" if held_out else None,
            notice=_notice,
        ),
        GracefulShutdown(),
    ]
    flagfile = f"--flagfile={shlex.quote(str(run.recipe))}"
    try:
        model.fit(
            stream,
            epochs=config.epochs,
            validation_data=validation,
            verbose=0,
            callbacks=callbacks,
        )
    except Interrupted:
        _notice(f"run {run.name} is interrupted. To go on: python main.py {flagfile}")
        raise
    test_loss, test_accuracy = test_scores(model, test_set)
    if not math.isfinite(test_loss):
        raise MnistKerasError(
            f"the trained network is of no use. Received: test loss {test_loss}. "
            "Expected: a finite one. A lower --learning_rate may help."
        )
    run.write_model(model_file(model.network))
    images = config.epochs * stream.examples
    run.write_summary(
        {
            "dataset": config.dataset,
            "epochs": config.epochs,
            "steps": model.steps_trained,
            "seconds": round(stopwatch.seconds, 3),
            "images_per_second": round(images / stopwatch.seconds, 1),
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
        }
    )
    print_scores(test_loss, test_accuracy)
    _notice(f"model: {run.model}. Once more: python main.py --mode=evaluate {flagfile}")


def _notice(line):
    print(line, file=sys.stderr, flush=True)
