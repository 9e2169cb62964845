"""The facts in the report of a run: from its files and from its model's predictions."""

import base64
import dataclasses

import numpy as np
from PIL import Image

from mnist_keras.app.config import RunConfig
from mnist_keras.app.report.curves import chart
from mnist_keras.app.resume_rules import training_recipe
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.confusion_matrix import count, precision_and_recall
from mnist_keras.callbacks.tensorboard.event_log import read_scalars
from mnist_keras.callbacks.tensorboard.machine import machine, versions

_MOST_MISTAKES = 30


def run_facts(run, config, *, model, exam, summary):
    """Everything that the page shows, {name: value}.

    Args:
        run: a `mnist_keras.app.run_directory.RunDirectory`.
        config: its `mnist_keras.app.config.RunConfig`.
        model: the trained model.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam` of the test set.
        summary: the content of summary.json.
    """
    probabilities = exam.probabilities(model, summary["steps"])
    guesses = probabilities.argmax(-1)
    counts = count(exam.labels, guesses, classes=probabilities.shape[1])
    precision, recall = precision_and_recall(counts)
    return {
        "name": run.name,
        "summary": summary,
        "charts": _charts(run.path),
        "counts": counts.tolist(),
        "shades": (counts / np.maximum(counts.sum(1, keepdims=True), 1)).tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "class_names": exam.class_names(len(counts)),
        "mistakes": _mistakes(exam, probabilities, guesses),
        "examples": len(exam),
        "recipe": _recipe(config),
        "versions": versions(),
        "machine": machine(),
    }


def _charts(logdir):
    train, validation = (read_scalars(logdir, part) for part in ("train", "validation"))
    rates = train.get("learning_rate", [])
    is_constant = len({rate for _, rate in rates}) < 2
    charts = [
        chart("loss of single batches, by step", {"train": train.get("loss", [])}),
        *(
            chart(
                f"{name} of each epoch, by step",
                {
                    "train": train.get(f"epoch_{name}", []),
                    "held out": validation.get(f"epoch_{name}", []),
                },
            )
            for name in ("loss", "accuracy")
        ),
        chart("learning rate, by step", {"train": [] if is_constant else rates}),
    ]
    return [it for it in charts if it is not None]


def _mistakes(exam, probabilities, guesses):
    """The mistakes with the highest probability first: picture, truth, guess, probability."""
    wrong = np.flatnonzero(guesses != exam.labels)
    order = np.argsort(-probabilities[wrong, guesses[wrong]], kind="stable")[:_MOST_MISTAKES]
    names = exam.class_names(probabilities.shape[1])
    return {
        "total": len(wrong),
        "worst": [
            {
                "number": int(i),
                "picture": _data_url(exam.images[i]),
                "truth": names[exam.labels[i]],
                "guess": names[guesses[i]],
                "probability": float(probabilities[i, guesses[i]]),
            }
            for i in wrong[order]
        ],
    }


def _data_url(image):
    encoded = base64.b64encode(drawing.png(Image.fromarray(image))).decode()
    return f"data:image/png;base64,{encoded}"


def _recipe(config):
    """(flag, value, whether it differs from the default) of each flag that has a value."""
    defaults = dataclasses.asdict(RunConfig())
    return [
        (name, value, value != defaults[name])
        for name, value in training_recipe(config).items()
        if value is not None
    ]
