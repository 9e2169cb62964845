"""A plain PyTorch loop with torchdata's StatefulDataLoader."""

import functools
import os

import torch

from benchmarks.peers_resuming import EPOCHS, EVERY_STEPS, LEARNING_RATE, torch_parts


def _train(job, *, workers, rng):
    """``rng``: when the generator's state is restored; None: never."""
    torch.manual_seed(job.seed)
    model = torch_parts.network()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    loader = torch_parts.stateful_loader(job, workers=workers)
    path = job.directory / "checkpoint.pt"
    step, first_epoch, rng_state = 0, 0, None
    if path.exists():
        saved = torch.load(path, weights_only=False)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        step, first_epoch = saved["step"], saved["epoch"]
        if rng == "before the loop":
            torch.set_rng_state(saved["rng"])
        elif rng == "at the first batch":
            rng_state = saved["rng"]
    job.begin(step)
    for epoch in range(first_epoch, EPOCHS):
        for x, y in loader:
            if rng_state is not None:
                torch.set_rng_state(rng_state)
                rng_state = None
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[:, 1:]), y).backward()
            optimizer.step()
            step += 1
            if step % EVERY_STEPS == 0:
                saved = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "loader": loader.state_dict(),
                    "rng": torch.get_rng_state(),
                    "step": step,
                    "epoch": epoch,
                }
                torch.save(saved, path.with_suffix(".new"))
                os.replace(path.with_suffix(".new"), path)
            job.trained(epoch, x[:, 0])
    return torch_parts.leavings(model, optimizer)


WAYS = {
    "torch loop, RNG state not saved": None,
    "torch loop, RNG state restored before the loop": "before the loop",
    "torch loop, RNG state restored at the first batch": "at the first batch",
}
CONTENDERS = {
    (who, f"StatefulDataLoader{', 2 workers' if workers else ''}"): functools.partial(
        _train, workers=workers, rng=rng
    )
    for who, rng in WAYS.items()
    for workers in (0, 2)
}
