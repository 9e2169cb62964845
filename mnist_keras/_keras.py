"""The few names of Keras that its public interface does not carry, and why each is needed."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

# What TensorFlow draws from without a seed of one's own, and the graph of a data set.
import tensorflow as tf

# Where its layers draw: replicas that share a batch have to draw for all of it. And the masks of
# tensors, which a batch in parts would lose.
from keras.src import backend

# The generator behind keras.random without a seed: a checkpoint saves its state.
from keras.src.backend.common import global_state

# What keras.Model(inputs, outputs) makes: TapeModel(inputs, outputs) has to be one too.
from keras.src.models.functional import Functional

# What an optimizer does without tf.distribute, for replicas each of which makes the same update.
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.random import seed_generator

# What fit takes its batches from, by kind.
from keras.src.trainers import data_adapters

# Keras takes any DataAdapter as the x of fit; a PyDataset would have its batches shuffled.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from tensorflow.core.framework import graph_pb2
from tensorflow.python.data.ops import options as options_lib
from tensorflow.python.eager import context
from tensorflow.python.ops import stateful_random_ops

_IGNORE_EXTERNAL_STATE = options_lib.ExternalStatePolicy.IGNORE

__all__ = ["BaseOptimizer", "DataAdapter", "Functional", "backend"]


def eager_random() -> Any:
    """Where TensorFlow draws the seeds of eager operations, a ``random.Random``; None: no seed."""
    return getattr(context.context(), "_rng", None)


def global_seed() -> int | None:
    """The seed that ``tf.random.set_seed`` has set, or None."""
    return context.global_seed()


def global_generators() -> dict[str, Any]:
    """{name: generator} of the global ones that keep their state in a variable, where they exist.

    Of ``tf.random.get_global_generator()`` and of ``keras.random`` without a seed.
    """
    keras_generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    found = {
        "tf.random.get_global_generator()": stateful_random_ops.global_generator,
        "keras.random without a seed": keras_generator,
    }
    return {name: generator for name, generator in found.items() if generator is not None}


def make_global_generators() -> None:
    """Make those of `global_generators` that do not exist yet."""
    seed_generator.global_seed_generator()
    stateful_random_ops.get_global_generator()


@contextlib.contextmanager
def replaced(owner: Any, name: str, substitute: Any) -> Iterator[None]:
    """While an attribute of a module or class is another one."""
    original = vars(owner)[name]
    setattr(owner, name, substitute)
    try:
        yield
    finally:
        setattr(owner, name, original)


def graph_of(dataset: Any) -> Any:
    """The ``GraphDef`` of a ``tf.data.Dataset``, with the functions of its maps."""
    serialized = dataset._as_serialized_graph(external_state_policy=_IGNORE_EXTERNAL_STATE)
    return graph_pb2.GraphDef.FromString(serialized.numpy())


class _Watched:
    """A data set that says which iterators are made of it."""

    def __init__(self, dataset, notice):
        self._dataset, self._notice = dataset, notice

    def __iter__(self):
        iterator = iter(self._dataset)
        self._notice(iterator)
        return iterator


class EpochIterator:
    """Keras's iterator over the epochs of a fit, with what a resumed training has to do with it.

    Keras makes an iterator over the data for each epoch, or one for all epochs of
    ``steps_per_epoch`` steps, and calls ``on_epoch_begin`` and ``on_epoch_end`` of the data.

    Args:
        epochs: what ``Model._maybe_symbolic_build`` gets as its ``iterator``.
    """

    def __init__(self, epochs: Any) -> None:
        self._epochs = epochs
        self.adapter = epochs.data_adapter

    @property
    def steps_per_epoch(self) -> int | None:
        """What the user gave, or None."""
        return self._epochs.steps_per_epoch

    @property
    def num_batches(self) -> int | None:
        """Batches in an epoch; None where Keras has not seen the end of the data yet."""
        return self._epochs._num_batches

    @property
    def dataset(self) -> Any:
        """The ``tf.data.Dataset``, or a distributed one, of which iterators are made."""
        return self._epochs._distributed_dataset

    @property
    def current(self) -> Any:
        """The iterator that Keras goes on with in the next epoch, or None."""
        return self._epochs._current_iterator

    def watch(self, *, on_iterator: Any, around_hook: Any) -> None:
        """Call ``on_iterator(iterator)`` for each new one, and the data's hooks by another way.

        Args:
            on_iterator: called before Keras draws from it.
            around_hook: called as ``around_hook(name, hook)`` instead of the data's
                ``on_epoch_begin`` and ``on_epoch_end``.
        """
        epochs, adapter = self._epochs, self.adapter
        epochs._get_iterator = lambda: _Watched(self.dataset, on_iterator)
        for name in ("on_epoch_begin", "on_epoch_end"):
            hook = getattr(adapter, name)
            setattr(adapter, name, functools.partial(around_hook, name, hook))

    def unwatch(self) -> None:
        """Undo what `watch` has done to the adapter, which the user may own."""
        for name in ("on_epoch_begin", "on_epoch_end"):
            vars(self.adapter).pop(name, None)

    def rebuild(self, strategy: Any, *, from_generator: Any = None, shuffle: Any = None) -> None:
        """Make the data set anew, out of other building blocks.

        Args:
            strategy: that of the model.
            from_generator: stands in for ``tf.data.Dataset.from_generator``.
            shuffle: stands in for ``tf.random.shuffle``.
        """
        with contextlib.ExitStack() as stack:
            if from_generator is not None:
                substitute = staticmethod(from_generator)
                stack.enter_context(replaced(tf.data.Dataset, "from_generator", substitute))
            if shuffle is not None:
                stack.enter_context(replaced(tf.random, "shuffle", shuffle))
            dataset = self.adapter.get_tf_dataset()
        if not isinstance(dataset, tf.distribute.DistributedDataset):
            dataset = strategy.experimental_distribute_dataset(dataset)
        self._epochs._distributed_dataset = dataset

    def replay_epoch(self, num_batches: int | None) -> None:
        """Do what an epoch did to the iterators and the data, without drawing a batch.

        Args:
            num_batches: what `num_batches` was at its end.
        """
        epochs, adapter = self._epochs, self.adapter
        enqueuer = getattr(adapter, "enqueuer", None)
        if enqueuer is not None:
            adapter.enqueuer = None  # It would begin to draw in another thread.
        try:
            steps = epochs._enumerate_iterator()
            if epochs.steps_per_epoch or epochs._num_batches:
                for _ in steps:
                    pass
            else:  # Keras finds the end of the data by running into it.
                next(steps)
                steps.close()
                epochs._num_batches, epochs._current_iterator = num_batches, None
                adapter.on_epoch_end()
        finally:
            if enqueuer is not None:
                adapter.enqueuer = enqueuer

    @property
    def kind(self) -> str:
        """What the data are: "arrays", "tf.data", "PyDataset", "generator", "torch", "grain"."""
        for kind, adapter in _ADAPTERS.items():
            if isinstance(self.adapter, adapter):
                return kind
        return type(self.adapter).__name__

    @property
    def source(self) -> Any:
        """The user's own object that the batches come from, where it is one; else None."""
        name = _SOURCES.get(self.kind)
        return None if name is None else getattr(self.adapter, name)

    @property
    def shuffles_arrays(self) -> bool:
        """Whether these are arrays that Keras shuffles."""
        return self.kind == "arrays" and self.adapter._shuffle not in (False, "batch")

    @property
    def examples(self) -> int | None:
        """How many examples the arrays have, or None."""
        return self.adapter._num_samples if self.kind == "arrays" else None


_ADAPTERS = {
    "arrays": data_adapters.ArrayDataAdapter,
    "tf.data": data_adapters.TFDatasetAdapter,
    "PyDataset": data_adapters.PyDatasetAdapter,
    "generator": data_adapters.GeneratorDataAdapter,
    "torch": data_adapters.TorchDataLoaderAdapter,
    "grain": data_adapters.GrainDatasetAdapter,
}
_SOURCES = {"PyDataset": "py_dataset", "torch": "_dataloader", "grain": "_dataset"}
