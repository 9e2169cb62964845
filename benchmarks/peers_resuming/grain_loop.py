"""A JAX loop with Grain and Orbax."""

import functools
import sys

import grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from absl import flags

from benchmarks.peers_resuming import (
    BATCH_SIZE,
    CLASSES,
    DROPOUT,
    EPOCHS,
    EVERY_STEPS,
    FEATURES,
    LEARNING_RATE,
    UNITS,
)

OPTIMIZER = optax.adam(LEARNING_RATE)


class Source(grain.sources.RandomAccessDataSource):
    """The examples, one by one."""

    def __init__(self, job):
        self._x, self._y = job.x, job.y

    def __len__(self):
        return len(self._x)

    def __getitem__(self, index):
        return self._x[index], self._y[index]


def pipeline(job, *, workers=0):
    """An endless shuffled dataset of batches."""
    data = grain.MapDataset.source(Source(job)).shuffle(seed=job.seed).repeat()
    data = data.batch(BATCH_SIZE).to_iter_dataset()
    if workers:
        data = data.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=workers))
    return data


def initial_state(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    initialize = jax.nn.initializers.glorot_uniform()
    weights = {
        "first": initialize(keys[0], (FEATURES, UNITS)),
        "second": initialize(keys[1], (UNITS, CLASSES)),
    }
    return {"weights": weights, "optimizer": OPTIMIZER.init(weights), "step": jax.numpy.int32(0)}


@jax.jit
def train_step(state, key, x, y):
    """One step; the dropout's key is a function of the step, as in Flax's guides."""
    key = jax.random.fold_in(key, state["step"])

    def loss_of(weights):
        hidden = jax.nn.relu(x[:, 1:] @ weights["first"])
        kept = jax.random.bernoulli(key, 1 - DROPOUT, hidden.shape)
        logits = (hidden * kept / (1 - DROPOUT)) @ weights["second"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    updates, optimizer = OPTIMIZER.update(jax.grad(loss_of)(state["weights"]), state["optimizer"])
    weights = optax.apply_updates(state["weights"], updates)
    return {"weights": weights, "optimizer": optimizer, "step": state["step"] + 1}


def _train(job, *, workers):
    flags.FLAGS(sys.argv[:1])  # Grain's workers read flags.
    state, batches = initial_state(job.seed), iter(pipeline(job, workers=workers))
    key = jax.random.key(job.seed + 1)
    with ocp.CheckpointManager(job.directory / "checkpoints") as manager:
        if manager.latest_step() is not None:
            restored = manager.restore(
                manager.latest_step(),
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(state),
                    data=grain.checkpoint.CheckpointRestore(batches),
                ),
            )
            state, batches = restored["state"], restored["data"]
        first = int(state["step"])
        job.begin(first)
        for step in range(first, EPOCHS * job.steps_per_epoch):
            x, y = next(batches)
            state = train_step(state, key, x, y)
            if (step + 1) % EVERY_STEPS == 0:
                manager.save(
                    step + 1,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(state),
                        data=grain.checkpoint.CheckpointSave(batches),
                    ),
                )
            job.trained(step // job.steps_per_epoch, x[:, 0])
    leaves = jax.tree_util.tree_leaves_with_path(state)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    weights = {name: array for name, array in arrays.items() if "weights" in name}
    return weights, {name: array for name, array in arrays.items() if name not in weights}


CONTENDERS = {
    ("JAX loop, Grain and Orbax", f"Grain{', 2 workers' if workers else ''}"): functools.partial(
        _train, workers=workers
    )
    for workers in (0, 2)
}
