"""A checkpoint of one version of Keras resumes in another one.

``tests.data_files.write_of_keras`` has written a checkpoint in each of them.
"""

import shutil

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint import training_state
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.training_state import TrainingState
from tests.data_files.write_of_keras import FIT, compiled
from tests.test_saving import FILES

VERSIONS = sorted(path.name.rpartition("_")[2] for path in FILES.glob("checkpoint_keras_*"))


def test_each_minor_version_has_its_checkpoint():
    assert VERSIONS[0] == "3.12"
    assert ".".join(keras.__version__.split(".")[:2]) in VERSIONS


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_another_keras_resumes(version, tmp_path, capsys):
    shutil.copytree(FILES / f"checkpoint_keras_{version}", tmp_path / "checkpoints")
    directory = CheckpointDirectory(tmp_path / "checkpoints", keep=3)
    saved = TrainingState.from_files(directory.newest(notice=pytest.fail).files)
    restored = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if not restored:
                restored.update(training_state.capture(self.model, [], saved.position).arrays)

    model = compiled()
    history = model.fit(**FIT, epochs=2, callbacks=[Look(), Checkpoint(tmp_path / "checkpoints")])
    assert (model.steps_trained, len(history.history["loss"])) == (4, 2)
    of_variables = ("model/", "optimizer/", "others/")
    expected = {key: a for key, a in saved.arrays.items() if key.startswith(of_variables)}
    assert len(expected) > 30
    for key, array in expected.items():
        np.testing.assert_array_equal(restored[key], array)
    is_another = version != ".".join(keras.__version__.split(".")[:2])
    assert ("resume is not exact: " in capsys.readouterr().err) >= is_another
