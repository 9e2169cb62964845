"""Each TensorBoard callback, used alone with every kind of plain ``keras.Model``."""

import functools
import pickle

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mnist_keras import callbacks
from mnist_keras.callbacks.tensorboard.exam import Exam
from tests.models import Subclassed, functional

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6), np.uint8)
LABELS = np.arange(12) % 3
INPUTS = IMAGES / np.float32(255)
TARGETS = np.eye(3, dtype=np.float32)[LABELS]


def layers():
    dense = [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3)]
    return [keras.layers.Flatten(), *dense]


def first_batch():
    return IMAGES, LABELS


KINDS = {
    "sequential": keras.Sequential,
    "functional": functools.partial(functional, shape=(6, 6)),
    "subclassed": Subclassed,
}
MAKE = {
    "ChartLayout": callbacks.ChartLayout,
    "ClassScores": lambda path: callbacks.ClassScores(path, Exam(INPUTS, LABELS)),
    "ConfusionMatrix": lambda path: callbacks.ConfusionMatrix(path, Exam(INPUTS, LABELS)),
    "FirstLayerWeights": callbacks.FirstLayerWeights,
    "HParams": lambda path: callbacks.HParams(
        path, {"layers": [4, 3], "decay": None, "a": {"b": 1}}
    ),
    "Histograms": lambda path: callbacks.Histograms(path, (INPUTS, TARGETS), every_epochs=1),
    "InputSample": lambda path: callbacks.InputSample(path, first_batch),
    "MemoryUsage": callbacks.MemoryUsage,
    "Mistakes": lambda path: callbacks.Mistakes(path, Exam(INPUTS, LABELS)),
    "NetworkGraph": callbacks.NetworkGraph,
    "PRCurves": lambda path: callbacks.PRCurves(path, Exam(INPUTS, LABELS), every_epochs=1),
    "Profiler": lambda path: callbacks.Profiler(path, first=0, last=1),
    "Projector": lambda path: callbacks.Projector(path, Exam(INPUTS, LABELS)),
    "RunText": lambda path: callbacks.RunText(path, {"layers": [4, 3]}),
    "WeightNorms": callbacks.WeightNorms,
}
PLUGINS = {
    "ChartLayout": {"custom_scalars"},
    "ClassScores": {"scalars"},
    "ConfusionMatrix": {"images"},
    "FirstLayerWeights": {"images"},
    "HParams": {"hparams"},
    "Histograms": {"histograms"},
    "InputSample": {"images"},
    "MemoryUsage": {"scalars"},
    "Mistakes": {"images"},
    "NetworkGraph": {"graphs"},
    "PRCurves": {"pr_curves"},
    "Profiler": set(),
    "Projector": set(),
    "RunText": {"text"},
    "WeightNorms": {"scalars"},
}
FILES = {"Profiler": "profile/steps_0-1/*.xplane.pb", "Projector": "*projector/points.tsv"}


def plugins_in(directory):
    """The dashboards for which a directory's event files have data."""
    return {
        value.metadata.plugin_data.plugin_name
        for path in directory.glob("events*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_callback_writes_for_its_dashboard(kind, tmp_path):
    model = KINDS[kind](layers())
    model.compile(optimizer="sgd", loss="mse", metrics=["accuracy"])
    found, files = {}, {}
    for name, make in MAKE.items():
        path = tmp_path / name
        model.fit(INPUTS, TARGETS, batch_size=4, verbose=0, callbacks=[make(path)])
        found[name] = plugins_in(path)
        files[name] = [str(p.relative_to(path / "plugins")) for p in path.glob("plugins/**/*.*")]
    assert found == PLUGINS
    for name, pattern in FILES.items():
        assert list((tmp_path / name / "plugins").glob(pattern)), name
    assert {name for name, written in files.items() if written} == {*FILES}


CORE = {
    "AveragedWeights": lambda path: callbacks.AveragedWeights(),
    "Checkpoint": lambda path: callbacks.Checkpoint(path / "checkpoints", every_steps=2),
    "DivergenceGuard": lambda path: callbacks.DivergenceGuard(),
    "GracefulShutdown": lambda path: callbacks.GracefulShutdown(),
    "Progress": lambda path: callbacks.Progress(),
    "StepLogger": callbacks.StepLogger,
}


def test_the_tables_list_all_public_callbacks():
    errors = {"CheckpointError", "DivergedError", "Interrupted", "NotExactError"}
    by_itself = {"LearningRateFinder"}  # It refuses what writes, see its own tests.
    bases = {"EventCallback", "EveryEpochsCallback"}
    others = bases | errors | by_itself | {"load_weights"}
    assert {*callbacks.__all__} == {*MAKE, *CORE} | others


@pytest.mark.slow
def test_pickled_callbacks_work_together_as_well(tmp_path):
    model = KINDS["sequential"](layers())
    sgd = keras.optimizers.SGD(use_ema=True)
    model.compile(optimizer=sgd, loss="mse", metrics=["accuracy"])
    used = [make(tmp_path) for make in {**MAKE, **CORE}.values()]
    for fit in range(2):
        used = pickle.loads(pickle.dumps(used))
        for path in tmp_path.rglob("*.*"):
            path.unlink()
        model.fit(INPUTS, TARGETS, batch_size=4, verbose=0, callbacks=used)
        assert plugins_in(tmp_path) | {"scalars"} == set().union(*PLUGINS.values()), fit
        assert plugins_in(tmp_path / "train") == {"scalars"}
        assert [*tmp_path.glob("plugins/" + FILES["Projector"])]
        assert [*tmp_path.glob("checkpoints/step-*/manifest.json")]
