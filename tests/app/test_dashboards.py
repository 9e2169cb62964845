"""Everything that TensorBoard shows of an uninterrupted and of an interrupted run."""

import contextlib
import io

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.util.tensor_util import make_ndarray

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.app import dashboards
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.input_sample import InputSample
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback
from mnist_keras.data import Examples, batches
from mnist_keras.data.datasets.descriptions import describe

EVERYTHING = {
    "weight_norms_every_epochs": 1,
    "pictures_every_epochs": 2,
    "histograms_every_epochs": 1,
    "pr_curves_every_epochs": 1,
    "projector": True,
    "profile_steps": "5-8",
}
NOTHING = {
    "chart_layout": False,
    "run_text": False,
    "hparams": False,
    "network_graph": False,
    "memory_usage": False,
    "weight_norms_every_epochs": 0,
    "pictures_every_epochs": 0,
}
HELD_OUT = 15


@pytest.fixture(scope="module")
def train_set(digits):
    """7 batches of 10 and 15 held-out images."""
    return Examples(digits[0][:80], digits[1][:80])


@pytest.fixture
def names(train_set, tmp_path):
    """names(**flags): the names of a recipe's callbacks."""

    def names(**flags):
        run = RunDirectory(tmp_path)
        made = dashboards.callbacks(run, RunConfig(**flags), stream=None, train_set=train_set)
        return [type(callback).__name__ for callback in made]

    return names


def test_each_flag_has_its_callbacks(names):
    assert names(**NOTHING) == []
    for flag, expected in {
        "chart_layout": ["ChartLayout"],
        "run_text": ["RunText"],
        "hparams": ["HParams"],
        "network_graph": ["NetworkGraph"],
        "memory_usage": ["MemoryUsage"],
        "projector": ["Projector"],
    }.items():
        assert names(**{**NOTHING, flag: True}) == expected
    assert names(**{**NOTHING, "weight_norms_every_epochs": 3}) == ["WeightNorms"]
    pictures = ["Mistakes", "ConfusionMatrix", "ClassScores", "InputSample", "FirstLayerWeights"]
    assert names(**{**NOTHING, "pictures_every_epochs": 3}) == pictures
    assert names(**{**NOTHING, "histograms_every_epochs": 3}) == ["Histograms"]
    assert names(**{**NOTHING, "pr_curves_every_epochs": 3}) == ["PRCurves"]
    assert names(**{**NOTHING, "profile_steps": "3-4"}) == ["Profiler"]


def test_cheap_callbacks_are_on_by_default(names):
    costly = {"Histograms", "PRCurves", "Projector", "Profiler"}
    assert set(names(**EVERYTHING)) - set(names()) == costly


