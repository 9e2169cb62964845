"""What the traced training step of a model uses: variables, and states that cannot be saved."""

import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from mnist_keras.checkpoint.iterator_state import STATEFUL_RANDOM_OPS

_DRAWS = frozenset({"IteratorGetNext", "IteratorGetNextAsOptional", "IteratorGetNextSync"})
_REASONS = {
    STATEFUL_RANDOM_OPS: (
        "the training step uses {op} ({name}), whose state cannot be saved; use keras.random with "
        "seed=self.seed_generator, a keras.random.SeedGenerator of the model, or a "
        "tf.random.Generator"
    ),
    _DRAWS: (
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
        takes_iterator: whether its argument is the iterator over the batches of ``fit``.

    Attributes:
        takes_iterator: the same.

    Example:

    >>> counter = tf.Variable(0.0)
    >>> step = tf.function(lambda: tf.random.normal([2]) + counter.assign_add(1.0))
    >>> graph = StepGraph(step.get_concrete_function())
    >>> len(graph.variables)
    1
    >>> graph.obstacles[0][:43]
    'the training step uses RandomStandardNormal'
    """

    def __init__(self, function: Any, *, takes_iterator: bool = False) -> None:
        self._graph = function.graph
        arguments = self._graph.inputs[: -len(function.captured_inputs) or None]
        self._arguments = {tensor.op.name for tensor in arguments}
        self.takes_iterator = takes_iterator

    @functools.cached_property
    def draws_once(self) -> bool:
        """Whether the graph draws exactly one batch from its argument."""
        draws = [node for node in self._nodes() if node.op in _DRAWS]
        return len(draws) == 1 and self._is_of_argument(draws[0])

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
                if node.op in ops and not self._may_draw_for_fit(node):
                    found.setdefault(ops, reason.format(op=node.op, name=node.name))
        return list(found.values())

    def _may_draw_for_fit(self, node: Any) -> bool:
        """Whether a node may draw from the argument; `draws_once` counts all that do."""
        if not self.takes_iterator or node.op not in _DRAWS:
            return False
        return node.name not in self._names or self._is_of_argument(node)

    @functools.cached_property
    def _names(self) -> set[str]:
        """The names of the nodes of the graph, not of the functions in it."""
        return {operation.name for operation in self._graph.get_operations()}

    def _is_of_argument(self, node: Any) -> bool:
        """Whether a node of the graph, not of a function in it, takes an argument."""
        return any(name in self._arguments for name in node.input)

    def _nodes(self) -> Iterator[Any]:
        graph = self._graph.as_graph_def()
        yield from graph.node
        for function in graph.library.function:
            yield from function.node_def
