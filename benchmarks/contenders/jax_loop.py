"""A hand-written JAX loop: a jitted step, and one scan over the epoch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE, UNITS


def _loss(weights, x, y):
    for kernel, bias in weights[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    kernel, bias = weights[-1]
    return jnp.square(x @ kernel + bias - y).sum() / len(x)


def _step(weights, batch):
    loss, gradients = jax.value_and_grad(_loss)(weights, *batch)
    return jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, gradients), loss


def _prepared(train):
    batches = len(train.labels) // BATCH_SIZE
    x = jnp.asarray(train.images.reshape(batches, BATCH_SIZE, -1), jnp.float32) / 255
    y = jnp.asarray(np.eye(UNITS[-1], dtype=np.float32)[train.labels])
    y = y.reshape(batches, BATCH_SIZE, -1)
    sizes = (x.shape[-1], *UNITS)
    keys = jax.random.split(jax.random.key(0), len(UNITS))
    weights = [
        (jax.random.normal(key, pair) * 0.05, jnp.zeros(pair[1]))
        for key, pair in zip(keys, itertools.pairwise(sizes), strict=True)
    ]
    return weights, x, y


def steps(train):
    """Maker of a loop over a jitted step."""
    state = list(_prepared(train))
    step_function = jax.jit(_step, donate_argnums=0)

    def run(epochs):
        for epoch, step in itertools.product(range(epochs), range(len(state[1]))):
            state[0], loss = step_function(state[0], (state[1][step], state[2][step]))
            if step % EVERY_STEPS == 0:
                print(epoch, step, "loss:", loss.item())
        jax.block_until_ready(state[0])

    return run


def scan(train):
    """Maker of one scan over the epoch."""
    state = list(_prepared(train))
    epoch = jax.jit(lambda w, x, y: jax.lax.scan(_step, w, (x, y)), donate_argnums=0)

    def run(epochs):
        for number in range(epochs):
            state[0], losses = epoch(*state)
            for step, loss in enumerate(losses.tolist()[::EVERY_STEPS]):
                print(number, step * EVERY_STEPS, "loss:", loss)

    return run


CONTENDERS = {"JAX, step by step": steps, "JAX, scan": scan}
