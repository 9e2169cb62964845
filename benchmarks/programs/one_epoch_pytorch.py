"""A published recipe for 99 % in one epoch: ``python -m benchmarks.programs.one_epoch_pytorch``.

Arguments: SEED DATA_DIR. It prints JSON: the seconds from the first to the last step and the
accuracy on the test set. As in the original, images are normalized and shuffled
once before the first step.

Source: https://github.com/tuomaso/train_mnist_fast, 8_Final_00s76.ipynb: 99.04 ± 0.07 % over 30
seeds.
"""

import json
import sys
import time

import torch
from torch import nn

from mnist_keras.data import load

BATCH_SIZE, TEST_BATCH_SIZE = 256, 2000
LEARNING_RATE, BETAS = 1e-2, (0.7, 0.9)
MEAN, STANDARD_DEVIATION = 0.1307, 0.3081


def main(seed, data_dir):
    """Train, test and print."""
    torch.manual_seed(int(seed))
    train, test = load(data_dir=data_dir or None)
    images, labels = _prepared(train)
    order = torch.randperm(len(labels))
    images, labels = images[order], labels[order]
    began = time.perf_counter()
    network = _network()
    _train(network, images, labels)
    seconds = time.perf_counter() - began
    accuracy = _accuracy(network, *_prepared(test))
    print(json.dumps({"seconds": seconds, "test_accuracy": accuracy}))


def _prepared(examples):
    images = torch.from_numpy(examples.images).float().unsqueeze(1) / 255
    return (images - MEAN) / STANDARD_DEVIATION, torch.from_numpy(examples.labels).long()


def _network():
    return nn.Sequential(
        nn.Conv2d(1, 24, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 5 * 5, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def _train(network, images, labels):
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=BETAS)
    batches = list(zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=LEARNING_RATE, total_steps=len(batches), cycle_momentum=False
    )
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _accuracy(network, images, labels):
    parts = zip(images.split(TEST_BATCH_SIZE), labels.split(TEST_BATCH_SIZE), strict=True)
    right = sum((network(x).argmax(1) == y).sum().item() for x, y in parts)
    return right / len(labels)


if __name__ == "__main__":
    main(*sys.argv[1:])
