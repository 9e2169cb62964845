import doctest
import io
import re
import signal
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, Interrupted, Progress, progress
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.data import batches
from tests.terminals import Screen, Terminal, use_terminal


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Slow(StepCallback):
    """Each step takes a given number of seconds; losses are kept as they are shown."""

    def __init__(self, clock, *, seconds, loss="loss"):
        super().__init__()
        self._clock, self._seconds, self._loss = clock, seconds, loss
        self.losses = []

    def breaks_execution_at(self, step):
        return True

    def on_train_batch_end(self, batch, logs=None):
        self._clock.now += self._seconds
        self.losses.append(f"loss {float(logs[self._loss]):.4g}")


class Saying(keras.callbacks.Callback):
    """Prints a line in two parts at each step, and a line on stderr."""

    def on_train_batch_begin(self, batch, logs=None):
        print("step", end=" ")
        print(batch)
        print("数字", file=sys.stderr)


class Looking(keras.callbacks.Callback):
    """Keeps the screen's lines before the first step and after each step."""

    def __init__(self, screen):
        super().__init__()
        self._screen = screen
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        if not self.seen:
            self.on_train_batch_end(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        # Gives bars the same length at any progress.
        self.seen.append([re.sub(" [━╸╺]+", " ━━━", line) for line in self._screen.lines])


@pytest.fixture
def attach(monkeypatch):
    """attach(columns): send stdout and stderr to one screen and return it."""

    def attach(columns=80, **variables):
        use_terminal(monkeypatch, columns=columns, **variables)
        screen = Screen(columns)
        monkeypatch.setattr(sys, "stdout", Terminal(screen))
        monkeypatch.setattr(sys, "stderr", Terminal(screen))
        return screen

    return attach


@pytest.fixture
def without_terminal(monkeypatch):
    """Replace stderr by a file; returns a function that reads its lines."""

    def without_terminal():
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        return lambda: file.getvalue().splitlines()

    return without_terminal


@pytest.mark.slow
def test_it_shows_position_loss_speed_and_remaining_time(make_model, stream, attach):
    screen, clock = attach(), Clock()
    slow, looking = Slow(clock, seconds=2), Looking(screen)
    callbacks = [slow, Progress(clock=clock), looking]
    make_model(metrics=[]).fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    before, *after = looking.seen
    assert before == ["0/2 epochs  ━━━  0/7 steps"]
    assert after[0] == ["0/2 epochs  ━━━  1/7 steps", slow.losses[0]]
    assert after[1:] == [
        [
            f"{epoch}/2 epochs  ━━━  {step}/7 steps  0:{28 - 14 * epoch - 2 * step:02} left",
            f"{slow.losses[7 * epoch + step - 1]}  5 images/s",
        ]
        for epoch in (0, 1)
        for step in range(1, 8)
        if (epoch, step) != (0, 1)
    ]
    assert screen.lines == [f"2/2 epochs  took 0:28  {slow.losses[-1]}  5 images/s"]


@pytest.mark.slow
def test_a_training_stopped_after_an_epoch_shows_no_steps(make_model, stream, attach):
    screen, clock = attach(), Clock()
    stopping = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)
    callbacks = [Progress(clock=clock), stopping]
    history = make_model(metrics=[]).fit(stream, epochs=9, verbose=0, callbacks=callbacks)
    epochs = len(history.epoch)
    assert epochs < 9
    assert screen.lines[0].startswith(f"{epochs}/9 epochs  took 0:00  loss ")


class Attributes(SimpleNamespace):
    """A namespace that supports weak references, like a model."""

    __hash__ = object.__hash__


class Saved(StepCallback):
    """A callback that saved a checkpoint 65 s ago."""

    seconds_since_save = 65.0


class ByHand:
    """A fit of 30 epochs of 300 steps without a model: its calls are those of fit."""

    def __init__(self, progress, *peers, epochs=30, steps=300, **of_the_model):
        self.progress = progress
        self.model = Attributes(**{"metrics": [], **of_the_model})
        params = {"epochs": epochs, "steps": steps}
        for callback in (progress, *peers):
            callback.set_params(params)
            callback.set_model(self.model)
        progress.on_train_begin()

    def step(self, epoch, step, logs):
        """Train up to that step of an epoch."""
        if step == 1 or self.progress.epoch != epoch:
            self.progress.on_epoch_begin(epoch)
        self.progress.on_train_batch_begin(step - 1)
        self.progress.on_train_batch_end(step - 1, logs)


