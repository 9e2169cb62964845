"""The callbacks and scores for TensorBoard, besides the loss and the metrics."""

import dataclasses

import numpy as np

from mnist_keras.app.resume_rules import training_recipe
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.data.sharded import those_here

_RUN = "."
_BATCH_SIZE = 200
_EXAM_IMAGES = 500  # More would take longer and show little more.


def callbacks(run, config, *, stream, train_set):
    """The callbacks that a recipe asks for.

    Args:
        run: a `mnist_keras.app.run_directory.RunDirectory`.
        config: a `mnist_keras.app.config.RunConfig`.
        stream: the training stream, a `mnist_keras.data.stream.BatchStream`.
        train_set: the training `mnist_keras.data.Examples`, with the held-out examples last. The
            model is tested on the held-out examples, or on the training examples if there are none.
    """
    held_out = config.validation_examples
    begin, name = (-held_out, "held-out images") if held_out else (0, "training images")
    x, y = those_here(train_set.images[begin:], train_set.labels[begin:])
    exam = Exam(x, y, name=name, most=_EXAM_IMAGES, description=train_set.description)
    return [
        *_of_the_run(run.path, config),
        *_of_the_numbers(run.path, config, train_set),
        *_pictures(run.path, config, exam, stream, names=train_set.description.class_names),
        *_of_the_answers(run.path, config, exam),
    ]


def write_scores(run, *, step, loss, accuracy):
    """Write the scores on the test set for TensorBoard, at ``step``."""
    # The log is cut from step + 1 on, so all points at the last step stay.
    log = EventLog(run.path, step=step + 1, only=_RUN)
    for tag, value in {"test_loss": loss, "test_accuracy": accuracy}.items():
        if not log.has(_RUN, tag):
            log.scalar(_RUN, tag, value, step)
    log.close()


def _of_the_run(logdir, config):
    """The settings and the graph of the run, written once."""
    from mnist_keras.callbacks.tensorboard.chart_layout import ChartLayout
    from mnist_keras.callbacks.tensorboard.hparams import HParams
    from mnist_keras.callbacks.tensorboard.network_graph import NetworkGraph
    from mnist_keras.callbacks.tensorboard.run_text import RunText

    if config.run_text:
        yield RunText(logdir, dataclasses.asdict(config))
    if config.hparams:
        yield HParams(logdir, training_recipe(config))
    if config.network_graph:
        yield NetworkGraph(logdir)
    if config.chart_layout:
        yield ChartLayout(logdir)


def _of_the_numbers(logdir, config, train_set):
    """Weights, gradients, and the use of the machine."""
    from mnist_keras.callbacks.tensorboard.histograms import Histograms
    from mnist_keras.callbacks.tensorboard.memory_usage import MemoryUsage
    from mnist_keras.callbacks.tensorboard.profiler import Profiler
    from mnist_keras.callbacks.tensorboard.weight_norms import WeightNorms

    if config.weight_norms_every_epochs:
        yield WeightNorms(logdir, every_epochs=config.weight_norms_every_epochs)
    if config.memory_usage:
        yield MemoryUsage(logdir)
    if config.histograms_every_epochs:
        images, labels = those_here(train_set.images[:_BATCH_SIZE], train_set.labels[:_BATCH_SIZE])
        description = train_set.description
        x = description.preprocess(np.asarray(images))
        y = np.eye(description.classes, dtype=np.float32)[labels]
        yield Histograms(logdir, (x, y), every_epochs=config.histograms_every_epochs)
    if config.profile_steps is not None:
        first, _, last = config.profile_steps.partition("-")
        yield Profiler(logdir, first=int(first), last=int(last))


def _pictures(logdir, config, exam, stream, *, names):
    if not config.pictures_every_epochs:
        return
    from mnist_keras.callbacks.tensorboard.class_scores import ClassScores
    from mnist_keras.callbacks.tensorboard.confusion_matrix import ConfusionMatrix
    from mnist_keras.callbacks.tensorboard.first_layer_weights import FirstLayerWeights
    from mnist_keras.callbacks.tensorboard.input_sample import InputSample
    from mnist_keras.callbacks.tensorboard.mistakes import Mistakes

    every = {"every_epochs": config.pictures_every_epochs}
    yield Mistakes(logdir, exam, **every)
    yield ConfusionMatrix(logdir, exam, **every)
    yield ClassScores(logdir, exam, **every)
    yield InputSample(
        logdir, lambda: stream.batch(stream.window(0, 1)[0], 0), class_names=names, **every
    )
    yield FirstLayerWeights(logdir, **every)


def _of_the_answers(logdir, config, exam):
    if config.pr_curves_every_epochs:
        from mnist_keras.callbacks.tensorboard.pr_curves import PRCurves

        yield PRCurves(logdir, exam, every_epochs=config.pr_curves_every_epochs)
    if config.projector:
        from mnist_keras.callbacks.tensorboard.projector import Projector

        yield Projector(logdir, exam, every_epochs=config.pictures_every_epochs or 1)
