"""What all trainings by PyTorch share."""

import torch

from benchmarks.peers_resuming import BATCH_SIZE, CLASSES, DROPOUT, FEATURES, UNITS


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, UNITS),
        torch.nn.ReLU(),
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(UNITS, CLASSES),
    )


def examples(job):
    return torch.utils.data.TensorDataset(torch.from_numpy(job.x), torch.from_numpy(job.y))


def loader(job, *, workers):
    return torch.utils.data.DataLoader(
        examples(job), batch_size=BATCH_SIZE, shuffle=True, num_workers=workers
    )


def stateful_loader(job, *, workers):
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(
        examples(job), batch_size=BATCH_SIZE, shuffle=True, num_workers=workers
    )


def leavings(model, optimizer):
    """The weights and the optimizer's state, as arrays."""
    state = optimizer.state_dict()["state"]
    return (
        {name: value.numpy() for name, value in model.state_dict().items()},
        {f"{i} {name}": value.numpy() for i in state for name, value in state[i].items()},
    )
