"""The library loads no part of the application and none of the application's own libraries."""

import subprocess
import sys

import pytest

from tests import forks
from tests.command_line import environment

APPLICATION = ("mnist_keras.app", "mnist_keras.photos", "mnist_keras.data.datasets")
OF_THE_APPLICATION = ("scipy", "requests", "jinja2")
PROGRAM = """\
import sys
{imports}
print(*sys.modules)
"""


def loaded(imports, *, run=forks.run):
    """The modules of a process with TensorFlow and Keras after some imports."""
    done = run(
        [sys.executable, "-c", PROGRAM.format(imports=imports)],
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def of(modules, names):
    return {it for it in modules if any(f"{it}.".startswith(f"{name}.") for name in names)}


LIBRARY = """\
from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.callbacks import StepLogger, Checkpoint, GracefulShutdown
from mnist_keras.data import BatchStream, Examples, batches
"""


@pytest.mark.slow
def test_the_library_loads_nothing_of_the_application():
    modules = loaded(LIBRARY)
    assert {"mnist_keras.model.tape_model", "mnist_keras.data.stream"} <= modules
    assert of(modules, APPLICATION) == set()
    # TensorFlow, Keras and TensorBoard load these themselves if they are installed.
    frameworks = loaded("import tensorflow, keras, tensorboard")
    assert of(modules - frameworks, OF_THE_APPLICATION) == set()


def test_the_package_alone_loads_no_framework():
    imports = "import mnist_keras, mnist_keras.data, mnist_keras.prediction"
    modules = loaded(imports, run=subprocess.run)
    assert of(modules, ["tensorflow", "keras", "scipy", "requests", "jinja2"]) == set()


@pytest.mark.slow
def test_the_callbacks_load_what_draws_pictures_at_its_first_use():
    modules = loaded("import mnist_keras.callbacks")
    drawing = ("builders", "drawing", "lettering")
    ours = [f"mnist_keras.callbacks.tensorboard.{name}" for name in drawing]
    plugins = [f"tensorboard.plugins.{name}" for name in ("audio", "histogram", "image", "text")]
    assert of(modules, [*ours, *plugins, "wave"]) == set()
