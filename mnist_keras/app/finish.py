"""The end of a run: the scores on the test set, model.keras, report.html and summary.json."""

import hashlib
import math
from typing import TYPE_CHECKING, Any

from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.console.terminal import command, notice
from mnist_keras.errors import MnistKerasError

if TYPE_CHECKING:
    from mnist_keras.app.train import Trained
    from mnist_keras.data import Examples
    from mnist_keras.distributed.strategy import SingleWorker
    from mnist_keras.distributed.workers import Workers
    from mnist_keras.model.tape_model import TapeModel


def finish(
    run: RunDirectory,
    config: RunConfig,
    workers: "Workers | SingleWorker",
    *,
    trained: "Trained",
    test_set: "Examples",
    examples: int,
) -> None:
    """Score the network, write its files and print the last line. Every worker calls it.

    Args:
        run: the run, opened.
        config: its settings; ``dataset`` is the one that was found.
        workers: the `mnist_keras.distributed.workers.Workers` that trained together, or
            `mnist_keras.distributed.strategy.SingleWorker`.
        trained: a `mnist_keras.app.train.Trained`.
        test_set: a `mnist_keras.data.Examples`.
        examples: training images in an epoch.

    Raises:
        MnistKerasError: the loss on the test set is not finite, or a file cannot be written.
    """
    from mnist_keras.app.evaluate import test_scores

    model, seconds, epochs = trained.model, trained.seconds, trained.epochs
    test_loss, test_accuracy = test_scores(model, test_set)
    if not math.isfinite(test_loss):
        raise MnistKerasError(
            f"the test loss of the trained network is not finite. Received: {test_loss}. "
            "Expected: a finite one. A lower --learning_rate may help."
        )
    summary = {
        "dataset": config.dataset,
        "epochs": epochs,
        **({"stopped_early": True} if trained.stopped_early else {}),
        "steps": model.steps_trained,
        "seconds": round(seconds, 3),
        "images_per_second": round(epochs * examples / seconds, 1),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }
    # The other workers end when this has succeeded, and fail if it fails.
    workers.on_chief(lambda: _write(run, config, model, test_set, summary))


def _write(
    run: RunDirectory,
    config: RunConfig,
    model: "TapeModel",
    test_set: "Examples",
    summary: dict[str, Any],
) -> None:
    from mnist_keras.app import dashboards
    from mnist_keras.app.evaluate import print_scores
    from mnist_keras.app.model_file import model_file

    test_loss, test_accuracy = summary["test_loss"], summary["test_accuracy"]
    data = model_file(model.network, near=run.model)
    run.write_model(data)
    dashboards.write_scores(run, step=model.steps_trained, loss=test_loss, accuracy=test_accuracy)
    if config.report:
        _write_report(run, config, model, test_set, summary)
    run.write_summary({**summary, "model_sha256": hashlib.sha256(data).hexdigest()})
    print_scores(test_loss, test_accuracy)
    if config.report:
        notice(f"report: {run.report}")
    notice(f"model: {run.model}. To score it again: {command('--mode=evaluate', run.flagfile)}")


def _write_report(
    run: RunDirectory,
    config: RunConfig,
    model: "TapeModel",
    test_set: "Examples",
    summary: dict[str, Any],
) -> None:
    from mnist_keras.app.report import render, run_facts
    from mnist_keras.callbacks.tensorboard.exam import Exam

    exam = Exam(
        test_set.images, test_set.labels, most=len(test_set), description=test_set.description
    )
    run.write_report(render(run_facts(run, config, model=model, exam=exam, summary=summary)))
