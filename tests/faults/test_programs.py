"""The test harness distinguishes right from wrong results."""

import collections
import functools
import pathlib
import sys
import types

import keras
import numpy as np
import pytest

from tests.faults import interrupted, programs
from tests.faults.interrupted import Ending, Stop, Training
from tests.faults.programs import Pair, parse, unlike
from tests.pipelines import PIPELINES
from tests.pipelines.pipeline import Pipeline

NOTICE = "resume is not exact: a reason. Expected: something else."


def arrays():
    generator = np.random.default_rng(0)
    return generator.standard_normal((24, 3)).astype("float32"), generator.random((24, 1))


def make(base):
    inputs = keras.Input((3,))
    model = base(inputs, keras.layers.Dense(1)(inputs))
    model.compile(optimizer="adam", loss="mse")
    return model


@pytest.fixture
def table(monkeypatch):
    """The name of a module with a program and a pipeline that cannot resume."""
    program = types.SimpleNamespace(make=make, arrays=arrays, batch_size=4)
    monkeypatch.setitem(
        sys.modules, "a_table", types.SimpleNamespace(PROGRAMS={"program": program})
    )
    monkeypatch.setitem(PIPELINES, "exact", Pipeline("exact", None, True))
    monkeypatch.setitem(PIPELINES, "inexact", Pipeline("inexact", None, "a reason"))
    monkeypatch.setitem(PIPELINES, "unseeded", Pipeline("unseeded", None, True, is_seeded=False))
    return "a_table"


def finished(loss=1.0, *, lines=(), examples=()):
    return Ending(
        "finished",
        list(lines),
        variables={"kernel": np.array(loss)},
        metrics={},
        history={"loss": [loss]},
        examples=list(map(collections.Counter, examples)),
        steps=12,
    )


STOPPED = Ending("stopped", [])
RESUMED = "resumed after 4 steps, from a directory"
CASES = {
    "the same": ("exact", [finished(), STOPPED, finished()], "same bits"),
    "another loss": (
        "exact",
        [finished(), STOPPED, finished(2.0), finished()],
        "SILENTLY DIFFERENT",
    ),
    "another loss each time": (
        "exact",
        [finished(), STOPPED, finished(2.0), finished(3.0)],
        "not reproducible",
    ),
    "another loss, as is said": (
        "inexact",
        [finished(), STOPPED, finished(2.0, lines=[NOTICE])],
        "said",
    ),
    "another loss, as was said before": (
        "inexact",
        [finished(lines=[NOTICE]), STOPPED, finished(2.0)],
        "said",
    ),
    "another loss unsaid": (
        "inexact",
        [finished(), STOPPED, finished(2.0, lines=[RESUMED])],
        "SILENTLY DIFFERENT",
    ),
    "another loss of a training anew": (
        "inexact",
        [finished(), STOPPED, finished(2.0), finished(3.0)],
        "not reproducible",
    ),
    "the same, but said": ("exact", [finished(), STOPPED, finished(lines=[NOTICE])], "said"),
    "refused": ("exact", [finished(), STOPPED, Ending("refused", [], "an error")], "refused"),
    "crashed": ("exact", [finished(), Ending("crashed", [], "an error")], "CRASHED"),
    "crashed at once": ("exact", [Ending("crashed", [], "an error")], "CRASHED"),
    "each example once": (
        "unseeded",
        [finished(examples=["aabc"]), STOPPED, finished(2.0, examples=["caab"])],
        "same bits",
    ),
    "an example twice": (
        "unseeded",
        [finished(examples=["abc"]), STOPPED, finished(examples=["aac"], lines=[RESUMED])],
        "SILENTLY DIFFERENT",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_training_gets_the_right_kind_of_result(case, table, tmp_path, monkeypatch):
    pipeline, endings, expected = CASES[case]
    left = iter(endings)

    def attempt(training, stop=None):
        if training.directory is None:
            return finished()
        return next(left)

    monkeypatch.setattr(interrupted, "attempt", attempt)
    options = parse(["--seed=1"])
    pair = Pair(table, ("program", pipeline), 0, options)
    pair.chance = types.SimpleNamespace(
        choice=lambda choices: choices[0], randint=lambda first, last: first
    )
    assert pair.examine(tmp_path).kind == expected
    assert list(left) == []


def test_a_history_may_differ_only_by_rounding():
    keras_history = {"epoch": [0, 1], "loss": [4.0, 2.0]}
    assert unlike({"epoch": [0, 1], "loss": [4.0, 2.000001]}, keras_history) == []
    assert unlike({"epoch": [0, 1], "loss": [4.0, 2.0001]}, keras_history) == [
        "loss is [4.0, 2.0001] for [4.0, 2.0]"
    ]
    assert unlike({"epoch": [0], "loss": [4.0]}, keras_history)[1] == (
        "loss has the shape (1,) for (2,)"
    )
    assert unlike({"epoch": [0, 1]}, keras_history) == ["it has ['epoch'] for ['epoch', 'loss']"]


def test_a_pair_is_determined_by_its_names_and_seed(table):
    def drawn(seed, turn):
        pair = Pair(table, ("program", "exact"), turn, parse([f"--seed={seed}"]))
        return pair.training, pair.chance.random()

    assert drawn(1, 0) == drawn(1, 0)
    assert len({drawn(1, 0)[1], drawn(1, 1)[1], drawn(2, 0)[1]}) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The `Ending` of the uninterrupted training, computed on the first call."""
    directory = tmp_path_factory.mktemp("whole")
    return functools.cache(lambda training: interrupted.attempt(training(directory)))


@pytest.mark.slow
@pytest.mark.parametrize("how", interrupted.WAYS)
def test_an_interrupted_training_ends_with_the_same_bits(how, table, tmp_path, whole):
    expected = whole(training)
    victim = training(tmp_path)
    assert interrupted.attempt(victim, Stop(5, how)).kind == "stopped"
    ending = interrupted.attempt(victim)
    assert (ending.kind, ending.steps) == ("finished", 12)
    assert [step for step, _ in ending.points["train/loss"]] == list(range(12))
    assert programs._compare(ending, expected, is_seeded=True) == []


def training(directory):
    return Training("a_table", "program", "arrays, in order", 2, 4, 2, directory)


def test_repeated_examples_count_once(tmp_path):
    path = pathlib.Path(tmp_path, "examples.jsonl")
    path.write_text('{"from": 0}\n["a", "b"]\n["c"]\n["b", "a"]\n{"from": 2}\n["a", "a"]\n["c"]\n')
    assert interrupted.examples_in(path, epochs=2) == [{"a": 1, "b": 1, "c": 1}, {"a": 2, "c": 1}]
