"""`TapeModel` with `Checkpoint`."""

import functools

import keras

from benchmarks.peers_resuming import EVERY_STEPS, keras_data
from benchmarks.peers_resuming.keras_parts import built, fit
from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint


def torch_loader(job, *, workers=0, stateful=False):
    import torch

    from benchmarks.peers_resuming import torch_parts

    torch.manual_seed(job.seed)
    make = torch_parts.stateful_loader if stateful else torch_parts.loader
    return {"x": make(job, workers=workers)}


def grain_dataset(job):
    from benchmarks.peers_resuming import grain_loop

    return {"x": grain_loop.pipeline(job), "steps_per_epoch": job.steps_per_epoch}


KINDS = {
    **keras_data.KINDS,
    "DataLoader": torch_loader,
    "DataLoader, 2 workers": functools.partial(torch_loader, workers=2),
    "StatefulDataLoader": functools.partial(torch_loader, stateful=True),
    "Grain": grain_dataset,
}


def _train(job, *, kind):
    keras.utils.set_random_seed(job.seed)
    checkpoint = Checkpoint(job.directory / "checkpoints", every_steps=EVERY_STEPS)
    return fit(job, built(TapeModel), KINDS[kind](job), callbacks=[checkpoint])


CONTENDERS = {
    ("this package, Checkpoint", kind): functools.partial(_train, kind=kind) for kind in KINDS
}
