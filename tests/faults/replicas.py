"""Interrupts trainings on several replicas: ``python -m tests.faults.replicas --seed=0``.

A small training runs on two devices of one process (mirrored) and on two workers, on each kind of
data of `PIPELINES`. Each time it runs once without interruption and once while it is killed at
random steps and started again. The weights, the optimizer and the History are compared to the bit.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import tempfile

from tests.cluster import free_addresses
from tests.command_line import environment
from tests.conftest import ROOT

ROLES = ("mirrored", "workers")
EXAMPLES, BATCH_SIZE, STEPS, EPOCHS = 48, 8, 6, 3
LONGEST_S = 240
SAME, SAID, DIFFERENT, FAILED = "same bits", "said", "SILENTLY DIFFERENT", "FAILED"


def arrays():
    """The examples, (x, y)."""
    import numpy as np

    generator = np.random.default_rng(0)
    x = generator.random((EXAMPLES, 6), np.float32)
    return x, (x[:, :3].sum(1) > 1.5).astype(np.int32)


def sharded(dataset, policy):
    """A data set that several workers share by a policy of tf.data."""
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = getattr(
        tf.data.experimental.AutoShardPolicy, policy
    )
    return dataset.with_options(options)


def examples():
    """The examples one by one."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays())


def files(directory):
    """The examples from four files."""
    import numpy as np
    import tensorflow as tf

    x, y = arrays()
    for number in range(4):
        path = directory / f"{number}.npy"
        if not path.exists():
            part = np.concatenate([x, y[:, None]], axis=1)[number::4].astype(np.float32)
            path.with_suffix(f".{os.getpid()}").write_bytes(part.tobytes())
            path.with_suffix(f".{os.getpid()}").rename(path)
    names = tf.data.Dataset.list_files(str(directory / "*.npy"), shuffle=True, seed=3)
    rows = names.interleave(
        lambda name: tf.data.FixedLengthRecordDataset(name, 28), cycle_length=2, block_length=2
    )

    def decoded(record):
        row = tf.reshape(tf.io.decode_raw(record, tf.float32), (7,))
        return row[:6], tf.cast(row[6], tf.int32)

    return rows.map(decoded)


def generator():
    """Batches without end, in an order that is a function of the pass."""
    import numpy as np

    x, y = arrays()
    for number in range(1000):
        order = np.random.default_rng(number).permutation(EXAMPLES)
        for begin in range(0, EXAMPLES, BATCH_SIZE):
            rows = order[begin : begin + BATCH_SIZE]
            yield x[rows], y[rows]


def noisy(x, y):
    """A random change of an example, in a parallel map."""
    import tensorflow as tf

    seed = tf.cast(x[:2] * 1000, tf.int32)
    return x + tf.random.stateless_normal((6,), seed) / 10, y


# {name: a function of a directory that returns the arguments of fit}
PIPELINES = {
    "arrays": lambda _: dict(zip("xy", arrays(), strict=True), batch_size=BATCH_SIZE),
    "arrays, validation_split": lambda _: {
        **dict(zip("xy", arrays(), strict=True)),
        "batch_size": BATCH_SIZE,
        "validation_split": 0.25,
    },
    "tf.data, DATA": lambda _: {
        "x": sharded(examples().shuffle(EXAMPLES, seed=1).batch(BATCH_SIZE), "DATA")
    },
    "tf.data, AUTO, parallel map, prefetch": lambda _: {
        "x": sharded(
            examples()
            .shuffle(EXAMPLES, seed=1)
            .map(noisy, num_parallel_calls=4)
            .batch(BATCH_SIZE)
            .prefetch(2),
            "AUTO",
        )
    },
    "tf.data, FILE, interleaved files": lambda directory: {
        "x": sharded(files(directory).shuffle(10, seed=1).batch(BATCH_SIZE), "FILE")
    },
    "tf.data, OFF": lambda _: {
        "x": sharded(examples().shuffle(EXAMPLES, seed=1).batch(BATCH_SIZE), "OFF")
    },
    "tf.data, shuffle().repeat(), amid a pass": lambda _: {
        "x": sharded(examples().shuffle(EXAMPLES, seed=1).repeat().batch(BATCH_SIZE), "DATA"),
        "steps_per_epoch": STEPS - 1,
    },
    "tf.data, validation data": lambda _: {
        "x": sharded(examples().shuffle(EXAMPLES, seed=1).batch(BATCH_SIZE), "DATA"),
        "validation_data": examples().batch(BATCH_SIZE),
    },
    "tf.data, without a seed": lambda _: {
        "x": sharded(examples().shuffle(EXAMPLES).batch(BATCH_SIZE), "DATA")
    },
    "PyDataset": lambda _: {"x": py_dataset()},
    "generator": lambda _: {"x": generator(), "steps_per_epoch": STEPS},
}


