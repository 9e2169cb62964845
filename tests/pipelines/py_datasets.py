"""Subclasses of keras.utils.PyDataset, as users write them."""

import keras
import numpy as np

from tests.pipelines.pipeline import count, has_float_inputs, is_float, pipeline, rows


class Batches(keras.utils.PyDataset):
    """Batches in the order of ``indices``, which a subclass may change."""

    def __init__(self, arrays, batch_size, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.arrays, self.batch_size, self.seed = arrays, batch_size, seed
        self.indices = np.arange(count(arrays))

    @property
    def num_batches(self):
        return -(-len(self.indices) // self.batch_size)

    def __getitem__(self, number):
        begin = number * self.batch_size
        return rows(self.arrays, self.indices[begin : begin + self.batch_size])


class ByEpoch(Batches):
    """The order is a function of (seed, epoch)."""

    epoch = 0

    def on_epoch_end(self):
        self.epoch += 1
        generator = np.random.default_rng([self.seed, self.epoch])
        self.indices = generator.permutation(count(self.arrays))


class ByGlobalGenerator(Batches):
    """Like the most copied example of a Sequence."""

    def on_epoch_end(self):
        np.random.shuffle(self.indices)


class ByOwnGenerator(Batches):
    """Draws from its own generator and does not give that generator's state."""

    def __init__(self, arrays, batch_size, seed):
        super().__init__(arrays, batch_size)
        self.generator = np.random.default_rng(seed)

    def on_epoch_end(self):
        self.generator.shuffle(self.indices)


class Stateful(ByOwnGenerator):
    """Gives its state."""

    def state_dict(self):
        return {"generator": self.generator.bit_generator.state, "indices": self.indices.tolist()}

    def load_state_dict(self, state):
        self.generator.bit_generator.state = state["generator"]
        self.indices = np.array(state["indices"])


class Noisy(Batches):
    """Changes the inputs of each batch at random."""

    def __getitem__(self, number):
        x, *others = super().__getitem__(number)
        return keras.tree.map_structure(_with_noise, x), *others


def _with_noise(x):
    return x + np.random.normal(0, 0.1, x.shape).astype(x.dtype) if is_float(x) else x


class Endless(Batches):
    """Has no length; endless batches, pass after pass."""

    num_batches = None

    def __getitem__(self, number):
        numbers = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        return rows(self.arrays, numbers % count(self.arrays))


class EndlessReader(Endless):
    """Reads on from a position in its own state, like readers of streams."""

    def __init__(self, arrays, batch_size, seed):
        super().__init__(arrays, batch_size)
        self.generator = np.random.default_rng(seed)
        self.drawn = 0

    def __getitem__(self, number):
        if self.drawn % 6 == 0:
            self.generator.shuffle(self.indices)
        begin = self.drawn % 6 * self.batch_size
        self.drawn += 1
        return rows(self.arrays, self.indices[begin : begin + self.batch_size])

    def state_dict(self):
        return {
            "generator": self.generator.bit_generator.state,
            "indices": self.indices.tolist(),
            "drawn": self.drawn,
        }

    def load_state_dict(self, state):
        self.generator.bit_generator.state = state["generator"]
        self.indices, self.drawn = np.array(state["indices"]), state["drawn"]


@pipeline("PyDataset, shuffled by Keras")
def shuffled(arrays, batch_size, seed):
    return {"x": Batches(arrays, batch_size)}


@pipeline("PyDataset, shuffled by Keras, no seed set", is_seeded=False)
def unseeded(arrays, batch_size, seed):
    return {"x": Batches(arrays, batch_size)}


@pipeline("PyDataset, in order")
def in_order(arrays, batch_size, seed):
    return {"x": Batches(arrays, batch_size), "shuffle": False}


@pipeline("PyDataset, shuffled by Keras, workers=2")
def workers(arrays, batch_size, seed):
    return {"x": Batches(arrays, batch_size, workers=2)}


@pipeline("PyDataset, on_epoch_end counts the epochs")
def counts_epochs(arrays, batch_size, seed):
    return {"x": ByEpoch(arrays, batch_size, seed), "shuffle": False}


@pipeline("PyDataset, on_epoch_end counts the epochs, workers=2")
def counts_epochs_with_workers(arrays, batch_size, seed):
    return {"x": ByEpoch(arrays, batch_size, seed, workers=2), "shuffle": False}


@pipeline("PyDataset, on_epoch_end shuffles with np.random")
def shuffles_globally(arrays, batch_size, seed):
    return {"x": ByGlobalGenerator(arrays, batch_size), "shuffle": False}


@pipeline("PyDataset, on_epoch_end shuffles with a seeded generator of its own")
def shuffles_by_itself(arrays, batch_size, seed):
    return {"x": ByOwnGenerator(arrays, batch_size, seed), "shuffle": False}


@pipeline(
    "PyDataset, on_epoch_end shuffles with an unseeded default_rng()",
    exact="nobody can save the generator's state, and another process begins with another one",
)
def shuffles_unseeded(arrays, batch_size, seed):
    return {"x": ByOwnGenerator(arrays, batch_size, None), "shuffle": False}


@pipeline("PyDataset, state_dict of its own")
def stateful(arrays, batch_size, seed):
    return {"x": Stateful(arrays, batch_size, seed), "shuffle": False}


@pipeline("PyDataset, np.random in each batch", fits=has_float_inputs)
def noisy(arrays, batch_size, seed):
    return {"x": Noisy(arrays, batch_size), "shuffle": False}


@pipeline("PyDataset, endless, steps_per_epoch that ends amid a pass")
def endless(arrays, batch_size, seed):
    return {"x": Endless(arrays, batch_size), "steps_per_epoch": 4}


@pipeline("PyDataset, endless, with a place and a state_dict of its own")
def endless_reader(arrays, batch_size, seed):
    return {"x": EndlessReader(arrays, batch_size, seed), "steps_per_epoch": 4}
