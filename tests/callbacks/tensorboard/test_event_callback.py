import doctest

import pytest
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from mnist_keras.callbacks import StepLogger
from mnist_keras.callbacks.tensorboard import event_callback
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback, EveryEpochsCallback
from mnist_keras.errors import UsageError


class Value(EveryEpochsCallback):
    """Writes the number of updates."""

    def summaries(self):
        yield scalar_pb("steps", float(self.step))


class Once(EventCallback):
    def __init__(self, logdir, *, value=1.0):
        super().__init__(logdir)
        self._value = value

    def on_log_begin(self):
        if not self.has_logged("once"):
            self.log_scalars({"once": self._value})


class Stop(EventCallback):
    """Ends the training after an epoch, as EarlyStopping does."""

    priority = -1

    def __init__(self, epoch):
        super().__init__(None)
        self._epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self._epoch


@pytest.fixture(params=["make_model", "make_plain"])
def make(request):
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every_epochs", "epochs", "expected"),
    [(1, 3, [7, 14, 21]), (2, 4, [14, 28]), (2, 3, [14, 21]), (10, 1, [7])],
)
def test_it_writes_at_its_interval_and_after_the_last_epoch(
    every_epochs, epochs, expected, make, stream, tmp_path, points_of
):
    callbacks = [Value(tmp_path, every_epochs=every_epochs)]
    make().fit(stream, epochs=epochs, verbose=0, callbacks=callbacks)
    assert points_of(tmp_path) == {"steps": {step: float(step) for step in expected}}


@pytest.mark.slow
def test_the_epoch_that_stops_training_counts_as_the_last(make, stream, tmp_path, points_of):
    callbacks = [Stop(1), Value(tmp_path, every_epochs=10)]
    make().fit(stream, epochs=5, verbose=0, callbacks=callbacks)
    assert list(points_of(tmp_path)["steps"]) == [14]


@pytest.mark.slow
def test_an_extra_last_value_is_replaced_when_the_run_continues(make, stream, tmp_path, points_of):
    model, callbacks = make(), [Value(tmp_path, every_epochs=2)]
    model.fit(stream, epochs=3, verbose=0, callbacks=callbacks)
    assert list(points_of(tmp_path)["steps"]) == [14, 21]
    model.fit(stream, epochs=5, initial_epoch=3, verbose=0, callbacks=callbacks)
    assert list(points_of(tmp_path)["steps"]) == [14, 28, 35]
    model.fit(stream, epochs=6, initial_epoch=5, verbose=0, callbacks=callbacks)
    assert list(points_of(tmp_path)["steps"]) == [14, 28, 42]


@pytest.mark.slow
def test_what_has_been_logged_need_not_be_logged_again(make, stream, tmp_path, points_of):
    model = make()
    callbacks = [Once(tmp_path), Value(tmp_path, every_epochs=1)]
    model.fit(stream, epochs=1, verbose=0, callbacks=callbacks)
    model.fit(stream, epochs=2, initial_epoch=1, verbose=0, callbacks=callbacks)
    assert points_of(tmp_path) == {"once": {0: 1.0}, "steps": {7: 7.0, 14: 14.0}}
    late = [*callbacks, Once(tmp_path, value=2.0)]
    model.fit(stream, epochs=3, initial_epoch=2, verbose=0, callbacks=late)
    assert points_of(tmp_path)["once"] == {0: 1.0}


@pytest.mark.slow
def test_all_callbacks_of_a_fit_write_to_the_same_files(make, stream, tmp_path, points_of):
    callbacks = [
        StepLogger(tmp_path, every_steps=3, echo=False),
        Once(tmp_path),
        Value(str(tmp_path), every_epochs=1),
    ]
    make().fit(stream, verbose=0, callbacks=callbacks)
    assert points_of(tmp_path) == {"once": {0: 1.0}, "steps": {7: 7.0}}
    assert points_of(tmp_path / "train").keys() >= {"loss", "epoch_loss"}
    assert len(list(tmp_path.glob("events*"))) == len(list(tmp_path.glob("train/events*"))) == 1


def test_a_fit_after_a_failed_one_starts_fresh(make_plain, stream, crash, tmp_path, points_of):
    class PlainCrash(crash):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise RuntimeError("crash")

    model, callback = make_plain(), Value(tmp_path, every_epochs=1)
    with pytest.raises(RuntimeError, match="crash"):
        model.fit(stream, verbose=0, callbacks=[callback, PlainCrash()])
    assert callback.step == 3
    model.fit(stream, verbose=0, callbacks=[Value(tmp_path, every_epochs=1)])
    assert points_of(tmp_path) == {"steps": {7: 7.0}}


@pytest.mark.slow
def test_without_a_directory_nothing_is_written(make, stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().fit(stream, verbose=0, callbacks=[EventCallback(None)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("every_epochs", [0, -1, 1.5, None])
def test_a_wrong_interval_is_refused(every_epochs, tmp_path):
    with pytest.raises(UsageError) as error:
        Value(tmp_path, every_epochs=every_epochs)
    assert str(error.value) == (
        f"the interval in epochs is wrong. Received: {every_epochs!r}. "
        "Expected: an integer of at least 1."
    )


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(event_callback).failed == 0
