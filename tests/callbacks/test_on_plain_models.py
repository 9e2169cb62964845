"""The callbacks on a plain keras.Model, as in other programs."""

import functools
import json
import signal
import threading

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import (
    Checkpoint,
    ConfusionMatrix,
    FirstLayerWeights,
    GracefulShutdown,
    InputSample,
    Interrupted,
    Mistakes,
    Progress,
    StepLogger,
    WeightNorms,
)
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.checkpoint.storage import read_directory
from tests.models import Subclassed, functional

pytestmark = pytest.mark.slow


def layers():
    return [keras.layers.Flatten(), keras.layers.Dense(10)]


class OwnStep(Subclassed):
    """Has a custom train_step and custom metrics."""

    def __init__(self, layers):
        super().__init__(layers)
        self.mean = keras.metrics.Mean(name="my_loss")

    @property
    def metrics(self):
        return [self.mean]

    def train_step(self, data):
        logs = super().train_step(data)
        self.mean.update_state(logs.get("loss", 0.0))
        return {"my_loss": self.mean.result()}


MODELS = {
    "Sequential": keras.Sequential,
    "functional": functools.partial(functional, shape=(28, 28)),
    "subclassed": Subclassed,
    "with a train_step of its own": OwnStep,
}


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:60] / np.float32(255), digits[1][:60]


def compiled(kind, **arguments):
    keras.utils.set_random_seed(1)
    model = MODELS[kind](layers())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], **arguments)
    return model


def all_of_ours(directory, images, **checkpoint):
    exam = Exam(*images, name="digits")
    logged = (Mistakes, ConfusionMatrix)
    return [
        StepLogger(directory, every_steps=2),
        *(callback(directory, exam, every_epochs=1) for callback in logged),
        InputSample(directory, lambda: (exam.images, exam.labels), every_epochs=1),
        FirstLayerWeights(directory, every_epochs=1),
        WeightNorms(directory),
        Progress(),
        Checkpoint(directory / "checkpoints", notice=lambda line: None, **checkpoint),
        GracefulShutdown(),
    ]


def all_of_kerass(directory):
    return [
        keras.callbacks.EarlyStopping("loss", patience=9),
        keras.callbacks.ReduceLROnPlateau("loss", patience=9),
        keras.callbacks.CSVLogger(directory / "log.csv"),
        keras.callbacks.ModelCheckpoint(directory / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        keras.callbacks.TensorBoard(directory / "kerass", write_graph=False),
        keras.callbacks.TerminateOnNaN(),
    ]


@pytest.mark.parametrize("ours_come_first", [True, False])
@pytest.mark.parametrize("kind", MODELS)
def test_all_callbacks_beside_kerass_do_not_change_training(
    kind, ours_come_first, images, tmp_path, steps_in, summaries_of, capsys
):
    fit = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    alone = compiled(kind)
    expected = alone.fit(*images, **fit).history
    (tmp_path / "run").mkdir()
    ours = all_of_ours(tmp_path / "run", images)
    callbacks = ours + all_of_kerass(tmp_path)
    model = compiled(kind)
    if not ours_come_first:
        callbacks.reverse()
    history = model.fit(*images, **fit, callbacks=callbacks).history
    history.pop("learning_rate")
    assert history == expected
    for found, array in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(found, array)
    assert steps_in(tmp_path / "run" / "checkpoints") == [8, 16]
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    written = summaries_of(tmp_path / "run")
    assert {plugin for points in written.values() for plugin, _ in points.values()} >= {"images"}
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    steps = [[str(epoch), str(step)] for epoch in range(2) for step in range(0, 8, 2)]
    if kind != "with a train_step of its own":
        assert [words for words in printed if len(words) == 2] == steps


@pytest.mark.parametrize("kind", MODELS)
def test_two_fits_in_a_row_continue_the_count(kind, images, tmp_path, steps_in):
    model = compiled(kind)
    ours = all_of_ours(tmp_path, images)
    for _ in range(2):
        model.fit(*images, batch_size=8, verbose=0, callbacks=ours)
    assert steps_in(tmp_path / "checkpoints") == [8, 16]
    newest = read_directory(tmp_path / "checkpoints" / "step-00000016").files["state.json"]
    assert json.loads(newest)["position"]["step"] == 16


def test_callbacks_work_again_after_an_interrupted_fit(images, tmp_path, steps_in):
    def interrupt(batch, logs):
        if batch == 3:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    model, ours = compiled("Sequential"), all_of_ours(tmp_path, images, every_steps=100)
    interruption = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(Interrupted) as caught:
        model.fit(*images, batch_size=8, verbose=0, callbacks=[interruption, *ours])
    assert str(caught.value).startswith("SIGINT stopped training between two steps")
    assert signal.getsignal(signal.SIGINT) == handler
    assert steps_in(tmp_path / "checkpoints") == [4]
    model.fit(*images, batch_size=8, verbose=0, callbacks=ours)
    assert steps_in(tmp_path / "checkpoints") == [4, 12]


def test_two_trainings_in_threads_do_not_affect_each_other(images, tmp_path, steps_in):
    def train(name, found):
        model = models[name]
        (tmp_path / name).mkdir(exist_ok=True)
        callbacks = all_of_ours(tmp_path / name, images)
        history = model.fit(
            *images, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks
        )
        found[name] = history.history, model.get_weights()

    alone, together = {}, {}
    for found, prefix in ((alone, "alone"), (together, "together")):
        models = {f"{prefix}_{i}": compiled("functional") for i in range(2)}
        threads = [threading.Thread(target=train, args=(name, found)) for name in models]
        for thread in threads:
            thread.start()
            if prefix == "alone":
                thread.join()
        for thread in threads:
            thread.join()
    assert list(map(len, (alone, together))) == [2, 2]
    for (history, weights), (expected, arrays) in zip(
        together.values(), [*alone.values()], strict=True
    ):
        assert history == expected
        for array, other in zip(weights, arrays, strict=True):
            np.testing.assert_array_equal(array, other)
    for name in together:
        assert steps_in(tmp_path / name / "checkpoints") == [8, 16, 24]
