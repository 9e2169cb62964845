"""The graph of the network, in TensorBoard's graphs dashboard."""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.inference import call, model_inputs, network_of, require_call
from mnist_keras.callbacks.tensorboard.event_callback import RUN, EventCallback
from mnist_keras.callbacks.tensorboard.event_files import GRAPH
from mnist_keras.checkpoint import backends
from mnist_keras.checkpoint.backends import unavailable
from mnist_keras.console import terminal
from mnist_keras.errors import UsageError


class NetworkGraph(EventCallback):
    """Writes the network's operations once per run, under the layers' names.

    It works for all kinds of models: sequential, functional, wrapped and subclassed. If the input
    of the model is unknown, if the model has no ``call``, or with another backend than TensorFlow,
    it prints one line and writes nothing.

    Args:
        logdir: the run's directory.
        example: an input of the model, arrays with the batch as first axis; None: the input shapes
            that Keras recorded, with dtype float32 if the model is subclassed.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> logdir = tempfile.mkdtemp()
    >>> history = model.fit(x, y, verbose=0, callbacks=[NetworkGraph(logdir)])
    """

    def __init__(self, logdir: StrPath, *, example: Any = None) -> None:
        super().__init__(logdir)
        self._example = example
        self._is_due = False

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        if not backends.is_tensorflow():
            terminal.notice(unavailable("NetworkGraph"))

    def on_log_begin(self) -> None:
        self._is_due = backends.is_tensorflow() and not self.has_logged(GRAPH)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        # Not earlier: the first batch builds a plain subclassed model.
        if self._is_due and self._log is not None:
            try:
                graph = network_graph(self.model, self._example)
            except UsageError as error:
                terminal.notice(f"NetworkGraph shows nothing: {error}")
            else:
                self._log.graph(RUN, graph, self.step)
            self._is_due = False
        super().on_train_batch_end(batch, logs)


def network_graph(model: keras.Model, example: Any = None) -> tf.compat.v1.GraphDef:
    """The operations of a built model as a ``GraphDef``; ``example`` is as for `NetworkGraph`.

    >>> layers = [keras.Input((2,)), keras.layers.Dense(1, name="score")]
    >>> model = keras.Sequential(layers, name="sequential")
    >>> [node.name for node in network_graph(model).node if node.op == "MatMul"]
    ['sequential/score/MatMul']

    Raises:
        UsageError: the input of the model is unknown, or the model cannot be called with it.
    """
    spec = _input_spec(model) if example is None else tf.nest.map_structure(_spec_of, example)
    graph = _traced(network_of(model), spec).as_graph_def()
    names = [node.name for node in graph.node]
    for node in graph.node:
        node.name = _as_named(node.name, names)
        for number, source in enumerate(node.input):
            node.input[number] = _as_named(source, names)
    return graph


def _traced(network, spec):
    """The ``tf.Graph`` of a network's outputs for an input."""

    def outputs(inputs):
        return call(network, inputs)

    try:
        return tf.function(outputs, autograph=False).get_concrete_function(spec).graph
    except UsageError:
        raise
    except Exception as error:  # Any error of the user's own call, for an input that is a guess.
        raise UsageError(
            f"the model cannot be called with this input. Received: {spec}. "
            "Expected: NetworkGraph(..., example=...) with an input of the model."
        ) from error


def _as_named(name, names):
    """A node's name without the suffix _1; Keras enters each layer's scope twice, which adds it."""
    while match := re.match(r"(\^?)((?:.*?/)?[^/]+?)_1(/.*)", name):
        control, scope, rest = match.groups()
        if any(other.startswith(f"{scope}/") for other in names):
            break
        name = control + scope + rest
    return name


def _input_spec(model):
    """The ``tf.TensorSpec`` of a model's input, or a nested structure of them."""
    inputs = model_inputs(model)
    if inputs is None:
        require_call(model)
        raise UsageError(
            "the input of the model is unknown. Received: a model that was built without an "
            "input shape. Expected: NetworkGraph(..., example=...)."
        )
    return tf.nest.map_structure(
        lambda part: None if part is None else tf.TensorSpec(part.shape, part.dtype), inputs
    )


def _spec_of(example):
    example = np.asarray(example)
    return tf.TensorSpec((None, *example.shape[1:]), example.dtype)
