"""``--mode=train``: a run from its recipe to the trained network, resumed where it was left."""

import dataclasses
import sys

from mnist_keras.errors import UsageError
from mnist_keras.quiet_tensorflow import import_tensorflow
from mnist_keras.run_directory import run_directory
from mnist_keras.state import storage


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
    stored = None if config.overwrite else run.stored_recipe()
    if stored is not None:
        run.check_recipe(config, stored)
        summary = run.read_summary()
        if summary is not None and summary["epochs"] >= config.epochs:
            _notice(
                f"run {run.name} is finished: {summary['epochs']} epochs, "
                f"test accuracy {summary['test_accuracy']:.4f}, model in {run.model}. "
                "More --epochs extend it, --overwrite begins it anew."
            )
            return
        if config.dataset == "auto":
            config = dataclasses.replace(config, dataset=stored["dataset"])
    dataset, train_set, test_set = _load(config)
    config = dataclasses.replace(config, dataset=dataset)
    run.open()
    try:
        if config.overwrite:
            run.clear()
        run.store_recipe(config)
        _train_in(run, config, train_set, test_set)
    finally:
        run.close()


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
    if not config.debug:
        import_tensorflow()
    from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
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
    steps = len(stream) * config.epochs
    model = build_model(config, steps=steps)
    print("datasets:", train_set.images[:split].shape, train_set.labels[:split].shape, flush=True)
    _notice(
        f"run {run.path}: {config.epochs} epochs of {len(stream)} steps, "
        f"{model.steps_per_execution} steps per execution. Watch: tensorboard --logdir "
        f"{run.path.parent}"
    )
    stopwatch = Stopwatch()
    model.fit(
        stream,
        epochs=config.epochs,
        validation_data=validation,
        verbose=0,
        callbacks=[
            stopwatch,
            StepLogger(run.path, every_steps=config.log_every_steps),
            Checkpoint(
                run.checkpoints,
                every_steps=config.checkpoint_every_steps,
                keep=config.keep_checkpoints,
                monitor="val_loss" if held_out else None,
                notice=_notice,
            ),
            GracefulShutdown(),
        ],
    )
    test_loss, test_accuracy = test_scores(model, test_set)
    storage.write_file(run.model, model_file(model.network))
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
    _notice(f"model: {run.model}. Once more: python main.py --mode=evaluate --run_name={run.name}")


def _notice(line):
    print(line, file=sys.stderr, flush=True)
