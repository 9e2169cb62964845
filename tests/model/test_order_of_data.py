"""A TapeModel draws the batches that keras.Model draws, however many steps it runs together."""

import contextlib
import functools
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel, _keras
from mnist_keras.callbacks import Checkpoint

pytestmark = pytest.mark.slow
EXAMPLES, BATCH_SIZE = 46, 8


def numbers():
    return tf.data.Dataset.range(EXAMPLES).map(lambda number: tf.cast(number, tf.float32)[None])


def unknown(dataset):
    return dataset.filter(lambda number: True)


DATA = {
    "shuffled": lambda: numbers().shuffle(EXAMPLES, seed=3).batch(BATCH_SIZE),
    "unknown length": lambda: unknown(numbers().shuffle(EXAMPLES, seed=3)).batch(BATCH_SIZE),
    "two shuffles": lambda: (
        numbers().shuffle(EXAMPLES, seed=3).batch(2).shuffle(4, seed=4).unbatch().batch(BATCH_SIZE)
    ),
}


class Ended(Exception):
    """Ends a training."""


@functools.cache
def traced(base, steps):
    """A model that keeps its batches in a weight; one for all data, because tracing is slow."""

    class Model(base):
        def build(self, shape):
            self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros")
            self.rows = self.add_weight(shape=(60, BATCH_SIZE), initializer="zeros")

        def train_step(self, numbers):
            row = numbers[:, 0] + 1  # So that an example is not 0.
            row = tf.pad(row, [[0, BATCH_SIZE - tf.size(row)]])
            place = tf.reshape(self.count, (1, 1))
            self.rows.assign(tf.tensor_scatter_nd_update(self.rows, place, row[None]))
            self.count.assign_add(1)
            return {"zero": tf.constant(0.0)}

    model = Model()
    model.build((None, 1))
    model.compile(**({} if steps is None else {"steps_per_execution": steps}))
    return model


def drawn(base, make_data, *, steps=None, ends_at=None, callbacks=(), make=traced, **fit_arguments):
    """The batches of four epochs, or those until an update."""

    class End(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.count) >= ends_at:
                raise Ended

    keras.utils.set_random_seed(5)
    model = make(base, steps)
    for variable in model.weights:
        variable.assign(keras.ops.zeros_like(variable))
    model.steps_trained = 0
    callbacks = [*callbacks, *([] if ends_at is None else [End()])]
    with contextlib.suppress(Ended):
        model.fit(make_data(), epochs=4, verbose=0, callbacks=callbacks, **fit_arguments)
    rows = keras.ops.convert_to_numpy(model.rows)
    return rows[rows.any(axis=1)].tolist()  # Keras's last step of unknown data has no example.


@functools.cache  # Both tests need some of them.
def uninterrupted(base, name, steps=None, steps_per_epoch=None):
    return drawn(base, DATA[name], steps=steps, steps_per_epoch=steps_per_epoch)


@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize("steps_per_epoch", [None, 4, 6, 7])
@pytest.mark.parametrize("name", DATA)
def test_the_batches_are_those_of_keras_model(name, steps_per_epoch):
    expected = uninterrupted(keras.Model, name, None, steps_per_epoch)
    assert len(expected) >= 12
    for steps in (None, 1, 4):
        found = uninterrupted(TapeModel, name, steps, steps_per_epoch)
        assert found == expected, steps


@pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning")
@pytest.mark.parametrize("ends_at", [15, 22])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", DATA)
def test_a_resumed_training_draws_the_rest(name, steps, ends_at, tmp_path, capsys):
    expected = uninterrupted(TapeModel, name, steps, None)

    def resumed(**arguments):
        saving = Checkpoint(tmp_path, every_steps=2)
        return drawn(TapeModel, DATA[name], steps=steps, callbacks=[saving], **arguments)

    assert len(resumed(ends_at=ends_at)) in (ends_at, ends_at + 1)
    make = traced.__wrapped__ if ends_at == 22 else traced  # A new process has a new model.
    assert resumed(make=make) == expected
    assert "not exact" not in capsys.readouterr().err


def test_a_pass_with_another_number_is_reported(tmp_path, capsys, monkeypatch):
    saving = Checkpoint(tmp_path, every_steps=2)
    drawn(TapeModel, DATA["shuffled"], ends_at=15, callbacks=[saving])
    replay = _keras.EpochIterator.replay_epoch

    def twice(self, num_batches):
        replay(self, num_batches)
        replay(self, num_batches)

    monkeypatch.setattr(_keras.EpochIterator, "replay_epoch", twice)
    capsys.readouterr()
    again = Checkpoint(tmp_path, every_steps=2)
    drawn(TapeModel, DATA["shuffled"], callbacks=[again])
    assert "resume is not exact: pass 5 over the data is pass 9 now" in capsys.readouterr().err
    assert not again.is_exact


def test_a_fit_leaves_nothing_of_its_data_behind(make_model, monkeypatch):
    monkeypatch.setattr("mnist_keras.checkpoint.data_position.global_seed", lambda: None)
    kept = []

    class Note(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            kept.append(weakref.ref(self.model.fit_callbacks.fit.data))

    model = make_model()
    model.fit(np.zeros((8, 28, 28)), np.zeros((8, 10)), batch_size=4, verbose=0, callbacks=[Note()])
    gc.collect()
    assert [reference() for reference in kept] == [None]
