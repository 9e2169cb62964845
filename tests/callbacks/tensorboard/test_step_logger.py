import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.sinks import CsvSink
from mnist_keras.callbacks.tensorboard import step_logger
from mnist_keras.data import batches
from mnist_keras.errors import UsageError

RATE = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=3, decay_rate=0.8)


@pytest.fixture(scope="module")
def by_hand():
    """{step: (loss before the update, learning rate, gradient norm)} of a plain tape loop."""
    return {}


@pytest.fixture
def expected(by_hand, make_model, examples):
    if not by_hand:
        model = make_model()
        for epoch in range(2):
            stream = batches(*examples, batch_size=10, shuffle=True, seed=5)
            stream.epoch = epoch
            for x, y in stream:
                with tf.GradientTape() as tape:
                    loss = model.loss(y, model(x))
                gradients = tape.gradient(loss, model.trainable_weights)
                rate = RATE(len(by_hand))
                for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
                    weight.assign_sub(rate * gradient)
                norm = tf.linalg.global_norm(gradients)
                by_hand[len(by_hand)] = float(loss), float(rate), float(norm)
    return by_hand


def printed_losses(text):
    """{(epoch, step in it): loss}, and the lines without the losses."""
    losses, rest = {}, []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) > 1:
            losses[int(words[0]), int(words[1])] = float(words[3])
            line = " ".join(words[:3])
        rest.append(line)
    return losses, rest


