"""Models and checkpoints in another process, another program, another version."""

import copy
import doctest
import pathlib
import pickle
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.training_state import TrainingState
from mnist_keras.model import optimizers, saved_config

FILES = pathlib.Path(__file__).parent / "data_files"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 4)).astype("float32")
Y = RANDOM.normal(size=(12, 2)).astype("float32")


def network():
    """A small network with every kind of state in a checkpoint."""
    layers = [
        keras.layers.Dense(3, activation="relu", name="hidden"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.25, seed=1, name="dropout"),
        keras.layers.Dense(2, name="scores"),
    ]
    return keras.Sequential([keras.Input((4,), name="x"), *layers], name="small")


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(TapeModel):
    """A user's class with its own argument."""

    def __init__(self, units=3, **arguments):
        super().__init__(**arguments)
        self.units = units
        self.hidden, self.scores = keras.layers.Dense(units), keras.layers.Dense(2)

    def call(self, x):
        return self.scores(self.hidden(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def functional():
    plain = network()
    return TapeModel(plain.inputs[0], plain.outputs[0])


MAKE = {
    "wrapped": lambda: TapeModel(network()),
    "functional": functional,
    "subclassed": lambda: Subclassed(units=4),
}


def compiled(model):
    model.compile(
        optimizer=optimizers.SGD(0.1, momentum=0.9),
        loss=SumSquaredError(),
        metrics=["mae"],
        steps_per_execution=3,
    )
    return model


@pytest.fixture(scope="module")
def trained():
    """{how it was made: a trained model}."""
    models = {}
    for kind, make in MAKE.items():
        keras.utils.set_random_seed(0)
        models[kind] = compiled(make())
        models[kind].fit(X, Y, batch_size=4, epochs=2, verbose=0)
    return models


def through_file(model, directory):
    model.save(directory / "model.keras")
    return keras.models.load_model(directory / "model.keras")


WAYS = {
    "a .keras file": through_file,
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy.deepcopy": lambda model, _: copy.deepcopy(model),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MAKE)
def test_a_copied_model_is_equal_and_trains_equally(kind, way, trained, tmp_path):
    model = trained[kind]
    copied = WAYS[way](model, tmp_path)
    assert isinstance(copied, TapeModel)
    assert type(copied).__name__ == type(model).__name__
    np.testing.assert_array_equal(copied(X), model(X))
    assert copied.steps_per_execution == 3
    pairs = zip(copied.optimizer.variables, model.optimizer.variables, strict=True)
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
    before = model.get_weights()
    for one in (copied, model):
        one.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    if kind == "subclassed":  # Without dropout: Keras does not save the state of its seed.
        for found, expected in zip(copied.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert any((a != b).any() for a, b in zip(copied.get_weights(), before, strict=True))


class OfParts(TapeModel):
    """As the GAN and the VAE of Keras's guides; its config has no encoder."""

    def __init__(self, encoder, scale=1.0, **arguments):
        super().__init__(**arguments)
        self.encoder, self.scale = encoder, scale

    def call(self, x):
        return self.scale * self.encoder(x)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(saved_config).failed == 0


def test_saving_without_a_required_argument_is_refused(tmp_path):
    model = OfParts(network())
    model(X)
    with pytest.raises(NotImplementedError, match=r"OfParts cannot be saved.*without encoder\."):
        model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")


def test_own_from_config_can_supply_required_arguments(tmp_path):
    class Loadable(OfParts):
        @classmethod
        def from_config(cls, config):
            return cls(network(), **config)

    model = Loadable(network())
    model(X)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", {"Loadable": Loadable})
    np.testing.assert_array_equal(loaded(X), model(X))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
def test_saved_weights_load_into_a_new_model(kind, trained, tmp_path):
    trained[kind].save_weights(tmp_path / "a.weights.h5")
    anew = MAKE[kind]()
    anew(X)
    anew.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(anew(X), trained[kind](X))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
def test_its_config_makes_a_new_model(kind, trained):
    model = trained[kind]
    anew = type(model).from_config(model.get_config())
    assert isinstance(anew, TapeModel)
    anew(X)
    assert [w.shape for w in anew.weights] == [w.shape for w in model.weights]
    assert anew.get_config() == model.get_config()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wrapped", "functional"])
def test_a_clone_is_a_tape_model_with_new_weights(kind, trained):
    clone = keras.models.clone_model(trained[kind])
    assert isinstance(clone, TapeModel)
    clone.set_weights(trained[kind].get_weights())
    np.testing.assert_array_equal(clone(X), trained[kind](X))
    compiled(clone).fit(X, Y, verbose=0)
    assert not np.array_equal(clone(X), trained[kind](X))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
def test_the_keras_export_gives_the_same_predictions(kind, trained, tmp_path):
    model = trained[kind]
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(X), model.predict(X, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_a_saved_wrapped_network_does_not_need_tape_model(trained, tmp_path):
    trained["wrapped"].network.save(tmp_path / "network.keras")
    alone = keras.models.load_model(tmp_path / "network.keras")
    assert type(alone) is keras.Sequential
    np.testing.assert_array_equal(alone(X), trained["wrapped"](X))


# Files of earlier versions; python -m tests.data_files.write writes those of this version.


def stored_formats():
    return sorted(path.name for path in FILES.glob("checkpoint_format_*"))


def test_a_checkpoint_of_each_earlier_format_is_stored():
    assert stored_formats() == [f"checkpoint_format_{n + 1}" for n in range(storage.FORMAT)]
    assert sum(p.stat().st_size for p in FILES.rglob("*") if p.is_file()) < 900_000


@pytest.mark.slow
@pytest.mark.parametrize("name", stored_formats())
def test_a_checkpoint_of_an_earlier_version_resumes(name, tmp_path):
    shutil.copytree(FILES / name, tmp_path / "checkpoints")
    directory = CheckpointDirectory(tmp_path / "checkpoints", keep=3)
    saved = TrainingState.from_files(directory.newest(notice=pytest.fail).files)
    assert (saved.position.step, saved.position.epoch, saved.position.step_in_epoch) == (4, 1, 1)

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if not found:
                variables = [*self.model.variables, *self.model.optimizer.variables]
                found.extend(np.array(v) for v in variables)

    found = []
    model = compiled(TapeModel(network()))
    callbacks = [Look(), Checkpoint(tmp_path / "checkpoints", every_steps=4)]
    model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    assert model.steps_trained == 9
    expected = [saved.arrays[key] for key in saved.arrays if key.startswith(("model", "optimizer"))]
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.slow
def test_a_checkpoint_of_a_later_version_is_refused_and_kept(tmp_path, monkeypatch):
    def fit():
        checkpoint = Checkpoint(tmp_path, notice=pytest.fail)
        compiled(TapeModel(network())).fit(X, Y, verbose=0, callbacks=[checkpoint])

    with monkeypatch.context() as later:
        later.setattr(storage, "FORMAT", storage.FORMAT + 1)
        fit()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(storage.LaterFormatError, match="was written by a later version"):
        fit()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FILES.glob("*.keras")), ids=lambda path: path.name)
def test_a_model_of_an_earlier_version_loads(path):
    model = keras.models.load_model(path)
    assert isinstance(model, TapeModel)
    expected = np.load(path.with_suffix(".npy"))
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)
    history = model.fit(X, Y, batch_size=4, epochs=1, verbose=0).history
    assert list(history) == ["loss", "mae"]
