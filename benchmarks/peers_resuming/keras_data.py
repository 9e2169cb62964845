"""The kinds of data for `fit`: {name: function of a `Job` that gives keyword arguments}."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers_resuming import BATCH_SIZE


def arrays(job):
    return {"x": job.x, "y": job.y, "batch_size": BATCH_SIZE}


def _shuffled(job):
    return tf.data.Dataset.from_tensor_slices((job.x, job.y)).shuffle(len(job.x), seed=job.seed)


def shuffle(job):
    return {"x": _shuffled(job).batch(BATCH_SIZE, drop_remainder=True)}


def parallel_map(job):
    data = _shuffled(job).map(lambda x, y: (x, y), num_parallel_calls=tf.data.AUTOTUNE)
    return {"x": data.batch(BATCH_SIZE, drop_remainder=True).prefetch(tf.data.AUTOTUNE)}


def py_dataset(job):
    class Shuffled(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.on_epoch_end()

        def __len__(self):
            return job.steps_per_epoch

        def __getitem__(self, index):
            rows = self.order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
            return job.x[rows], job.y[rows]

        def on_epoch_end(self):
            self.order = np.random.permutation(len(job.x))

    return {"x": Shuffled()}


def generator(job):
    def batches():
        source = np.random.default_rng(job.seed)
        while True:
            order = source.permutation(len(job.x))
            for rows in order.reshape(-1, BATCH_SIZE):
                yield job.x[rows], job.y[rows]

    return {"x": batches(), "steps_per_epoch": job.steps_per_epoch}


KINDS = {
    "arrays": arrays,
    "tf.data shuffle": shuffle,
    "tf.data shuffle, parallel map, prefetch": parallel_map,
    "PyDataset": py_dataset,
    "generator": generator,
}