def py_dataset():
    """The batches of a PyDataset, which Keras shuffles."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return STEPS

        def __getitem__(self, index):
            rows = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
            return tuple(array[rows] for array in arrays())

    return Batches()


def train(task):
    """What one process does: train from the newest checkpoint, and leave its results."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if task["addresses"]:
        cluster = {"worker": task["addresses"]}
        place = {"type": "worker", "index": task["index"]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": place})
    import keras
    import numpy as np
    import tensorflow as tf

    from mnist_keras import TapeModel
    from mnist_keras.callbacks import Checkpoint
    from mnist_keras.callbacks.base import StepCallback
    from mnist_keras.distributed.strategy import divide_cpu

    class Kill(StepCallback):
        """Kills the process after a step."""

        priority = 5

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if task["kill_at"] is not None and self.step >= task["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    if task["addresses"]:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        divide_cpu(2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    keras.utils.set_random_seed(5)
    if "without a seed" in task["pipeline"]:
        tf.random.set_seed(None)
    with strategy.scope():
        layers = keras.layers
        model = TapeModel(
            keras.Sequential(
                [
                    keras.Input((6,)),
                    layers.Dense(8, activation="relu"),
                    layers.BatchNormalization(),
                    layers.Dropout(0.3, seed=2),
                    layers.Dense(2),
                ]
            )
        )
        model.compile(
            optimizer=keras.optimizers.Adam(0.01),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=task["steps_per_execution"],
        )
    said = []
    checkpoint = Checkpoint(
        task["directory"] / "checkpoints",
        every_steps=task["checkpoint_every_steps"],
        notice=lambda line: (said.append(line), print(line, file=sys.stderr, flush=True)),
    )
    data = PIPELINES[task["pipeline"]](task["files"])
    history = model.fit(**data, epochs=EPOCHS, verbose=0, callbacks=[checkpoint, Kill()])
    variables = [*model.variables, *model.optimizer.variables]
    found = {
        "steps": model.steps_trained,
        "variables": [np.array(keras.ops.convert_to_numpy(v)) for v in variables],
        "history": history.history,
        "is_exact": checkpoint.is_exact,
    }
    pathlib.Path(task["out"]).write_bytes(pickle.dumps(found))


def run(role, task):
    """Run the processes of one session; [the results of each, or None] and what they said."""
    count = 2 if role == "workers" else 1
    addresses = free_addresses(count) if count > 1 else []
    work = pathlib.Path(tempfile.mkdtemp(dir=task["directory"]))
    kill_at, victim = task["kill_at"], task["victim"]

    def start(index):
        own = {
            **task,
            "addresses": addresses,
            "index": index,
            "out": work / f"out-{index}",
            "kill_at": kill_at if victim in (index, "all") else None,
        }
        (work / f"task-{index}").write_bytes(pickle.dumps(own))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.replicas", "--task", str(work / f"task-{index}")],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = [start(index) for index in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        reading = [pool.submit(process.communicate, timeout=LONGEST_S) for process in processes]
        done, _ = concurrent.futures.wait(reading, return_when="FIRST_COMPLETED")
        if kill_at is not None and done:
            # The others notice that one is gone, or stand still; whatever started them ends them.
            concurrent.futures.wait(reading, timeout=10)
            for process in processes:
                process.kill()
        texts = [future.result()[1] for future in reading]
    lines = [line for text in texts for line in text.splitlines()]
    outs = [work / f"out-{index}" for index in range(count)]
    results = [pickle.loads(out.read_bytes()) if out.exists() else None for out in outs]
    return results, lines


def examine(role, pipeline, chance, directory):
    """(kind, lines, number of kills) of one pair."""
    task = {
        "pipeline": pipeline,
        "files": directory,
        "steps_per_execution": chance.choice((1, 4, "auto")),
        "checkpoint_every_steps": chance.choice((1, 2, 4, 5)),
        "kill_at": None,
        "victim": None,
        "directory": directory / "whole",
    }
    task["directory"].mkdir()
    expected, lines = run(role, task)
    if None in expected:
        return FAILED, lines[-3:], 0
    steps = expected[0]["steps"]
    kills = sorted(chance.sample(range(1, steps), 2))
    task["directory"] = directory / "killed"
    task["directory"].mkdir()
    for kill_at in kills:
        victim = chance.choice((0, 1, "all")) if role == "workers" else "all"
        run(role, {**task, "kill_at": kill_at, "victim": victim})
    found, more = run(role, task)
    lines = [line for line in lines + more if "resume is not exact" in line]
    if None in found:
        return FAILED, more[-3:], len(kills)
    if any(result["is_exact"] == bool(lines) for result in found):
        return FAILED, [*lines, "is_exact is wrong"], len(kills)
    same = all(is_same(one, other) for one, other in zip(found, expected, strict=True))
    kind = (SAID if lines else SAME) if same else (SAID if lines else DIFFERENT)
    return kind, list(dict.fromkeys(lines)) + ([] if same else ["other bits"]), len(kills)


def is_same(one, other):
    """Whether two results of a process are equal to the bit."""
    return one["history"] == other["history"] and all(
        a.tobytes() == b.tobytes()
        for a, b in zip(one["variables"], other["variables"], strict=True)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=ROLES)
    parser.add_argument("--pipeline", choices=PIPELINES)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        train(pickle.loads(pathlib.Path(options.task).read_bytes()))
        return
    kinds, kills = collections.Counter(), 0
    for role in (options.role,) if options.role else ROLES:
        for pipeline in (options.pipeline,) if options.pipeline else PIPELINES:
            chance = random.Random(json.dumps([options.seed, role, pipeline]))
            with tempfile.TemporaryDirectory() as directory:
                kind, lines, count = examine(role, pipeline, chance, pathlib.Path(directory))
            kinds[kind] += 1
            kills += count
            print(f"{role}, {pipeline}: {kind}", *lines, sep="\n  ", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.items()), f"after {kills} kills")
    if kinds[DIFFERENT] or kinds[FAILED]:
        sys.exit(1)


if __name__ == "__main__":
    main()
