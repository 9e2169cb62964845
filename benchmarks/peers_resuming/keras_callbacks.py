"""Keras's own callbacks, on a plain ``keras.Model``."""

import functools

import keras

from benchmarks.peers_resuming import EVERY_STEPS, keras_data
from benchmarks.peers_resuming.keras_parts import built, fit


def backup_and_restore(job, data, *, save_freq):
    callback = keras.callbacks.BackupAndRestore(job.directory / "backup", save_freq=save_freq)
    return fit(job, built(), data, callbacks=[callback])


def model_checkpoint(job, data, *, save_freq):
    """The newest .keras file is loaded; its name has the number of the epoch."""
    place = job.directory / "models"
    place.mkdir(exist_ok=True)
    found = sorted(place.glob("*.keras"))
    model, initial_epoch = built(), 0
    if found:
        model = keras.saving.load_model(found[-1])
        initial_epoch = int(found[-1].stem)
    name = str(place / "{epoch:03d}.keras")
    callback = keras.callbacks.ModelCheckpoint(name, save_freq=save_freq)
    return fit(job, model, data, callbacks=[callback], initial_epoch=initial_epoch)


def orbax_checkpoint(job, data, *, save_freq):
    """The epoch is computed from the optimizer's steps, as no file has it."""
    place = job.directory / "orbax"
    model, initial_epoch = built(), 0
    if place.exists() and any(path.name.isdigit() for path in place.iterdir()):
        model = keras.saving.load_model(place)
        initial_epoch = int(model.optimizer.iterations) // job.steps_per_epoch
    callback = keras.callbacks.OrbaxCheckpoint(str(place), save_freq=save_freq)
    return fit(job, model, data, callbacks=[callback], initial_epoch=initial_epoch)


WAYS = {
    "Keras BackupAndRestore, each epoch": (backup_and_restore, "epoch"),
    f"Keras BackupAndRestore, save_freq={EVERY_STEPS}": (backup_and_restore, EVERY_STEPS),
    "Keras ModelCheckpoint, each epoch, initial_epoch": (model_checkpoint, "epoch"),
    f"Keras OrbaxCheckpoint, save_freq={EVERY_STEPS}, initial_epoch": (
        orbax_checkpoint,
        EVERY_STEPS,
    ),
}


def _train(job, *, way, save_freq, kind):
    keras.utils.set_random_seed(job.seed)
    return way(job, keras_data.KINDS[kind](job), save_freq=save_freq)


CONTENDERS = {
    (who, kind): functools.partial(_train, way=way, save_freq=save_freq, kind=kind)
    for who, (way, save_freq) in WAYS.items()
    for kind in keras_data.KINDS
}
