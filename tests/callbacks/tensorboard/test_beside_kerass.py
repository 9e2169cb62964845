"""Keras's own TensorBoard callback and ours write into the same directory."""

import keras
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_keras.callbacks import Checkpoint, EventCallback, StepLogger
from tests.callbacks.killing import Kill, Killed

pytestmark = pytest.mark.slow


class Custom(EventCallback):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.log_scalars({"custom": epoch})


def kerass(logdir):
    return keras.callbacks.TensorBoard(logdir, write_graph=False)


def ours(logdir):
    return StepLogger(logdir, every_steps=3, echo=False)


def files_of_keras(logdir):
    return {path: path.read_bytes() for path in sorted(logdir.rglob("events*.v2"))}


@pytest.fixture(params=["ours first", "ours last"])
def callbacks(request, tmp_path):
    """A function that makes both callbacks and a checkpoint, in either order."""

    def make():
        made = [ours(tmp_path), Custom(tmp_path), kerass(tmp_path)]
        checkpoint = Checkpoint(tmp_path / "checkpoints", notice=lambda line: None)
        return [*(made if request.param == "ours first" else reversed(made)), checkpoint]

    return make


@pytest.fixture
def train(make_model, stream, callbacks):
    def run(*, epochs, end=None):
        kill = [] if end is None else [Kill(end)]
        make_model(steps_per_execution=4).fit(
            stream,
            epochs=epochs,
            validation_data=stream.get_tf_dataset(),
            verbose=0,
            callbacks=[*callbacks(), *kill],
        )

    return run


def steps(points_of, directory):
    return {tag: list(points) for tag, points in points_of(directory).items()}


OURS, KERASS = ("loss", "gradient_norm", "learning_rate"), "epoch_learning_rate"


def test_the_points_of_both_are_read(train, tmp_path, points_of):
    train(epochs=3)
    found = steps(points_of, tmp_path / "train")
    assert [found[tag] for tag in OURS] == 3 * [[0, 3, 6, 9, 12, 15, 18]]
    # Both write it: Keras counts epochs, and we count steps.
    assert sorted(found["epoch_loss"]) == [0, 1, 2, 7, 14, 21]
    assert sorted(found[KERASS]) == [0, 1, 2]
    assert sorted(steps(points_of, tmp_path / "validation")["epoch_loss"]) == [0, 1, 2, 7, 14, 21]
    assert steps(points_of, tmp_path) == {"custom": [7, 14, 21]}


def test_after_a_resume_both_are_there_and_kerass_unchanged(train, tmp_path, points_of):
    with pytest.raises(Killed):
        train(epochs=3, end=10)
    before = files_of_keras(tmp_path)
    assert before
    train(epochs=3)
    assert {path: path.read_bytes() for path in before} == before
    found = steps(points_of, tmp_path / "train")
    assert [found[tag] for tag in OURS] == 3 * [[0, 3, 6, 9, 12, 15, 18]]
    assert sorted(found[KERASS]) == [0, 1, 2]
    assert sorted(steps(points_of, tmp_path / "validation")["epoch_loss"]) == [0, 1, 2, 7, 14, 21]


def test_points_of_keras_past_our_resume_stay_visible(make_model, stream, tmp_path):
    """Keras counts its batches anew in each fit; their numbers may exceed our first step."""

    def fit(*more):
        logged = keras.callbacks.TensorBoard(tmp_path, write_graph=False, update_freq=1)
        checkpoint = Checkpoint(tmp_path / "checkpoints", notice=lambda line: None, every_steps=2)
        callbacks = [logged, ours(tmp_path), checkpoint, *more]
        make_model().fit(stream, verbose=0, callbacks=callbacks)

    with pytest.raises(Killed):
        fit(Kill(2))
    fit()
    accumulator = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    accumulator.Reload()
    steps = [event.step for event in accumulator.Tensors("batch_loss")]
    assert steps[-5:] == [1, 2, 3, 4, 5]
