"""Kill a process that always saves 84 MB: ``python -m tests.faults.kills_during_save``.

A process trains one step per epoch and saves after each. It is killed at a random time, and the
next process resumes from what it finds and prints that step. A checkpoint is lost if this step is
before the last one that the previous process had finished saving.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time

KERAS = """
import pathlib, sys
import keras, numpy as np
from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint

directory = pathlib.Path(sys.argv[1])
x = np.zeros((1, 4580))

def compiled(kind=lambda network: network):
    model = kind(keras.Sequential([keras.Input((4580,)), keras.layers.Dense(4580)]))
    model.compile("sgd", "mse")
    return model

class Tell(keras.callbacks.Callback):
    priority = 2  # After a Checkpoint.

    def __init__(self, epochs_in_flight):
        super().__init__()
        self.epochs_in_flight = epochs_in_flight
        self.begun = False

    def on_epoch_begin(self, epoch, logs=None):
        if not self.begun:
            print(epoch, flush=True)
        self.begun = True

    def on_epoch_end(self, epoch, logs=None):
        print(epoch + 1 - self.epochs_in_flight, flush=True)

def fit(model, callback, *, epochs_in_flight=0, initial_epoch=0):
    callbacks = [callback, Tell(epochs_in_flight)]
    model.fit(x, x, initial_epoch=initial_epoch, epochs=10**6, verbose=0, callbacks=callbacks)
"""
PROGRAMS = {
    # An epoch is still being saved while the next one is trained.
    "Checkpoint": KERAS
    + "fit(compiled(TapeModel), Checkpoint(directory, keep=2), epochs_in_flight=1)",
    "ModelCheckpoint": KERAS
    + """
path = directory / "model.keras"
try:
    model = keras.models.load_model(path)
except ValueError:  # None there, or none that can be read.
    model = compiled()
done = int(model.optimizer.iterations)
fit(model, keras.callbacks.ModelCheckpoint(path), initial_epoch=done)
""",
    "BackupAndRestore": KERAS
    + """
fit(compiled(), keras.callbacks.BackupAndRestore(directory / "backup"))
""",
    "Lightning": """
import sys
import lightning, torch
from lightning.pytorch.callbacks import ModelCheckpoint

class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4580, 4580)

    def training_step(self, batch, number):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

class Tell(lightning.Callback):
    def on_train_epoch_start(self, trainer, module):
        print(trainer.current_epoch, flush=True)

trainer = lightning.Trainer(
    accelerator="cpu", max_epochs=10**6, logger=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=[ModelCheckpoint(sys.argv[1], save_last=True), Tell()],
)
batches = torch.utils.data.DataLoader(torch.zeros(1, 4580))
trainer.fit(Network(), batches, ckpt_path="last")
""",
    "Orbax": """
import sys
import jax.numpy as jnp
import orbax.checkpoint as orbax

options = orbax.CheckpointManagerOptions(max_to_keep=2)
manager = orbax.CheckpointManager(sys.argv[1], options=options)
step, state = manager.latest_step() or 0, {"kernel": jnp.zeros((4580, 4580))}
if step:
    state = manager.restore(step, args=orbax.args.StandardRestore(state))
print(step, flush=True)
while True:
    step += 1
    manager.save(step, args=orbax.args.StandardSave(state))
    manager.wait_until_finished()
    print(step, flush=True)
""",
}


class Victim:
    """One process; its first step, and the last step it had saved when it was killed."""

    def __init__(self, who, directory, chance):
        command = [sys.executable, "-c", PROGRAMS[who], directory]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            first = process.stdout.readline()
            self.began = int(first) if first else None  # None: it could not start.
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 3))]
            time.sleep(chance.uniform(0, 0.4))
            process.kill()
            numbers = [*"".join(lines).split(), *process.stdout.read().split()]
        self.saved = int(numbers[-1]) if numbers else 0


def lost(who, *, kills, seed):
    """The number of kills that lost a checkpoint."""
    chance, count, saved = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as root:
        for number in range(kills + 1):
            victim = Victim(who, f"{root}/{count}", chance)
            if victim.began is None or victim.began < saved:
                count += 1  # The next process starts in an empty directory.
                victim.saved = 0 if victim.began is None else victim.saved
            saved = victim.saved
            print(
                f"{who}: {number} kills, {count} checkpoints lost; saved up to {saved}", flush=True
            )
    return count


def main():
    """Kill as often as requested; exit status 1 if this package lost a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--who", choices=PROGRAMS, default="Checkpoint")
    arguments = parser.parse_args()
    count = lost(arguments.who, kills=arguments.kills, seed=arguments.seed)
    sys.exit(arguments.who == "Checkpoint" and count > 0)


if __name__ == "__main__":
    main()
