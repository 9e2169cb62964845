import doctest

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import AveragedWeights, Checkpoint, averaged_weights
from mnist_keras.data import batches
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow


def averaging(optimizer="adam", *, half=False):
    optimizer = keras.optimizers.get(
        {"class_name": optimizer, "config": {"use_ema": True, "ema_momentum": 0.8}}
    )
    return keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer


def averages_of(optimizer):
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return [variable for variable in optimizer.variables if "average" in variable.path]


def averages(optimizer):
    return [np.array(variable) for variable in averages_of(optimizer)]


class Watch(keras.callbacks.Callback):
    """Keeps the weights of a validation, of the next step, and the averages."""

    def __init__(self):
        super().__init__()
        self.validated, self.averages, self.after = [], [], []

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(self.model.get_weights())
        self.averages.append(averages(self.model.optimizer))

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(self.model.get_weights())


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs) > 0
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def stream(examples):
    """A new stream for each fit: a plain keras.Model starts with a stream's next epoch."""
    return lambda: batches(*examples, batch_size=10, shuffle=True, seed=5)


@pytest.fixture(params=["a TapeModel", "a plain keras.Model", "a loss scale"])
def make(request, make_model, make_plain):
    if request.param == "a plain keras.Model":
        return lambda: make_plain(optimizer=averaging())
    return lambda: make_model(optimizer=averaging(half=request.param == "a loss scale"))


def test_validation_uses_the_averages_and_training_the_weights(make, stream, held_out):
    validation = batches(*held_out, batch_size=20)
    watch, plain = Watch(), Watch()
    model = make()
    history = model.fit(
        stream(),
        epochs=3,
        validation_data=validation,
        verbose=0,
        callbacks=[AveragedWeights(), watch],
    )
    assert_same(watch.validated, watch.averages)
    make().fit(stream(), epochs=3, verbose=0, callbacks=[plain])
    assert_same(watch.after, plain.after)
    # Keras itself replaces the weights by the averages at the end.
    assert_same([model.get_weights()], watch.averages[-1:])
    scores = model.evaluate(validation, verbose=0, return_dict=True)
    assert {f"val_{name}": value for name, value in scores.items()} == {
        name: values[-1] for name, values in history.history.items() if name.startswith("val_")
    }


def test_a_checkpoint_holds_both_weights_and_averages(
    make_model, stream, held_out, tmp_path, arrays_in
):
    model, watch = make_model(optimizer=averaging()), Watch()
    model.fit(
        stream(),
        epochs=2,
        validation_data=batches(*held_out, batch_size=20),
        verbose=0,
        callbacks=[Checkpoint(tmp_path), AveragedWeights(), watch],
    )
    for step, weights, kept in zip((7, 14), watch.after, watch.averages, strict=True):
        arrays = arrays_in(tmp_path)[f"step-{step:08d}"]
        held = [array for key, array in arrays.items() if key.startswith("model/")]
        assert all(any(np.array_equal(weight, array) for array in held) for weight in weights)
        optimizer = [array for key, array in arrays.items() if key.startswith("optimizer/")]
        assert all(any(np.array_equal(average, array) for array in optimizer) for average in kept)


@pytest.mark.parametrize("closes", [True, False])
def test_an_interrupted_validation_restores_the_weights(
    closes, make_model, make_plain, stream, held_out
):
    class Break(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise RuntimeError("broken off")

    model = (make_model if closes else make_plain)(optimizer=averaging())
    averaged, watch = AveragedWeights(), Watch()
    arguments = {"validation_data": batches(*held_out, batch_size=20), "verbose": 0}
    with pytest.raises(RuntimeError, match="broken off"):
        model.fit(stream(), callbacks=[averaged, Break()], **arguments)
    again = (make_model if closes else make_plain)(optimizer=averaging())
    again.fit(stream(), callbacks=[watch], verbose=0)
    if not closes:
        averaged.close()
    assert_same([model.get_weights()], watch.after)


def test_an_optimizer_without_averages_is_refused(make_model, stream):
    with pytest.raises(UsageError, match=r"does not average the weights\. Received: use_ema=F"):
        make_model().fit(stream(), verbose=0, callbacks=[AveragedWeights()])


def test_the_example_is_true():
    assert doctest.testmod(averaged_weights).failed == 0


def test_evaluate_accepts_it_before_and_after_training(make, stream):
    model, watch = make(), Watch()
    before = model.evaluate(stream(), verbose=0)
    assert model.evaluate(stream(), verbose=0, callbacks=[AveragedWeights()]) == before
    optimizer = model.optimizer
    model.fit(stream(), verbose=0, callbacks=[AveragedWeights()])
    trained = model.get_weights()
    for variable in averages_of(optimizer):
        variable.assign(variable + 1)
    model.evaluate(stream(), verbose=0, callbacks=[AveragedWeights(), watch])
    assert_same(watch.validated[:1], watch.averages[:1])
    assert_same([model.get_weights()], [trained])
