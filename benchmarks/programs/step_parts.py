"""Time the parts of a training step in one process: see `benchmarks.workers`.

``python -m benchmarks.programs.step_parts NETWORK BATCH_SIZES SECONDS DATA_DIR INDEX ADDRESSES``
prints {batch size: {part: seconds per step}} as JSON. With addresses it is one of several workers.
"""

import contextlib
import json
import os
import statistics
import sys
import time

STEPS = 10  # Per execution.
LEAST_CALLS = 4


def main(network, batch_sizes, seconds, data_dir, index, addresses):
    """Time a step, its input and its all-reduce for each batch size."""
    index, seconds = int(index), float(seconds)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
    from mnist_keras.console.start import import_tensorflow

    import_tensorflow(silent=True)
    import tensorflow as tf

    from mnist_keras.data import load
    from mnist_keras.distributed.cluster import Cluster
    from mnist_keras.distributed.strategy import join
    from mnist_keras.distributed.workers import Workers

    strategy = join(Cluster(tuple(addresses.split(",")), index, "")) if addresses else None
    workers = Workers(strategy or tf.distribute.get_strategy())

    def timed(call, steps):
        """The lower quartile of the seconds per step; every worker makes equally many calls.

        Other programs on the machine can only increase the seconds.
        """
        call()
        began = time.perf_counter()
        call()
        calls = max(LEAST_CALLS, int(seconds / (time.perf_counter() - began)))
        times = []
        for _ in range(workers.all_reduce_max([calls])[0]):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return statistics.quantiles(times, n=4)[0] / steps

    train, _ = load(data_dir=data_dir or None)
    found = {}
    for text in batch_sizes.split(","):
        size, replica = int(text), None if strategy is None else index
        model, stream = prepared(network, train, batch_size=size, strategy=strategy)
        steps = min(STEPS, len(stream))
        run, read = model.make_train_function().run, reading(stream, steps, replica=replica)

        def train_some(run=run, stream=stream, steps=steps):
            _, logs = run(None, 0, steps, stream=stream)
            float(logs["loss"])

        found[text] = {
            "step": timed(train_some, steps),
            "input": timed(lambda read=read: float(read()), steps),
        }
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    found["bytes"] = 4 * sum(variable.numpy().size for variable in model.trainable_variables)
    if strategy is not None:
        for name, some in (("all_reduce", shapes), ("small_all_reduce", [(1,)])):
            sums = all_reduces(strategy, some)
            found[name] = timed(lambda sums=sums: float(sums()), STEPS)
    print(json.dumps(found))


def prepared(network, train, *, batch_size, strategy):
    """A new model and the stream for its training."""
    from mnist_keras.app.config import RunConfig
    from mnist_keras.app.recipe import build_model
    from mnist_keras.data import batches

    stream = batches(train.images, train.labels, batch_size=batch_size)
    stream.epoch = 0
    config = RunConfig(network=network, batch_size=batch_size, batch_parts=1)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build_model(config, steps=10**6)
        model._symbolic_build(data_batch=stream.element_spec)
    if strategy is not None:
        stream.share_among(strategy)
    return model, stream


def reading(stream, steps, *, replica):
    """A function that only cuts batches out of the images."""
    import tensorflow as tf

    window, _ = stream.window(0, steps)

    @tf.function
    def read():
        total = 0.0
        for step in tf.range(steps):
            images, labels = stream.batch(window, step, replica=replica)
            # One number of each batch, which needs the complete batch.
            total += images[0, 0, 0] + labels[0, 0]
        return total

    return read


def all_reduces(strategy, shapes):
    """A function that sums tensors of these shapes over the workers, `STEPS` times."""
    import tensorflow as tf

    tensors = [tf.ones(shape) for shape in shapes]

    def one():
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce("SUM", [tf.identity(tensor) for tensor in tensors])
        return tf.add_n([tf.reshape(tensor, [-1])[0] for tensor in sums])

    @tf.function
    def many():
        last = 0.0
        for _ in tf.range(STEPS):
            last = strategy.experimental_local_results(strategy.run(one))[0]
        return last

    return many


if __name__ == "__main__":
    main(*sys.argv[1:])
