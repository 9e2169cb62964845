"""The Trainer of Hugging Face's transformers with ``resume_from_checkpoint``."""

import functools

import torch
import transformers
from transformers.trainer_utils import get_last_checkpoint

from benchmarks.peers_resuming import BATCH_SIZE, EPOCHS, EVERY_STEPS, LEARNING_RATE, torch_parts


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = torch_parts.network()

    def forward(self, x, labels):
        self.numbers = x[:, 0]
        logits = self.network(x[:, 1:])
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Recorder(transformers.TrainerCallback):
    def __init__(self, job, model):
        self._job, self._model = job, model

    def on_train_begin(self, args, state, control, **kwargs):
        self._job.begin(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        epoch = (state.global_step - 1) // self._job.steps_per_epoch
        self._job.trained(epoch, self._model.numbers)


def _train(job, *, workers):
    transformers.set_seed(job.seed)
    place = job.directory / "checkpoints"
    arguments = transformers.TrainingArguments(
        output_dir=str(place),
        seed=job.seed,
        use_cpu=True,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_SIZE,
        dataloader_num_workers=workers,
        optim="adamw_torch",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        save_strategy="steps",
        save_steps=EVERY_STEPS,
        report_to="none",
        disable_tqdm=True,
    )
    model = Classifier()
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=[{"x": x, "labels": y} for x, y in torch_parts.examples(job)],
        callbacks=[Recorder(job, model)],
    )
    # True is an error where there is no checkpoint.
    is_resumed = place.is_dir() and get_last_checkpoint(str(place)) is not None
    trainer.train(resume_from_checkpoint=is_resumed)
    return torch_parts.leavings(model, trainer.optimizer.optimizer)


CONTENDERS = {
    (
        "transformers Trainer, resume_from_checkpoint",
        f"map-style dataset{', 2 workers' if workers else ''}",
    ): functools.partial(_train, workers=workers)
    for workers in (0, 2)
}
