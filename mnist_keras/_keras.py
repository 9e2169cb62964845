"""The few names of Keras that its public interface does not carry, and why each is needed."""

import contextlib
from collections.abc import Iterator
from typing import Any

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

# Keras takes any DataAdapter as the x of fit; a PyDataset would have its batches shuffled.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

# What TensorFlow draws from without a seed of one's own, and the graph of a data set.
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