@pytest.mark.parametrize(
    ("columns", "figures"),
    [
        (200, "loss 0.2618  accuracy 0.9203  精度 0.5  val_loss 0.0001235  saved 1:05 ago"),
        (60, "loss 0.2618  accuracy 0.9203  精度 0.5  saved 1:05 ago"),
        (40, "loss 0.2618  accuracy 0.9203"),
        (20, "loss 0.2618"),
    ],
)
def test_a_narrow_window_shows_what_matters_most(columns, figures, attach):
    screen, clock = attach(columns), Clock()
    saved = Saved()
    with Progress(clock=clock) as progress:
        fit = ByHand(progress, saved)
        progress.on_epoch_end(0, {"loss": 1.0, "val_loss": 0.00012351})
        logs = {"精度": 0.5, "accuracy": 0.92034, "loss": 0.26177, "curve": [1.0, 2.0]}
        clock.now += 1
        fit.step(1, 7, logs)
        assert screen.lines[1] == figures


def test_other_losses_stay_on_a_narrow_line(attach):
    screen, clock = attach(40), Clock()
    with Progress(clock=clock) as progress:
        fit = ByHand(progress)
        clock.now += 1
        fit.step(0, 7, {"accuracy": 0.5, "d_loss": 1.5, "g_loss": 2.5})
        assert screen.lines[1] == "d_loss 1.5  g_loss 2.5  accuracy 0.5"


@pytest.mark.parametrize(
    ("examples", "shown"), [(None, "1 examples/s"), ("sentences", "1 sentences/s")]
)
def test_losses_that_are_only_recorded_are_shown(examples, shown, without_terminal):
    class Recording(TapeModel):
        def train_step(self, data):
            self.record_step(losses={"d_loss": tf.constant(0.5), "critic": tf.constant(2.0)})
            return {"d_loss": tf.constant(4.0)}

    said, clock = without_terminal(), Clock()
    model = Recording(keras.Sequential([keras.layers.Dense(1)]))
    model.compile()
    callbacks = [Slow(clock, seconds=2, loss="d_loss"), Progress(examples=examples, clock=clock)]
    model.fit(np.zeros((6, 3)), batch_size=2, verbose=0, callbacks=callbacks)
    assert said() == [f"1/1 epochs  took 0:06  d_loss 4  critic 2  {shown}"]


def test_the_loss_is_not_read_between_two_updates(attach):
    class Unread:
        size = 1

        def __float__(self):
            raise AssertionError("read")

    attach()
    clock = Clock()
    with Progress(clock=clock) as progress:
        fit = ByHand(progress)
        fit.step(0, 1, {"loss": 1.0})
        clock.now += 0.2
        fit.step(0, 2, {"loss": Unread()})
        clock.now += 0.2
        with pytest.raises(AssertionError, match="read"):
            fit.step(0, 3, {"loss": Unread()})
        fit.step(0, 4, {"loss": 1.0})


def test_a_fraction_of_a_remaining_second_is_rounded_up(attach):
    screen, clock = attach(), Clock()
    with Progress(clock=clock) as progress:
        fit = ByHand(progress, epochs=1, steps=5)
        fit.step(0, 1, {})
        clock.now += 0.5
        fit.step(0, 2, {})
        assert screen.lines[0].endswith("2/5 steps  0:02 left")


@pytest.mark.slow
def test_the_time_between_two_fits_does_not_count(make_model, stream, without_terminal):
    said, clock = without_terminal(), Clock()
    model, progress = make_model(metrics=[]), Progress(clock=clock)
    for _ in range(2):
        clock.now += 1000
        model.fit(stream, verbose=0, callbacks=[Slow(clock, seconds=2), progress])
    assert [re.sub("loss .*  ", "", line) for line in said()] == [
        "1/1 epochs  took 0:14  5 images/s"
    ] * 2


def test_the_speed_covers_the_last_thousand_updates(without_terminal):
    said, clock = without_terminal(), Clock()
    with Progress(line_every_s=1, clock=clock) as progress:
        fit = ByHand(progress, epochs=1, steps=4000)
        for step in range(1, 3001):
            clock.now += 4 if step <= 2000 else 1
            fit.step(0, step, {})
    assert said()[1999].endswith("2000/4000 steps  2:13:20 left")
    assert said()[2999].endswith("3000/4000 steps  16:40 left")


@pytest.mark.slow
def test_lines_printed_meanwhile_appear_above_unchanged(make_model, stream, attach):
    screen = attach()
    streams = sys.stdout, sys.stderr
    history = make_model().fit(stream, verbose=0, callbacks=[Saying(), Progress()])
    *said, last = screen.lines
    assert said == [line for step in range(7) for line in (f"step {step}", "数字")]
    assert last.startswith("1/1 epochs  took 0:0")
    assert f"  loss {history.history['loss'][0]:.4g}  accuracy " in last
    assert (sys.stdout, sys.stderr) == streams


