"""The user's keras.json, which the command line either ignores or refuses."""

import doctest
import json
import os
import subprocess
import sys

import pytest

from mnist_keras.app import keras_settings
from mnist_keras.errors import UsageError
from tests.command_line import environment, fork_main, run_main, tree, write_small_mnist

WRONG = {
    '{"floatx": "bfloat16"}': "floatx='bfloat16'. Expected: one of float16, float32, float64.",
    '{"image_data_format": 1}': (
        "image_data_format=1. Expected: one of channels_last, channels_first."
    ),
    '{"epsilon": 1}': "epsilon=1. Expected: a number like 1e-7.",
    "[]": "[]. Expected: a JSON object.",
}
HARMLESS = ["{}", "not JSON", '{"floatx": "float16", "epsilon": 0.5, "backend": "jax"}']


def home(directory, text):
    """The environment of a user with this keras.json."""
    directory.mkdir(exist_ok=True)
    (directory / "keras.json").write_text(text)
    return {"KERAS_HOME": str(directory)}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_setting_is_refused_with_the_file(text, tmp_path):
    with pytest.raises(UsageError) as caught:
        keras_settings.require_usable(home(tmp_path, text))
    path = tmp_path / "keras.json"
    assert str(caught.value) == (
        f"the settings of Keras in {path} are wrong. Received: {WRONG[text]}"
    )


def test_a_pipe_or_endless_nesting_is_refused(tmp_path):
    user = home(tmp_path, "[" * 100_000)
    with pytest.raises(UsageError, match=r"Received: JSON that is nested too deep\."):
        keras_settings.require_usable(user)
    (tmp_path / "keras.json").unlink()
    os.mkfifo(tmp_path / "keras.json")
    with pytest.raises(UsageError, match=r"Received: a named pipe\."):
        keras_settings.require_usable(user)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_settings_are_accepted(text, tmp_path):
    keras_settings.require_usable(home(tmp_path, text))


def test_the_file_is_found_without_keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    home(tmp_path / ".keras", "[]")
    with pytest.raises(UsageError, match=r"/\.keras/keras\.json are wrong"):
        keras_settings.require_usable({})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "evaluate", "predict", "export"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_ends_the_command_with_one_line(backend, mode, runs_of_cnn):
    place, _ = runs_of_cnn
    before = tree(place)
    done = run_main(f"--mode={mode}", cwd=place, KERAS_BACKEND=backend)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: training needs the TensorFlow backend of Keras. "
        f"Received: KERAS_BACKEND={backend}. "
        "Expected: KERAS_BACKEND=tensorflow, or no KERAS_BACKEND.\n"
    )
    assert tree(place) == before


@pytest.fixture(scope="module")
def runs_of_cnn(tmp_path_factory):
    """A directory, and {keras.json: what all modes print} of a run with each file."""
    place = tmp_path_factory.mktemp("place")
    write_small_mnist(place / "data")
    printed = {}
    others = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.5}
    for number, settings in enumerate(({}, {**others, "backend": "jax"})):
        text = json.dumps(settings)
        user = home(place / f"home_{number}", text)
        run = f"--run_name=run_{number}"
        recipe = ("--data_dir=data", "--network=cnn", "--epochs=1", "--optimizer=adam")
        # Keras reads the file when it is imported. A fork has its defaults.
        run_mode = run_main if settings else fork_main
        printed[text] = [
            run_mode(*arguments, run, cwd=place, **user).stdout
            for arguments in (
                recipe,
                ["--mode=evaluate"],
                ["--mode=predict", "data/t10k-images-idx3-ubyte.gz"],
            )
        ]
        printed[text].append((place / f"logs/run_{number}/model.keras").read_bytes())
        exported = run_mode(
            "--mode=export", "--formats=saved_model", "--json", run, cwd=place, **user
        )
        printed[text].append(json.loads(exported.stdout.splitlines()[-1])["accuracy"])
    return place, printed


@pytest.mark.slow
def test_no_setting_of_keras_json_changes_a_number(runs_of_cnn):
    _, printed = runs_of_cnn
    first, *others = printed.values()
    assert "test loss: " in first[0]
    assert "test loss: " in first[1]
    assert len(first[2].splitlines()) == 200
    for text, other in zip([*printed][1:], others, strict=True):
        assert other == first, text


@pytest.mark.slow
def test_every_network_states_its_data_format(tmp_path):
    script = (
        "import keras; from mnist_keras.app import networks\n"
        "print(keras.config.image_data_format())\n"
        "built = [networks.build(name) for name in networks.NETWORKS]\n"
        "layers = [layer for network in built for layer in network.layers]\n"
        "print({it.data_format for it in layers if hasattr(it, 'data_format')})"
    )
    user = home(tmp_path, '{"image_data_format": "channels_first"}')
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(**user)
    )
    assert done.stdout.splitlines() == ["channels_first", "{'channels_last'}"]


def test_the_example_is_true():
    assert doctest.testmod(keras_settings).failed == 0
