import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint import training_state
from mnist_keras.checkpoint.training_state import Position

X = np.random.default_rng(0).random((12, 3), dtype=np.float32)
START = Position(step=0, epoch=0, step_in_epoch=0)


class OwnOptimizer(TapeModel):
    """Applies an optimizer of its own; Keras gives it another one."""

    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

    def compile(self, **options):
        super().compile(**options)
        self.own_optimizer = keras.optimizers.SGD(0.1)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.inner(data) ** 2)
        weights = self.inner.trainable_weights
        self.own_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


def new_model(*, is_built=False, **options):
    keras.utils.set_random_seed(3)
    model = OwnOptimizer()
    model.compile(**options)
    if is_built:
        model.optimizer.build(model.trainable_variables)
    return model


def fit(model, directory, *, epochs):
    checkpoint = Checkpoint(directory, require_exact=True)
    model.fit(X, batch_size=4, epochs=epochs, verbose=0, callbacks=[checkpoint])
    return [weight.numpy().tolist() for weight in model.weights]


def paths(state):
    return [e["path"] for e in state.description["variables"] if "rm_sprop" in e["path"]]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_an_optimizer_that_keras_added_never_hinders_a_resume(first, second, tmp_path):
    expected = fit(new_model(), tmp_path / "whole", epochs=2)
    fit(new_model(is_built=first), tmp_path / "a", epochs=1)
    assert fit(new_model(is_built=second), tmp_path / "a", epochs=2) == expected


@pytest.mark.slow
def test_a_checkpoint_has_no_slots_of_an_unused_optimizer(monkeypatch, tmp_path):
    found = []
    capture = training_state.capture
    monkeypatch.setattr(
        training_state, "capture", lambda *a, **o: found.append(capture(*a, **o)) or found[-1]
    )
    fit(new_model(is_built=True), tmp_path, epochs=1)
    assert [path.rpartition("/")[2] for path in paths(found[-1])] == ["iteration", "learning_rate"]


@pytest.mark.parametrize("scaled", [False, True])
def test_an_earlier_checkpoint_with_the_slots_is_still_read(scaled):
    def optimizer():
        inner = keras.optimizers.RMSprop(0.5)
        return keras.optimizers.LossScaleOptimizer(inner) if scaled else inner

    # Without the graph of the step, everything is saved, as earlier versions did.
    state = training_state.capture(new_model(is_built=True, optimizer=optimizer()), [], START)
    assert any("velocity" in path for path in paths(state))
    other = new_model(optimizer=optimizer())
    other.optimizer.learning_rate = 0.25
    training_state.restore(state, other, [])
    assert float(other.optimizer.learning_rate) == 0.5


def test_an_applied_optimizer_is_still_required():
    model = new_model(is_built=True)
    model.optimizer.apply([tf.ones_like(weight) for weight in model.trainable_variables])
    state = training_state.capture(model, [], START)
    with pytest.raises(training_state.StateMismatchError, match="extra variable"):
        training_state.restore(state, new_model(), [])