@pytest.mark.slow
def test_a_redirected_stdout_gets_no_extra_bytes(make_model, stream, attach, monkeypatch):
    screen, file = attach(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    make_model().fit(stream, verbose=0, callbacks=[Saying(), Progress()])
    assert file.getvalue() == "".join(f"step {step}\n" for step in range(7))
    assert screen.lines[:-1] == ["数字"] * 7


@pytest.mark.slow
def test_without_a_terminal_it_prints_a_line_every_30_seconds(make_model, stream, without_terminal):
    said, clock = without_terminal(), Clock()
    slow = Slow(clock, seconds=10)
    make_model(metrics=[]).fit(stream, epochs=2, verbose=0, callbacks=[slow, Progress(clock=clock)])
    assert said() == [
        f"0/2 epochs  3/7 steps  1:50 left  {slow.losses[2]}  1 images/s",
        f"0/2 epochs  6/7 steps  1:20 left  {slow.losses[5]}  1 images/s",
        f"1/2 epochs  2/7 steps  0:50 left  {slow.losses[8]}  1 images/s",
        f"1/2 epochs  5/7 steps  0:20 left  {slow.losses[11]}  1 images/s",
        f"2/2 epochs  took 2:20  {slow.losses[13]}  1 images/s",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_a_resumed_training_shows_its_position(
    steps_per_execution, make_model, stream, attach, crash, tmp_path
):
    screen = attach()
    model = make_model(steps_per_execution=steps_per_execution)
    checkpoint = Checkpoint(tmp_path, every_steps=3)
    with pytest.raises(RuntimeError):
        model.fit(stream, epochs=2, verbose=0, callbacks=[Progress(), checkpoint, crash(step=10)])
    assert re.match(r"1/2 epochs  3/7 steps  took 0:0\d  loss ", screen.lines[-1])
    screen = attach()
    looking = Looking(screen)
    callbacks = [Progress(), looking, Checkpoint(tmp_path, every_steps=3)]
    model.fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    *goes_on, place = looking.seen[0]
    assert "".join(goes_on) == f"resumed after 9 steps, from {tmp_path}/step-00000009"
    assert place == "1/2 epochs  ━━━  2/7 steps"
    assert re.match("2/2 epochs  took ", screen.lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize("make", ["make_model", "make_plain"])
def test_an_exception_restores_the_terminal(make, stream, attach, crash, request):
    screen = attach()
    streams = sys.stdout, sys.stderr
    model = request.getfixturevalue(make)()
    model.steps_trained = 0
    with pytest.raises(RuntimeError), Progress() as progress:
        model.fit(stream, verbose=0, callbacks=[progress, crash(epoch=0)])
    assert (sys.stdout, sys.stderr) == streams
    print("after")
    assert re.match("1/1 epochs  took 0:0", screen.lines[0])
    assert screen.lines[1:] == ["after"]


@pytest.mark.slow
def test_a_signal_restores_the_terminal(make_model, stream, attach):
    class Interrupting(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                signal.raise_signal(signal.SIGINT)

    screen = attach()
    streams = sys.stdout, sys.stderr
    with pytest.raises(Interrupted):
        make_model().fit(
            stream, verbose=0, callbacks=[Progress(), Interrupting(), GracefulShutdown()]
        )
    assert (sys.stdout, sys.stderr) == streams
    assert re.match("0/1 epochs  4/7 steps  took 0:0", screen.lines[0])
    assert len(screen.lines) == 1


def test_a_training_that_never_starts_shows_nothing(make_model, stream, attach):
    class Failing(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise RuntimeError("no luck")

    screen = attach()
    with pytest.raises(RuntimeError):
        make_model().fit(stream, verbose=0, callbacks=[Progress(), Failing()])
    assert screen.lines == []


@pytest.mark.slow
@pytest.mark.parametrize("make", ["make_model", "make_plain"])
def test_the_first_epoch_reveals_an_unknown_length(make, examples, attach, request):
    screen, clock = attach(), Clock()
    looking, slow = Looking(screen), Slow(clock, seconds=2)
    images, labels = examples
    data = tf.data.Dataset.from_tensor_slices((images / np.float32(255), np.eye(10)[labels]))
    data = data.batch(10).filter(lambda *batch: True)
    model = request.getfixturevalue(make)()
    model.fit(data, epochs=2, verbose=0, callbacks=[slow, Progress(clock=clock), looking])
    first, second = looking.seen[1:8], looking.seen[8:]
    assert [lines[0] for lines in first] == [f"0/2 epochs  {step} steps" for step in range(1, 8)]
    assert [lines[0] for lines in second] == [
        f"1/2 epochs  ━━━  {step}/7 steps  0:{2 * (7 - step):02} left" for step in range(1, 8)
    ]


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(progress).failed == 0


@pytest.mark.parametrize(("shape", "unit"), [((4, 6), "images"), ((5,), "examples")])
def test_only_examples_with_two_axes_are_images(shape, unit, without_terminal):
    lines, clock = without_terminal(), Clock()
    stream = batches(np.zeros((8, *shape), np.uint8), np.arange(8), batch_size=2)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    model = TapeModel(keras.Sequential([keras.Input(shape), *layers]))
    model.compile("sgd", "mse")
    callbacks = [Slow(clock, seconds=2), Progress(clock=clock)]
    model.fit(stream, verbose=0, callbacks=callbacks)
    assert lines()[-1].endswith(f"1 {unit}/s")
