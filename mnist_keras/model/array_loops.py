"""Graphs of many steps that cut the batches of arrays themselves."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mnist_keras.data.array_batches import window_spec
from mnist_keras.model.graph_function import graph_function


class ArrayLoops:
    """One graph for each trace of a step, for arrays of any length.

    Operations such as ``tf.random.normal`` keep their place in the graph. So the arrays of another
    fit get a new graph only where Keras would trace the step anew.

    Args:
        trace: a function that takes the spec of a batch and returns the step's concrete function,
            whose first argument is the batch.
        run: a function of (the concrete function, a function that gives the batch of a step, the
            number of steps, flags...).
        flags: how many vectors of bools ``run`` takes.
    """

    def __init__(
        self, trace: Callable[[Any], Any], run: Callable[..., Any], *, flags: int = 0
    ) -> None:
        self._trace = trace
        self._run = run
        self._flags = flags
        self._loops: dict[Any, Any] = {}
        self._newest: tuple[Any, Any] = (None, None)

    def of(self, batch_spec: Any) -> Any:
        """The graph for batches of this spec, a function of (window, number of steps, flags...)."""
        newest_spec, loop = self._newest
        if batch_spec is not newest_spec:  # To find a trace takes as long as a small step.
            loop = self._loop(self._trace(batch_spec))
            self._newest = batch_spec, loop
        return loop

    def _loop(self, step_function):
        if step_function not in self._loops:
            spec = step_function.structured_input_signature[0][0]
            self._loops[step_function] = graph_function(
                functools.partial(self._cut_and_run, step_function, spec),
                input_signature=[
                    window_spec(spec),
                    tf.TensorSpec([], tf.int32),
                    *[tf.TensorSpec([None], tf.bool)] * self._flags,
                ],
            )
        return self._loops[step_function]

    def _cut_and_run(self, step_function, spec, window, *arguments):
        def batch(step):
            return window.batch(step, spec)

        return self._run(step_function, batch, *arguments)
