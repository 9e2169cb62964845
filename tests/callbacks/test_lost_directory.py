"""A directory that is removed or moved during a training, and links that lead nowhere."""

import shutil

import keras
import pytest

from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.errors import MnistKerasError

pytestmark = pytest.mark.slow

ENDS = {
    "removed": lambda directory: shutil.rmtree(directory),
    "moved": lambda directory: directory.rename(directory.with_name("moved")),
}


class AtEpoch(keras.callbacks.Callback):
    """Calls a function when an epoch begins."""

    def __init__(self, epoch, call):
        super().__init__()
        self._epoch, self._call = epoch, call

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epoch:
            self._call()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("saves", [True, False])
def test_losing_the_directory_ends_the_fit_in_one_line(how, saves, make_model, stream, tmp_path):
    directory = tmp_path / "run"
    callbacks = [StepLogger(directory, echo=False)]
    if saves:
        checkpoint = Checkpoint(directory / "checkpoints")
        callbacks.append(checkpoint)
    # The write of the epoch before has ended: to load waits for it.
    model = make_model()

    def lose():
        if saves:
            checkpoint.load(model)
        ENDS[how](directory)

    with pytest.raises(MnistKerasError) as caught:
        model.fit(stream, epochs=4, verbose=0, callbacks=[*callbacks, AtEpoch(1, lose)])
    assert str(caught.value) == (
        "the directory was removed or moved while a training wrote into it. "
        f"Received: {directory} is no longer what it was. Expected: it stays until the training "
        "ends; one that was moved can be resumed where it is now."
    )
    assert not directory.exists()


def test_no_validation_begins_in_a_directory_that_is_gone(make_model, stream, tmp_path):
    directory = tmp_path / "run"
    callbacks = [
        StepLogger(directory, echo=False),
        AtEpoch(0, lambda: directory.rename(tmp_path / "moved")),
    ]
    with pytest.raises(MnistKerasError, match=r"^the directory was removed or moved"):
        make_model().fit(stream, validation_data=stream, verbose=0, callbacks=callbacks)
    assert not directory.exists()


def test_a_fit_begins_after_the_files_were_removed(stream, tmp_path, digits):
    def crash():
        raise InterruptedError

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    logger = StepLogger(tmp_path / "run", echo=False)
    fit = {"x": digits[0][:20], "y": digits[1][:20], "verbose": 0}
    with pytest.raises(InterruptedError):  # A plain model does not close its callbacks then.
        model.fit(**fit, callbacks=[logger, AtEpoch(0, crash)])
    shutil.rmtree(tmp_path / "run")
    model.fit(**fit, callbacks=[logger])
    assert (tmp_path / "run" / "train").is_dir()


def test_removing_only_the_checkpoints_costs_only_them(make_model, stream, tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoints")
    model = make_model()

    def lose():
        checkpoint.load(model)
        shutil.rmtree(tmp_path / "checkpoints")

    callbacks = [StepLogger(tmp_path, echo=False), checkpoint, AtEpoch(1, lose)]
    model.fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000014"]


@pytest.mark.parametrize("link", ["run", "run/train"])
def test_a_link_that_leads_nowhere_ends_a_fit_early(link, make_model, stream, tmp_path):
    path = tmp_path / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "unmounted")
    model = make_model()
    with pytest.raises(MnistKerasError) as caught:
        model.fit(stream, verbose=0, callbacks=[StepLogger(tmp_path / "run", echo=False)])
    assert str(caught.value).startswith(
        f"the TensorBoard files cannot be written: {path} is a link to {tmp_path / 'unmounted'}, "
        "which does not exist. Received: "
    )
    assert model.steps_trained <= 1
    assert not (tmp_path / "unmounted").exists()


def test_checkpoints_beyond_a_link_that_leads_nowhere_are_refused(make_model, stream, tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "unmounted")
    model = make_model()
    with pytest.raises(MnistKerasError) as caught:
        model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path / "run" / "checkpoints")])
    assert str(caught.value) == (
        f"the directory of the checkpoints cannot be read. Received: {tmp_path / 'run'}, a link "
        f"to {tmp_path / 'unmounted'}. Expected: a link to a directory."
    )
