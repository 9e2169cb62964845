"""What the traced training step of a model uses: variables, and states that cannot be saved."""

import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from mnist_keras.checkpoint.iterator_state import STATEFUL_RANDOM_OPS

_REASONS = {
    STATEFUL_RANDOM_OPS: (
        "the training step uses {op} ({name}), whose state cannot be saved; use keras.random with "
        "seed=self.seed_generator, a keras.random.SeedGenerator of the model, or a "
        "tf.random.Generator"
    ),
    frozenset({"IteratorGetNext", "IteratorGetNextAsOptional", "IteratorGetNextSync"}): (
        "the training step draws from an iterator ({name}), whose place is not saved; give all "
        "data to fit, for example with tf.data.Dataset.zip"
    ),
    frozenset({"PyFunc", "EagerPyFunc"}): (
        "the training step calls a Python function ({op} {name}), whose state cannot be saved; "
        "use TensorFlow operations, or tf.numpy_function(..., stateful=False) if it has no state"
    ),
    frozenset({"LookupTableInsertV2", "LookupTableRemoveV2"}): (
        "the training step changes a lookup table ({op} {name}), which is not saved; use a "
        "tf.Variable"
    ),
}


class StepGraph:
    """The graph of a training step.

    Args:
        function: a concrete function.

    Example:

    >>> counter = tf.Variable(0.0)
    >>> step = tf.function(lambda: tf.random.normal([2]) + counter.assign_add(1.0))
    >>> graph = StepGraph(step.get_concrete_function())
    >>> len(graph.variables)
    1
    >>> graph.obstacles[0][:43]
    'the training step uses RandomStandardNormal'
    """

    def __init__(self, function: Any) -> None:
        self._graph = function.graph

    @functools.cached_property
    def variables(self) -> tuple[tf.Variable, ...]:
        """All variables that the step uses, also those that only a closure holds."""
        return tuple(self._graph.variables)

    @functools.cached_property
    def obstacles(self) -> list[str]:
        """What the step uses whose state no checkpoint can save, with what to do instead."""
        found: dict[frozenset[str], str] = {}
        for node in self._nodes():
            for ops, reason in _REASONS.items():
                if node.op in ops:
                    found.setdefault(ops, reason.format(op=node.op, name=node.name))
        return list(found.values())

    def _nodes(self) -> Iterator[Any]:
        graph = self._graph.as_graph_def()
        yield from graph.node
        for function in graph.library.function:
            yield from function.node_def
