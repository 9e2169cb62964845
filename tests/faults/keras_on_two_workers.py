"""Keras's own ``fit`` on several devices: ``python -m tests.faults.keras_on_two_workers``.

The same small training runs on one device, on two devices of one process and on two workers,
with 1 and 5 steps per execution and a short last batch: by ``keras.Model`` and by `TapeModel`.
One line for each shows how much its losses differ from those of one device, or its error.
"""

import concurrent.futures
import json
import os
import subprocess
import sys

from tests.cluster import free_addresses

KINDS = ("keras.Model", "TapeModel")
STEPS_PER_EXECUTION = (1, 5)
LONGEST_S = 120


def main():
    """Train in each way, each in new processes, and print the results."""
    if len(sys.argv) > 1:
        print(json.dumps(epoch_losses(*sys.argv[1:])))
        return
    for kind in KINDS:
        expected = outcome("one", kind, 1)[0]
        for steps in STEPS_PER_EXECUTION:
            for role in ("mirrored", "worker"):
                found = outcome(role, kind, steps)
                print(f"{kind}, {role}, {steps} per execution: {verdict(found, expected)}")


def verdict(found, expected):
    """The result in words; each process gives a list of losses or an error's text."""
    errors = [result for result in found if isinstance(result, str)]
    if errors:
        return errors[0]
    pairs = [pair for losses in found for pair in zip(losses, expected, strict=True)]
    furthest = max(abs(one - other) / other for one, other in pairs)
    return f"losses within {furthest:.0e} of one device's"


def outcome(role, kind, steps):
    """The result of each process: the losses of its epochs, or its error."""
    addresses = ",".join(free_addresses(2))
    indices = ("0", "1") if role == "worker" else ("0",)

    def run(index):
        command = [sys.executable, "-m", "tests.faults.keras_on_two_workers"]
        command += [role, kind, str(steps), addresses, index]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=LONGEST_S
            )
        except subprocess.TimeoutExpired:
            return f"hangs for {LONGEST_S} s"
        if done.returncode:
            return f"fails: {done.stderr.strip().splitlines()[-1][:200]}"
        return json.loads(done.stdout.splitlines()[-1])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, indices))


def epoch_losses(role, kind, steps, addresses, index):
    """The losses of two epochs."""
    import contextlib

    import keras
    import numpy as np
    import tensorflow as tf

    from mnist_keras import TapeModel
    from mnist_keras.distributed.strategy import divide_cpu

    strategy = None
    if role == "mirrored":
        divide_cpu(2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif role == "worker":
        cluster = {"worker": addresses.split(",")}
        task = {"type": "worker", "index": int(index)}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    draws = np.random.default_rng(0)
    # 7 batches, the last with 5 examples.
    x = draws.normal(size=(101, 20)).astype(np.float32)
    y = draws.normal(size=(101, 1)).astype(np.float32)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((20,))
        outputs = keras.layers.Dense(1)(keras.layers.Dense(16, activation="tanh")(inputs))
        model = (TapeModel if kind == "TapeModel" else keras.Model)(inputs, outputs)
        model.compile(optimizer="sgd", loss="mse", steps_per_execution=int(steps))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return model.fit(data.with_options(options), epochs=2, verbose=0).history["loss"]


if __name__ == "__main__":
    main()