def make_model(*, steps_per_execution):
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((28, 28)),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.Dropout(0.5, name="dropout"),
        keras.layers.Dense(10, name="scores"),
    ]
    model = TapeModel(keras.Sequential(layers, name="network"))
    model.compile(
        optimizer="adam",
        loss=SumSquaredError(),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def session(train_set, runs):
    """Train a run from its newest checkpoint to its end or to a crash."""

    def session(name, *crashes, epochs=3, steps_per_execution=5, **flags):
        run = RunDirectory(runs / name)
        config = RunConfig(validation_examples=HELD_OUT, **{**EVERYTHING, **flags})
        images, labels = train_set.images, train_set.labels
        stream = batches(
            images[:-HELD_OUT], labels[:-HELD_OUT], batch_size=10, shuffle=True, seed=5
        )
        with contextlib.suppress(RuntimeError):
            make_model(steps_per_execution=steps_per_execution).fit(
                stream,
                epochs=epochs,
                validation_data=batches(images[-HELD_OUT:], labels[-HELD_OUT:], batch_size=5),
                verbose=0,
                callbacks=[
                    StepLogger(run.path, every_steps=3, echo=False),
                    Checkpoint(run.checkpoints, every_steps=2),
                    *dashboards.callbacks(run, config, stream=stream, train_set=train_set),
                    *crashes,
                ],
            )

    return session


@pytest.fixture(scope="module")
def whole(session):
    """The name of a run of 3 epochs that nothing interrupts."""
    session("whole")
    return "whole"


@pytest.fixture
def shown(runs, summaries_of):
    """{(part, tag, step): (plugin, value)} of a run, without values that differ between runs."""

    def shown(name):
        summaries = {}
        for part in (".", "train", "validation"):
            for tag, values in summaries_of(runs / name / part).items():
                for step, (plugin, array) in values.items():
                    summaries[part, tag, step] = plugin, array.tolist()
        for key in summaries:
            if key[1].startswith(("memory/", "examples_per_second")):
                summaries[key] = "measured"
        return summaries

    return shown


def plugin_files(directory):
    files = directory.glob("plugins/org_tensorflow_tensorboard_projector/*")
    return {path.name: path.read_bytes() for path in files}


CHAINS = {
    "amid epochs": [{"step": 1}, {"step": 4, "saved": True}, {"step": 9}, {"step": 17}],
    "at the ends of epochs": [
        {"step": 7, "saved": True},
        {"epoch": 0},
        {"epoch": 1, "saved": True},
        {"epoch": 1, "saved": True},
        {"epoch": 2},
        {"epoch": 2, "saved": True},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_an_interrupted_run_shows_each_step_once_with_unchanged_values(
    chain, session, whole, shown, crash, runs
):
    for number, where in enumerate(CHAINS[chain]):
        session(chain, crash(**where), steps_per_execution=(5, 1, 100)[number % 3])
    session(chain)
    found, expected = shown(chain), shown(whole)
    assert found.keys() == expected.keys()
    assert {key for key, value in found.items() if value != expected[key]} == set()
    assert plugin_files(runs / chain) == plugin_files(runs / whole)
    assert {value[0] for value in expected.values() if value != "measured"} >= {
        "custom_scalars",
        "graphs",
        "histograms",
        "hparams",
        "images",
        "pr_curves",
        "scalars",
        "text",
    }


@pytest.mark.slow
def test_an_extended_run_shows_what_a_longer_run_shows(session, shown):
    session("longer", epochs=5)
    session("extended", epochs=3)
    assert (".", "mistakes", 21) in shown("extended")
    session("extended", epochs=5)
    assert shown("extended") == shown("longer")


@pytest.mark.slow
def test_flags_may_change_from_session_to_session(session, shown, crash):
    session("changed", crash(step=9), **NOTHING)
    session("changed")
    tags = {tag.partition("/")[0] for part, tag, _ in shown("changed") if part == "."}
    assert {"mistakes", "recipe", "weights", "update_ratio", "memory"} <= tags


@pytest.mark.slow
def test_the_test_scores_are_written_once(session, shown, runs):
    session("a", epochs=2)
    before = shown("a")
    run = RunDirectory(runs / "a")
    for _ in range(2):
        dashboards.write_scores(run, step=14, loss=0.5, accuracy=0.75)
    added = {
        (".", "test_loss", 14): ("scalars", 0.5),
        (".", "test_accuracy", 14): ("scalars", 0.75),
    }
    assert shown("a") == {**before, **added}
    session("a", epochs=3)
    assert {key for key in shown("a") if key[1].startswith("test_")} == set()
    dashboards.write_scores(run, step=21, loss=0.25, accuracy=1.0)
    assert shown("a")[".", "test_loss", 21] == ("scalars", 0.25)


def test_the_test_scores_can_be_the_only_points(tmp_path, points_of):
    run = RunDirectory(tmp_path)
    dashboards.write_scores(run, step=7, loss=0.5, accuracy=0.75)
    assert points_of(tmp_path) == {"test_loss": {7: 0.5}, "test_accuracy": {7: 0.75}}


def test_the_model_is_examined_on_held_out_or_training_images(train_set, tmp_path):
    for held_out, first in ((HELD_OUT, 65), (0, 0)):
        config = RunConfig(validation_examples=held_out)
        made = dashboards.callbacks(
            RunDirectory(tmp_path), config, stream=None, train_set=train_set
        )
        (exam,) = {c.exam for c in made if isinstance(c, ExamCallback)}
        np.testing.assert_array_equal(exam.images, train_set.images[first:])
        np.testing.assert_array_equal(exam.labels, train_set.labels[first:])


@pytest.mark.parametrize(
    ("dataset", "third"), [("mnist", "2"), ("fashion_mnist", "Pullover"), ("kmnist", "su")]
)
def test_class_names_are_those_of_the_data_set(dataset, third, digits, tmp_path):
    config = RunConfig(dataset=dataset)
    train_set = Examples(digits[0][:80], digits[1][:80], description=describe(dataset))
    stream = batches(train_set.images, train_set.labels, batch_size=10)
    run = RunDirectory(tmp_path)
    made = dashboards.callbacks(run, config, stream=stream, train_set=train_set)
    (exam,) = {c.exam for c in made if isinstance(c, ExamCallback)}
    assert exam.class_names(10)[2] == third
    (sample,) = (c for c in made if isinstance(c, InputSample))
    (summary,) = sample.summaries()
    _, _, png = make_ndarray(summary.value[0].tensor)
    captions = [exam.class_names(10)[label] for label in train_set.labels[:10]]
    expected = drawing.grid(train_set.images[:10], captions, columns=5)
    np.testing.assert_array_equal(Image.open(io.BytesIO(png)), expected)
