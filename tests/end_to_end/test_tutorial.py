"""The numbers are the tutorial's: its published loop, compared with main.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.data import load

pytestmark = pytest.mark.slow


def tutorial(data_dir, *, batch_size, epochs, log_every_steps):
    """The lines that the tutorial prints, with the data's path and sizes inserted."""
    lines = []
    (x, y), _ = ((half.images, half.labels) for half in load("mnist", data_dir=data_dir))
    x = tf.convert_to_tensor(x, dtype=tf.float32) / 255
    y = tf.convert_to_tensor(y, dtype=tf.int32)
    y = tf.one_hot(y, depth=10)
    train_dataset = tf.data.Dataset.from_tensor_slices((x, y))
    train_dataset = train_dataset.batch(batch_size)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    optimizer = keras.optimizers.SGD(learning_rate=0.001)
    for epoch in range(epochs):
        lines.append((epoch,))
        for step, (x, y) in enumerate(train_dataset):
            with tf.GradientTape() as tape:
                x = tf.reshape(x, (-1, 28 * 28))
                out = model(x)
                loss = tf.reduce_sum(tf.square(out - y)) / x.shape[0]
            grads = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
            if step % log_every_steps == 0:
                lines.append((epoch, step, loss.numpy()))
    return lines


def parsed(lines):
    """The epochs and losses in the lines of main.py."""
    words = [line.split() for line in lines if line[0].isdigit()]
    return [(int(w[0]),) if len(w) == 1 else (int(w[0]), int(w[1]), float(w[3])) for w in words]


def assert_same(lines, expected):
    assert [line[:2] for line in lines] == [line[:2] for line in expected]
    losses, expected_losses = ([v[2] for v in some if len(v) == 3] for some in (lines, expected))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)


def test_on_small_data_each_loss_equals_the_tutorials(whole, runs):
    expected = tutorial(runs.small_mnist, batch_size=34, epochs=2, log_every_steps=1)
    assert len(expected) == 62
    assert_same(parsed(whole.lines)[:62], expected)


def test_on_mnist_the_losses_of_flags_txt_equal_the_tutorials(runs, real_mnist):
    expected = tutorial(real_mnist, batch_size=200, epochs=3, log_every_steps=100)
    done = runs.tutorial.result()
    assert (done.returncode, done.lines[0]) == (0, "datasets: (60000, 28, 28) (60000,)")
    assert_same(parsed(done.lines), expected)
    assert [v[:2] for v in expected if len(v) == 3 and v[0] == 2] == [(2, 0), (2, 100), (2, 200)]
    assert done.lines[-1].startswith("test loss: ")
    assert float(done.lines[-1].split()[-1]) == pytest.approx(0.75, abs=0.15)
