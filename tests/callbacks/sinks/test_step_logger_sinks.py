import contextlib
import signal

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.callbacks.sinks import CsvSink, JsonLinesSink, Sink
from mnist_keras.data import batches
from mnist_keras.errors import Interrupted, UsageError
from tests.callbacks.killing import Kill, Killed
from tests.callbacks.sinks import stores

KINDS = {
    "one step per execution": ("make_model", 1),
    "more steps than an epoch": ("make_model", 100),
    "a plain keras.Model": ("make_plain", 1),
}


class Broken(Sink):
    def begin(self, step):
        raise OSError("unreachable")

    def write(self, step, values):
        raise OSError("unreachable")

    def close(self):
        raise OSError("unreachable")


def float32(points):
    """The points as TensorBoard stores them."""
    return {name: {s: float(np.float32(v)) for s, v in p.items()} for name, p in points.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sinks_get_the_values_of_the_event_files(
    kind, request, stream, held_out, tmp_path, points_of
):
    make, steps_per_execution = KINDS[kind]
    model = request.getfixturevalue(make)(steps_per_execution=steps_per_execution)
    sinks = [CsvSink(tmp_path / "steps.csv"), JsonLinesSink(tmp_path / "steps.jsonl")]
    model.fit(
        stream,
        epochs=2,
        validation_data=batches(*held_out, batch_size=10),
        verbose=0,
        callbacks=[StepLogger(tmp_path, every_steps=3, sinks=sinks)],
    )
    points = stores.csv_points(tmp_path / "steps.csv")
    assert stores.json_points(tmp_path / "steps.jsonl") == points
    validation = {
        f"epoch_val_{tag.removeprefix('epoch_')}": curve
        for tag, curve in points_of(tmp_path / "validation").items()
    }
    assert float32(points) == {**points_of(tmp_path / "train"), **validation}
    assert points["loss"].keys() == {0, 3, 6, 9, 12}
    assert points["epoch_val_loss"].keys() == {7, 14}


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [4, 7, 9, 14])
def test_an_interrupted_run_leaves_the_same_file(killed_at, make_model, stream, tmp_path):
    def fit(name, *more):
        logger = StepLogger(None, every_steps=1, sinks=[CsvSink(tmp_path / f"{name}.csv")])
        checkpoint = Checkpoint(tmp_path / name, every_steps=4)
        make_model(dropout=0.5, optimizer="adam", steps_per_execution=3).fit(
            stream, epochs=3, verbose=0, callbacks=[logger, checkpoint, *more]
        )
        points = stores.csv_points(tmp_path / f"{name}.csv")
        del points["examples_per_second"]
        return points

    expected = fit("uninterrupted")
    with pytest.raises(Killed):
        fit("killed", Kill(killed_at))
    assert fit("killed") == expected


@pytest.mark.slow
def test_a_sink_that_fails_changes_nothing_else(make_plain, stream, tmp_path, capsys):
    histories = []
    for sinks in ([], [Broken(), CsvSink(tmp_path / "steps.csv")]):
        model = make_plain(optimizer=keras.optimizers.SGD(0.01))
        logger = StepLogger(None, every_steps=2, sinks=sinks, echo=False)
        stream.epoch = 0
        histories.append(model.fit(stream, epochs=1, verbose=0, callbacks=[logger]).history)
    assert histories[0] == histories[1]
    lines = capsys.readouterr().err.splitlines()
    # At the beginning, and at the end, when it is too late.
    assert [line.partition(",")[0] for line in lines] == ["Broken does not work"] * 2
    assert stores.csv_points(tmp_path / "steps.csv")["loss"].keys() == {0, 2, 4, 6}


class Ends(Sink):
    """Notes how each training ends."""

    def __init__(self):
        self.calls = []

    def fail(self, *, interrupted):
        self.calls.append("interrupted" if interrupted else "failed")

    def close(self):
        self.calls.append("closed")


class Raising(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self._error = error

    def on_epoch_end(self, epoch, logs=None):
        if self._error is not None:
            raise self._error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["make_plain", "make_model"])
def test_sinks_learn_how_a_training_ended(kind, request, stream):
    model, ends = request.getfixturevalue(kind)(), Ends()
    for error in (RuntimeError(), KeyboardInterrupt(), Interrupted(signal.SIGTERM), None):
        logger = StepLogger(None, echo=False, sinks=[ends])
        with contextlib.suppress(RuntimeError, KeyboardInterrupt, Interrupted), logger:
            model.fit(stream, verbose=0, callbacks=[logger, Raising(error)])
    after_signals = ["interrupted", "closed"] * 2
    assert ends.calls == ["failed", "closed", *after_signals, "closed"]


def test_a_wrong_sink_is_refused_at_construction(tmp_path):
    with pytest.raises(UsageError, match="a sink is wrong"):
        StepLogger(None, sinks=[tmp_path / "steps.csv"])


def fitted_anew(directory):
    """A plain model that is trained in a directory where others may have been."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    sinks = [CsvSink(directory / "steps.csv"), JsonLinesSink(directory / "steps.jsonl")]
    logger = StepLogger(None, every_steps=1, echo=False, sinks=sinks)
    model.fit(np.ones((8, 3)), np.ones(8), batch_size=4, verbose=0, callbacks=[logger])


@pytest.mark.slow
def test_a_training_that_begins_anew_keeps_the_earlier_files(tmp_path, capsys):
    kept = []
    for _ in range(3):
        fitted_anew(tmp_path)
        kept.append({name: (tmp_path / name).read_bytes() for name in ("steps.csv", "steps.jsonl")})
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {
        **{name.replace(".", "-earlier-1."): values for name, values in kept[0].items()},
        **{name.replace(".", "-earlier-2."): values for name, values in kept[1].items()},
        **kept[2],
    }
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" are kept in ")[0] for line in lines] == 4 * [
        "the values of an earlier training"
    ]


@pytest.mark.slow
def test_a_training_killed_before_a_checkpoint_repeats_its_lines(make_model, stream, tmp_path):
    for kill in ([Kill(3)], []):
        logger = StepLogger(None, every_steps=1, sinks=[CsvSink(tmp_path / "steps.csv")])
        callbacks = [logger, Checkpoint(tmp_path / "checkpoints", every_steps=50), *kill]
        try:
            make_model().fit(stream, epochs=1, verbose=0, callbacks=callbacks)
        except Killed:
            logger.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "steps.csv"]
    assert [*stores.csv_points(tmp_path / "steps.csv")["loss"]] == [*range(7)]
