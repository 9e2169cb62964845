"""The callbacks with Keras's other backends, each in a process of its own.

Neither is among the packages of the tests. JAX 0.10 takes 89 MB to download and 380 MB on the disk,
the CPU build of PyTorch 2.13 takes 192 MB and 750 MB: ``pip install jax torch`` to run them.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.command_line import environment

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
NOTHING = "writes nothing. Received: KERAS_BACKEND="


@pytest.fixture(params=["jax", "torch"], scope="module")
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: no callback is tested with it")
    return request.param


def run(backend, *arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment(KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )


def answer(backend, program, directory):
    """What a program of this folder prints."""
    done = run(backend, "-m", f"tests.backends.{program}", directory)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(backend, tmp_path_factory):
    """{callback: what it did} of each public callback."""
    return answer(backend, "every_callback", tmp_path_factory.mktemp("callbacks"))


def test_no_callback_changes_a_number(found):
    assert {name: it["is_same"] for name, it in found.items()} == dict.fromkeys(found, True)


def test_each_callback_writes_or_says_that_it_cannot(found, backend):
    from tests.callbacks.test_alone import PLUGINS

    silent = {"jax": {"NetworkGraph"}, "torch": {"NetworkGraph", "Profiler"}}[backend]
    for name in silent:
        (line,) = found[name]["said"]
        assert line.startswith(f"{name} {NOTHING}{backend}. Expected: tensorflow")
    for name, plugins in PLUGINS.items():
        assert set(found[name]["plugins"]) == (set() if name in silent else plugins), name
    assert any(it.endswith(".xplane.pb") for it in found["Profiler"]["files"]) == (backend == "jax")
    assert "points.tsv" in found["Projector"]["files"]
    said = {name: it["said"] for name, it in found.items() if it["said"]}
    assert said.keys() == silent | {"Progress"}


def test_each_steps_own_losses_are_logged(backend, tmp_path, points_of):
    losses = answer(backend, "step_losses", tmp_path)
    assert losses["names"] == [["loss:", "a_loss:", "b_loss:", "learning_rate:"]] * 5
    np.testing.assert_allclose(losses["logged"], losses["expected"], 1e-6)
    norms = points_of(tmp_path)["weight_norm/a"]
    assert sorted(norms) == [0, 5]


@pytest.fixture(scope="module")
def resumed(backend, tmp_path_factory):
    return answer(backend, "resumed", tmp_path_factory.mktemp("resumed"))


@pytest.mark.parametrize("kills", ["[7]", "[10]", "[1, 2]"])
def test_an_interrupted_training_ends_with_the_same_bits(kills, resumed):
    part = resumed["parts"][kills]
    seen = part.pop("seen")
    saved = {"[7]": 6, "[10]": 10, "[1, 2]": 2}[kills]
    assert part == {
        "history": True,
        "weights": True,
        "points": True,
        "said": [f"resumed after {saved} steps"],
    }
    assert seen[-1] == [*range(20)]


def test_what_is_not_exact_is_said_in_a_line(resumed, backend):
    assert resumed["other"] == {
        "generator": [
            "resume is not exact: the place in data of the kind generator is not saved with "
            f"KERAS_BACKEND={backend}; give fit arrays, or train a TapeModel on TensorFlow."
        ],
        "changed": [
            "resume is not exact: batch 1 of the epoch has changed since the checkpoint was "
            "written; resume with the same data, in the same order."
        ],
    }


def test_the_output_of_a_network_is_drawn(backend):
    script = """if True:
        import keras
        from mnist_keras.callbacks.tensorboard import builders
        network = keras.Sequential([keras.Input((4, 4)), keras.layers.Dense(4, "sigmoid")])
        outputs = network(keras.ops.ones((2, 4, 4)))  # With torch it has a gradient.
        print(builders.images("samples", outputs).value[0].tag)
    """
    done = run(backend, "-c", script)
    assert (done.stdout, done.returncode) == ("samples\n", 0), done.stderr


@pytest.fixture(scope="module")
def other_fits(backend, tmp_path_factory):
    return answer(backend, "other_fits", tmp_path_factory.mktemp("fits"))


def test_of_several_checkpoints_the_furthest_is_resumed(other_fits):
    assert other_fits["several"] == {"seen": [*range(20)], "is_same": True}


def test_a_training_anew_never_loads_the_earlier_checkpoints(other_fits):
    found = other_fits["anew"]
    (line,) = found.pop("said")
    assert line.startswith("the checkpoints of an earlier training are kept in ")
    assert line.endswith("anew/earlier-1: this training does not continue it.")
    assert found == {"step": 10, "is_same": True}


def test_several_steps_per_execution_are_never_resumed_silently(other_fits, backend):
    if backend == "torch":
        pytest.skip("Keras itself refuses several steps per execution with PyTorch")
    found = other_fits["executions"]
    *reasons, kept = found.pop("said")
    assert reasons == 2 * [
        "resume is not exact: with steps_per_execution=2 and KERAS_BACKEND=jax a training begins "
        "anew; use steps_per_execution=1."
    ]
    assert kept.endswith("executions/earlier-1: this training does not continue it.")
    assert found == {"is_same": True, "is_exact": False}


def test_a_variable_of_a_global_name_is_resumed(other_fits, backend):
    if backend == "jax":
        pytest.skip("Keras itself does not train such a variable with JAX")
    whole, resumed = other_fits["captured"]
    assert resumed == whole >= 20


def test_what_needs_tensorflow_says_so(other_fits, backend):
    assert other_fits["refused"] == [
        f"{name} needs the TensorFlow backend. Received: {backend}. "
        "Expected: KERAS_BACKEND=tensorflow."
        for name in ("TapeModel", "LearningRateFinder")
    ]