KINDS = {
    "one step per execution": ("make_model", 1),
    "4 steps per execution": ("make_model", 4),
    "more steps than an epoch": ("make_model", 100),
    "a plain keras.Model": ("make_plain", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_logged_value_is_that_steps_own(
    kind, expected, make_model, stream, tmp_path, capsys, points_of
):
    make, steps_per_execution = KINDS[kind]
    model = make_model(
        optimizer=keras.optimizers.SGD(RATE), steps_per_execution=steps_per_execution
    )
    if make == "make_plain":
        metrics, network = ["accuracy"], model.network
        optimizer = keras.optimizers.SGD(RATE)
        network.compile(optimizer=optimizer, loss=model.loss, metrics=metrics)
        model = network
    logger = StepLogger(tmp_path, every_steps=3)
    history = model.fit(stream, epochs=2, verbose=0, callbacks=[logger]).history

    due = [0, 3, 6, 9, 12]
    losses, lines = printed_losses(capsys.readouterr().out)
    assert lines == [
        "0",
        "0 0 loss:",
        "0 3 loss:",
        "0 6 loss:",
        "1",
        "1 2 loss:",
        "1 5 loss:",
    ]
    points = points_of(tmp_path / "train")
    assert list(points["examples_per_second"]) == due
    del points["examples_per_second"]
    if make == "make_model":
        norms = {step: pytest.approx(expected[step][2], rel=1e-5) for step in due}
        assert points.pop("gradient_norm") == norms
    assert points == {
        "loss": {step: pytest.approx(expected[step][0], rel=1e-5) for step in due},
        "learning_rate": {step: pytest.approx(expected[step][1], rel=1e-6) for step in due},
        "epoch_loss": dict(zip([7, 14], np.float32(history["loss"]), strict=True)),
        "epoch_accuracy": dict(zip([7, 14], np.float32(history["accuracy"]), strict=True)),
    }
    assert {7 * epoch + step: np.float32(loss) for (epoch, step), loss in losses.items()} == (
        points["loss"]
    )
    assert not (tmp_path / "validation").exists()


@pytest.mark.slow
def test_validation_points_are_in_their_own_directory(
    make_model, stream, held_out, tmp_path, points_of
):
    history = make_model().fit(
        stream,
        epochs=2,
        validation_data=batches(*held_out, batch_size=10),
        verbose=0,
        callbacks=[StepLogger(tmp_path, every_steps=100)],
    )
    names = {"epoch_loss": "val_loss", "epoch_accuracy": "val_accuracy"}
    assert points_of(tmp_path / "validation") == {
        tag: dict(zip([7, 14], np.float32(history.history[name]), strict=True))
        for tag, name in names.items()
    }
    assert set(points_of(tmp_path / "train")) >= {"epoch_loss", "epoch_accuracy", "loss"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["make_model", "make_plain"])
def test_each_entry_of_a_vector_metric_has_its_curve(
    kind, request, stream, held_out, tmp_path, points_of
):
    sink = CsvSink(tmp_path / "steps.csv")
    history = request.getfixturevalue(kind)(metrics=[keras.metrics.F1Score(name="f1")]).fit(
        stream,
        epochs=2,
        validation_data=batches(*held_out, batch_size=10),
        verbose=0,
        callbacks=[StepLogger(tmp_path, every_steps=100, sinks=[sink])],
    )
    for directory, name in (("train", "f1"), ("validation", "val_f1")):
        found = points_of(tmp_path / directory)
        scores = np.float32(history.history[name])
        assert {tag: found[tag] for tag in found if "f1" in tag} == {
            f"epoch_f1/{number}": dict(zip([7, 14], scores[:, number], strict=True))
            for number in range(10)
        }
        assert f"\n14,epoch_{name}/9," in sink.path.read_text()


class Clock(keras.callbacks.Callback):
    """A clock by which training and other work take a given number of seconds."""

    def __init__(self, *, first_epoch, second_epoch):
        super().__init__()
        self.now = 0.0
        self._lasts = [first_epoch, second_epoch]

    def __call__(self):
        return self.now

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self.now += 1000

    def on_train_batch_begin(self, batch, logs=None):
        self.now += 100

    def on_train_batch_end(self, batch, logs=None):
        self.now += self._lasts[self._epoch]


RATES = {
    # 10 in 0.5 s; 40 in 2 s; in the second epoch: 20 in 0.5 s; 40 in 1 s.
    ("make_model", 1): {0: 20.0, 4: 20.0, 8: 40.0, 12: 40.0},
    ("make_plain", 1): {0: 20.0, 4: 20.0, 8: 40.0, 12: 40.0},
    # 40 in 0.5 s; 25 in 0.5 s; 40 in 0.25 s; 25 in 0.25 s.
    ("make_model", 4): {0: 80.0, 4: 50.0, 8: 160.0, 12: 100.0},
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "steps_per_execution"), RATES)
def test_examples_per_second_are_counted_since_the_last_point(
    make, steps_per_execution, request, stream, tmp_path, points_of
):
    model = request.getfixturevalue(make)(steps_per_execution=steps_per_execution)
    clock = Clock(first_epoch=0.5, second_epoch=0.25)
    logger = StepLogger(tmp_path, every_steps=4, clock=clock)
    model.fit(stream, epochs=2, verbose=0, callbacks=[clock, logger])
    found = points_of(tmp_path / "train")["examples_per_second"]
    assert found == RATES[make, steps_per_execution]


@pytest.mark.slow
def test_a_resumed_run_counts_only_its_own_examples(make_model, stream, tmp_path, points_of):
    class Break(StepCallback):
        priority = 2  # After the checkpoint.

        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                raise KeyboardInterrupt

    def fit(seconds):
        clock = Clock(first_epoch=seconds, second_epoch=seconds)
        logger = StepLogger(tmp_path, every_steps=3, clock=clock)
        checkpoint = Checkpoint(tmp_path / "checkpoints", every_steps=6)
        make_model().fit(stream, verbose=0, callbacks=[clock, logger, checkpoint, Break()])

    with pytest.raises(KeyboardInterrupt):
        fit(0.5)
    fit(0.25)
    # 10 in 0.5 s; 30 in 1.5 s; the last batch: 5 in 0.25 s.
    assert points_of(tmp_path / "train")["examples_per_second"] == {0: 20.0, 3: 20.0, 6: 20.0}


@pytest.mark.slow
def test_a_clock_that_does_not_advance_gives_no_rate(make_plain, stream, tmp_path, points_of):
    logger = StepLogger(tmp_path, every_steps=4, clock=lambda: 7.0)
    make_plain().fit(stream, verbose=0, callbacks=[logger])
    assert "examples_per_second" not in points_of(tmp_path / "train")


@pytest.mark.slow
def test_two_fits_make_one_curve(make_model, stream, tmp_path, points_of, capsys):
    whole, model = make_model(), make_model()
    whole.fit(stream, epochs=3, verbose=0, callbacks=[StepLogger(tmp_path / "one", every_steps=2)])
    expected = capsys.readouterr().out
    logger = StepLogger(tmp_path / "two", every_steps=2)
    model.fit(stream, epochs=2, verbose=0, callbacks=[logger])
    model.fit(stream, epochs=3, initial_epoch=2, verbose=0, callbacks=[logger])
    assert capsys.readouterr().out == expected
    found, points = points_of(tmp_path / "two/train"), points_of(tmp_path / "one/train")
    del found["examples_per_second"], points["examples_per_second"]
    assert found == points


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize("make", ["make_model", "make_plain"])
def test_data_of_unknown_length_is_logged_the_same(
    make, request, stream, tmp_path, points_of, capsys
):
    # Keras notices the end of the data only by asking for one more batch, here a due one.
    model = request.getfixturevalue(make)()
    start = model.get_weights()

    def fit(data, directory, **arguments):
        model.set_weights(start)
        model.steps_trained = 0
        logger = StepLogger(directory, every_steps=7)
        history = model.fit(data, verbose=0, callbacks=[logger], **arguments).history
        points = points_of(directory / "train")
        del points["examples_per_second"]
        return history, points, capsys.readouterr().out

    stream.shuffle = False
    data = stream.get_tf_dataset()
    expected = fit(data, tmp_path / "known")
    assert list(expected[1]["epoch_loss"]) == [7]
    assert fit(data.filter(lambda *_: True), tmp_path / "unknown") == expected


@pytest.mark.slow
def test_without_a_directory_it_prints_and_without_echo_it_writes(
    make_plain, stream, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model = make_plain()
    model.fit(stream, verbose=0, callbacks=[StepLogger(None, every_steps=5)])
    assert printed_losses(capsys.readouterr().out)[1] == ["0", "0 0 loss:", "0 5 loss:"]
    assert list(tmp_path.iterdir()) == []
    model.fit(stream, verbose=0, callbacks=[StepLogger(tmp_path / "log", echo=False)])
    assert capsys.readouterr() == ("", "")
    assert len(list((tmp_path / "log" / "train").iterdir())) == 1


def test_a_step_without_loss_and_update_is_logged_without_both(tmp_path, points_of, capsys):
    class Own(TapeModel):
        def train_step(self, data):
            return {"seen": tf.constant(1.0)}

    model = Own(keras.Sequential([keras.layers.Dense(1)]))
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.zeros((4, 3)), np.zeros((4, 1))
    model.fit(x, y, batch_size=2, verbose=0, callbacks=[StepLogger(tmp_path, every_steps=1)])
    assert capsys.readouterr().out == "0\n"
    points = points_of(tmp_path / "train")
    assert points.keys() == {"examples_per_second", "epoch_seen"}
    assert points["epoch_seen"] == {2: 1.0}


def test_more_values_are_printed_on_request(capsys):
    class Own(TapeModel):
        def train_step(self, data):
            loss = tf.constant(0.5)
            self.record_step(loss=loss, gradients=[tf.constant([3.0, 4.0])], penalty=2 * loss)
            return {"kl_loss": loss}

    model = Own(keras.Sequential([keras.layers.Dense(1)]))
    model.compile()
    also = ("kl_loss", "penalty", "loss", "gradient_norm", "accuracy")
    logger = StepLogger(None, every_steps=1, also_print=also)
    model.fit(np.zeros((2, 3)), batch_size=2, verbose=0, callbacks=[logger])
    line = "0 0 loss: 0.5 kl_loss: 0.5 penalty: 1.0 gradient_norm: 5.0"
    assert capsys.readouterr().out.splitlines() == ["0", line]


@pytest.mark.slow
def test_after_an_exception_the_files_are_closed(make_model, stream, crash, tmp_path, points_of):
    logger = StepLogger(tmp_path, every_steps=1)
    with pytest.raises(RuntimeError, match="crash"):
        make_model().fit(stream, verbose=0, callbacks=[logger, crash(step=3)])
    assert logger._log is None
    assert list(points_of(tmp_path / "train")["loss"]) == [0, 1, 2]


def test_training_may_end_while_a_checkpoint_flushes_the_points():
    class Log:
        def flush(self):
            flushed.append(True)

    class Ending(StepLogger):
        """Closed by the training thread as soon as another thread has read its log."""

        _log = property(lambda self: logs.pop(0), lambda self, log: None)

    logs, flushed = [Log(), None], []
    Ending(None).flush()
    assert flushed == [True]


def test_a_plain_model_with_several_steps_per_execution_is_refused(make_plain, stream):
    model = make_plain(steps_per_execution=3)
    with pytest.raises(UsageError) as error:
        model.fit(stream, verbose=0, callbacks=[StepLogger(None)])
    assert str(error.value) == (
        "a plain keras.Model does not report each step of an execution. Received: "
        "steps_per_execution=3. Expected: steps_per_execution=1, or a TapeModel."
    )


@pytest.mark.parametrize("every_steps", [0, -5, 1.5, "100", None])
def test_a_wrong_interval_is_refused(every_steps, tmp_path):
    with pytest.raises(UsageError, match="the interval in steps is wrong"):
        StepLogger(tmp_path, every_steps=every_steps)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(step_logger).failed == 0
