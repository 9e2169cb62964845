import doctest
import functools

import numpy as np
import pytest
from matplotlib.figure import Figure
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


class Everything(EventCallback):
    """Logs something for each dashboard at the end of each epoch."""

    def __init__(self, logdir, **where):
        super().__init__(logdir)
        self._where = where

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        images = np.full((4, 2, 2), epoch / 10)
        self.log_scalars({"a": epoch, "b": np.float32(0.5)}, **self._where)
        self.log_image("image", images[0], description="One.", **self._where)
        self.log_images("images", images, captions=list("abcd"), **self._where)
        self.log_figure("figure", Figure(figsize=(1, 1)), **self._where)
        self.log_text("text", f"**{epoch}**", **self._where)
        self.log_audio("audio", np.zeros(8), sample_rate=8000, **self._where)
        self.log_histogram("histogram", images, **self._where)
        self.log_summary(scalar_pb("summary", 3.0), **self._where)


DASHBOARDS = {
    "a": "scalars",
    "b": "scalars",
    "image": "images",
    "images": "images",
    "figure": "images",
    "text": "text",
    "audio": "audio",
    "histogram": "histograms",
    "summary": "scalars",
}


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


def shown(summaries):
    """{tag: {step: dashboard}}."""
    return {
        tag: {step: plugin for step, (plugin, _) in steps.items()}
        for tag, steps in summaries.items()
    }


@pytest.mark.slow
def test_each_method_logs_for_its_dashboard_at_the_current_step(
    make, stream, tmp_path, summaries_of
):
    make().fit(stream, epochs=2, verbose=0, callbacks=[Everything(tmp_path)])
    written = summaries_of(tmp_path)
    assert shown(written) == {tag: {7: name, 14: name} for tag, name in DASHBOARDS.items()}
    assert written["a"][14][1].item() == 1
    assert written["text"][7][1].item() == b"**0**"


@pytest.mark.slow
def test_each_method_takes_a_step_and_a_subdirectory(make_plain, stream, tmp_path, summaries_of):
    callback = Everything(tmp_path, step=3, subdirectory="samples")
    make_plain().fit(stream, verbose=0, callbacks=[callback])
    expected = {tag: {3: name} for tag, name in DASHBOARDS.items()}
    assert shown(summaries_of(tmp_path / "samples")) == expected
    assert not list(tmp_path.glob("events*"))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_only_kept_summaries_stay_when_training_resumes_there(
    keep, make_model, stream, tmp_path, summaries_of
):
    model = make_model()
    model.fit(stream, verbose=0, callbacks=[Everything(tmp_path, keep=keep)])
    assert shown(summaries_of(tmp_path)).keys() == DASHBOARDS.keys()
    fit = functools.partial(model.fit, stream, initial_epoch=1, epochs=2, verbose=0)
    fit(callbacks=[EventCallback(tmp_path)])
    assert shown(summaries_of(tmp_path)).keys() == (DASHBOARDS.keys() if keep else set())


@pytest.mark.parametrize("value", ["0.5", None, [1.0, 2.0]])
def test_a_scalar_that_is_not_a_number_is_refused(value, make_plain, stream, tmp_path):
    class Wrong(EventCallback):
        def on_log_begin(self):
            self.log_scalars({"a": 1.0, "b": value})

    with Wrong(tmp_path) as wrong, pytest.raises(UsageError) as error:
        make_plain().fit(stream, verbose=0, callbacks=[wrong])
    assert str(error.value) == (
        f"a scalar is not a number. Received: {{'a': 1.0, 'b': {value!r}}}. "
        "Expected: {tag: number}."
    )


@pytest.mark.parametrize("name", ["a/b", "..", "earlier-1"])
def test_a_wrong_subdirectory_is_refused(name, make_plain, stream, tmp_path):
    class Wrong(EventCallback):
        def on_log_begin(self):
            self.log_scalars({"a": 1.0}, subdirectory=name)

    with Wrong(tmp_path) as wrong, pytest.raises(UsageError) as error:
        make_plain().fit(stream, verbose=0, callbacks=[wrong])
    assert str(error.value) == (
        f"the subdirectory is wrong. Received: {name!r}. "
        'Expected: the name of a directory, or "." for the run\'s directory.'
    )


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


@pytest.fixture
def failed(make_plain, stream, crash, tmp_path):
    """A model and its callback, whose training failed in the second epoch."""

    class PlainCrash(crash):
        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 2):
                raise RuntimeError("crash")

    model, callback = make_plain(), Value(tmp_path, every_epochs=1)
    with pytest.raises(RuntimeError, match="crash"):
        model.fit(stream, epochs=2, verbose=0, callbacks=[callback, PlainCrash()])
    assert callback.step == 10
    return model, callback


@pytest.mark.slow
def test_a_training_after_a_failed_one_has_its_own_files(failed, stream, tmp_path, points_of):
    model, _ = failed
    model.fit(stream, verbose=0, callbacks=[Value(tmp_path, every_epochs=1)])
    assert points_of(tmp_path / "earlier-1") == points_of(tmp_path) == {"steps": {7: 7.0}}


@pytest.mark.slow
def test_a_callback_of_a_failed_fit_opens_a_new_file(failed, stream, tmp_path, points_of):
    model, callback = failed
    model.fit(stream, verbose=0, callbacks=[callback])
    assert points_of(tmp_path) == {"steps": {7: 7.0, 17: 17.0}}
    assert len(list(tmp_path.glob("events*"))) == 2


@pytest.mark.slow
def test_without_a_directory_nothing_is_written(make, stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().fit(stream, verbose=0, callbacks=[EventCallback(None), Everything(None)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("every_epochs", [0, -1, 1.5, None])
def test_a_wrong_interval_is_refused(every_epochs, tmp_path):
    with pytest.raises(UsageError) as error:
        Value(tmp_path, every_epochs=every_epochs)
    assert str(error.value) == (
        f"the interval in epochs is wrong. Received: {every_epochs!r}. "
        "Expected: an integer of at least 1."
    )


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(event_callback).failed == 0
