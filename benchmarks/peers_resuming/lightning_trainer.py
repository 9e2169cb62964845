"""Lightning's Trainer with ModelCheckpoint and ``ckpt_path="last"``."""

import functools

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from benchmarks.peers_resuming import EPOCHS, EVERY_STEPS, LEARNING_RATE, torch_parts


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = torch_parts.network()

    def training_step(self, batch):
        x, y = batch
        return torch.nn.functional.cross_entropy(self.network(x[:, 1:]), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), LEARNING_RATE)


class Recorder(lightning.Callback):
    def __init__(self, job):
        self._job = job

    def on_train_start(self, trainer, module):
        self._job.begin(trainer.global_step)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self._job.trained(trainer.current_epoch, batch[0][:, 0])


def _train(job, *, workers, make_loader):
    lightning.seed_everything(job.seed, workers=True)
    checkpoint = ModelCheckpoint(
        job.directory / "checkpoints", every_n_train_steps=EVERY_STEPS, save_last=True
    )
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        deterministic=True,
        default_root_dir=job.directory,
        logger=False,
        enable_progress_bar=False,
        callbacks=[checkpoint, Recorder(job)],
    )
    model = Classifier()
    trainer.fit(model, make_loader(job, workers=workers), ckpt_path="last")
    return torch_parts.leavings(model, trainer.optimizers[0])


LOADERS = {
    "DataLoader": torch_parts.loader,
    "StatefulDataLoader": torch_parts.stateful_loader,
}
CONTENDERS = {
    ('Lightning, ckpt_path="last"', f"{name}{', 2 workers' if workers else ''}"): (
        functools.partial(_train, workers=workers, make_loader=make_loader)
    )
    for name, make_loader in LOADERS.items()
    for workers in (0, 2)
}
