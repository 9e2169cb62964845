"""A hand-written PyTorch loop, eager and compiled."""

import itertools

import torch

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE, UNITS


def loop(wrap):
    """Maker of the loop, its step wrapped."""

    def make(train):
        x = torch.from_numpy(train.images).reshape(len(train.labels), -1).float() / 255
        y = torch.nn.functional.one_hot(torch.from_numpy(train.labels).long(), UNITS[-1]).float()
        sizes = (x.shape[1], *UNITS)
        layers = []
        for pair in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(*pair), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

        @wrap
        def loss_of(x, y):
            return (model(x) - y).square().sum() / len(x)

        def run(epochs):
            batches = list(enumerate(range(0, len(x), BATCH_SIZE)))
            for epoch, (step, begin) in itertools.product(range(epochs), batches):
                loss = loss_of(x[begin : begin + BATCH_SIZE], y[begin : begin + BATCH_SIZE])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if step % EVERY_STEPS == 0:
                    print(epoch, step, "loss:", loss.item())

        return run

    return make


CONTENDERS = {
    "PyTorch": loop(lambda step: step),
    "PyTorch, compiled": loop(torch.compile),
}
