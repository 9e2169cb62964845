"""Lines of callbacks beside the progress bar that Keras draws with ``fit(verbose=1)``."""

import io
import re
import sys

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import StepLogger
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.console import terminal
from tests import forks
from tests.command_line import environment
from tests.terminals import Screen, Terminal, run_in_terminal, use_terminal

STEPS, EPOCHS = 6, 2
LOSS = re.compile(r"(\d) (\d) loss: \d+\.\d+(e-\d+)?")
BAR = re.compile(r"\d/6 ━+ .*- loss: .*")
PROGRAM = "import tests.callbacks.test_keras_bar as program; program.train(program.wrapped)"


class Noticing(StepCallback):
    """Prints a notice after the fourth step and at the end of each epoch, after the bar."""

    priority = 1

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if batch == 3:
            terminal.notice("a notice")

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        terminal.notice("the end")


def plain():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


def wrapped():
    return TapeModel(plain())


def train(make):
    """Train with the bar; the loss of every second step is printed."""
    model = make()
    model.compile("sgd", loss="mse", steps_per_execution=1)
    x, y = np.ones((4 * STEPS, 3)), np.full((4 * STEPS, 1), 9)
    callbacks = [StepLogger(None, every_steps=2), Noticing()]
    model.fit(x, y, batch_size=4, epochs=EPOCHS, verbose=1, callbacks=callbacks)


def ours(lines):
    """The lines without numbers that change, and without the bar's lines in between."""
    lines = [line for line in lines if not BAR.match(line)]
    return [LOSS.sub(r"\1 \2 loss", line) for line in lines]


def expected(epoch):
    lines = [f"{epoch} 0 loss", f"{epoch} 2 loss", "a notice", f"{epoch} 4 loss"]
    return [str(epoch), f"Epoch {epoch + 1}/{EPOCHS}", *lines, "the end"]


EVERYTHING = [line for epoch in range(EPOCHS) for line in expected(epoch)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [plain, wrapped])
def test_on_a_terminal_only_the_finished_bars_stay(make, monkeypatch):
    use_terminal(monkeypatch, columns=100)
    screen = Screen(100)
    monkeypatch.setattr(sys, "stdout", Terminal(screen))
    monkeypatch.setattr(sys, "stderr", Terminal(screen))
    train(make)
    bars = [line for line in screen.lines if BAR.match(line)]
    assert [bar[:3] for bar in bars] == ["6/6", "6/6"]
    # A plain model calls our callbacks before the bar, so its last notice precedes the bar.
    assert ours(screen.lines) == EVERYTHING


class DrawnBar:
    """A bar on the line of the cursor."""

    def __init__(self, *, rows):
        self.is_drawn, self.rows = True, rows

    def leave(self):
        self.is_drawn = False


def test_a_bar_on_two_rows_is_erased_completely(monkeypatch):
    use_terminal(monkeypatch, columns=30)
    monkeypatch.setattr(sys, "stdout", Terminal(screen := Screen(30)))
    sys.stdout.write("above\n" + "x" * 45)
    bar = DrawnBar(rows=2)
    terminal.add_bar(bar)
    terminal.print_line("a line")
    terminal.print_line("another")
    assert screen.lines == ["above", "a line", "another"]


def parts_of(text):
    """The lines of a file, with what Keras takes back by backspaces removed."""
    return [line.split("\r")[-1].lstrip("\b") for line in text.split("\n")[:-1]]


@pytest.mark.parametrize("make", [plain, wrapped])
def test_in_a_file_each_line_stands_alone(make, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", file)
    train(make)
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in parts_of(file.getvalue())]
    assert ours(lines) == EVERYTHING


def test_a_notice_elsewhere_leaves_the_bar_alone(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    bar = DrawnBar(rows=1)
    terminal.add_bar(bar)
    terminal.notice("a notice")
    assert (out.getvalue(), err.getvalue(), bar.is_drawn) == ("", "a notice\n", True)
    terminal.print_line("a line")
    assert (out.getvalue(), err.getvalue(), bar.is_drawn) == ("\na line\n", "a notice\n", False)


@pytest.mark.slow
def test_a_pipe_and_a_terminal_of_a_process_agree(tmp_path):
    env = environment(TERM="xterm-256color", PYTHONPATH=".", TF_CPP_MIN_LOG_LEVEL="3")
    command = [sys.executable, "-c", PROGRAM]
    cwd = str(__file__).partition("/tests/")[0]
    status, screen = run_in_terminal(command, columns=100, cwd=cwd, **env)
    assert status == 0
    on_screen = [line for line in ours(screen.lines) if line in EVERYTHING]
    with forks.Popen(command, cwd=cwd, env=env, stdout=-1, stderr=-2, text=True) as process:
        printed, _ = process.communicate()
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in parts_of(printed)]
    assert [line for line in ours(lines) if line in EVERYTHING] == on_screen == EVERYTHING
