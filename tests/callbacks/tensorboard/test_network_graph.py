import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.graph.metadata import RUN_GRAPH_NAME

from mnist_keras import TapeModel
from mnist_keras.app import networks
from mnist_keras.callbacks.tensorboard import network_graph as module
from mnist_keras.callbacks.tensorboard.network_graph import NetworkGraph, network_graph
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow


def dense():
    return keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2, name="scores")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="network")
        self.hidden, self.scores = dense()

    def call(self, x):
        return self.scores(self.hidden(x))


class SubclassedTape(TapeModel):
    def __init__(self):
        super().__init__(name="network")
        self.hidden, self.scores = dense()

    def call(self, x):
        return self.scores(self.hidden(x))


def functional(kind):
    x = keras.Input((4,), name="x")
    hidden, scores = dense()
    return kind(inputs=x, outputs=scores(hidden(x)), name="network")


KINDS = {
    "sequential": lambda: keras.Sequential([keras.Input((4,)), *dense()], name="network"),
    "functional": lambda: functional(keras.Model),
    "subclassed": Subclassed,
    "wrapped sequential": lambda: TapeModel(keras.Sequential([*dense()], name="network")),
    "wrapped functional": lambda: TapeModel(functional(keras.Model)),
    "wrapped subclassed": lambda: TapeModel(Subclassed()),
    "functional TapeModel": lambda: functional(TapeModel),
    "subclassed TapeModel": SubclassedTape,
    "in two parts": lambda: TapeModel(KINDS["sequential"](), batch_parts=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_kind_has_its_graph_in_tensorboard_under_its_layers_names(kind, tmp_path):
    model = KINDS[kind]()
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.ones((6, 4), np.float32), np.ones((6, 2), np.float32)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[NetworkGraph(tmp_path)])
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors(RUN_GRAPH_NAME)] == [0]
    products = [node.name for node in accumulator.Graph().node if node.op == "MatMul"]
    assert products == ["network/hidden/MatMul", "network/scores/MatMul"]


def test_it_is_the_graph_of_a_validation_without_dropout(tmp_path):
    dropout = keras.layers.Dropout(0.5, name="dropout")
    graph = network_graph(keras.Sequential([keras.Input((4,)), *dense(), dropout]))
    assert not [node.name for node in graph.node if "Random" in node.op]


def test_a_run_has_one_graph_however_many_fits_it_has(make_model, stream, tmp_path):
    model = make_model()
    for end in (1, 2, 3):
        callbacks = [NetworkGraph(tmp_path)]
        model.fit(stream, epochs=end, initial_epoch=end - 1, verbose=0, callbacks=callbacks)
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors(RUN_GRAPH_NAME)] == [0]


def test_every_edge_of_the_graph_leads_to_a_node_of_it():
    for graph in (network_graph(networks.cnn()), network_graph(TapeModel(networks.mlp()))):
        names = {node.name for node in graph.node}
        assert len(names) == len(graph.node)
        sources = {source.lstrip("^").partition(":")[0] for n in graph.node for source in n.input}
        assert sources <= names
        assert {"conv_5x5", "dense_512"} & {name.split("/")[1] for name in names if "/" in name}
        assert len(graph.SerializeToString()) < 20_000


def test_a_layer_that_is_called_twice_stays_twice():
    x = keras.Input((4,))
    layer = keras.layers.Dense(4, name="twice")
    graph = network_graph(keras.Model(x, layer(layer(x)), name="network"))
    products = [node.name for node in graph.node if node.op == "MatMul"]
    assert len(set(products)) == 2
    assert all(name.startswith("network/twice") for name in products)


def test_several_inputs_of_any_type_are_taken_as_keras_has_noted_them():
    numbers = keras.Input((4,), name="numbers")
    words = keras.Input((3,), name="words", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(words))
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([numbers, embedded]))
    model = keras.Model({"numbers": numbers, "words": words}, outputs)
    placeholders = [n for n in network_graph(model).node if n.op == "Placeholder"]
    types = [tf.dtypes.as_dtype(node.attr["dtype"].type) for node in placeholders]
    assert {tf.float32, tf.int32} <= set(types)


def test_a_subclassed_model_of_several_inputs_has_its_graph():
    class Sum(keras.Model):
        def __init__(self):
            super().__init__(name="network")
            self.hidden, _ = dense()

        def call(self, inputs):
            return self.hidden(inputs["a"]) + inputs["b"]

    model = Sum()
    model({"a": np.ones((2, 4), np.float32), "b": np.ones((2, 3), np.float32)})
    assert [n.name for n in network_graph(model).node if n.op == "MatMul"] == [
        "network/hidden/MatMul"
    ]


class Words(keras.Model):
    """Takes whole numbers, of which Keras notes no shape."""

    def __init__(self):
        super().__init__(name="network")
        self.embedding = keras.layers.Embedding(5, 2)

    def call(self, x):
        return self.embedding(x)


def test_what_a_subclassed_model_takes_can_be_given_by_an_example():
    model, example = Words(), np.ones((2, 3), np.int64)
    model(example)
    (x,) = (n for n in network_graph(model, example).node if n.name in ("inputs", "x"))
    assert tf.dtypes.as_dtype(x.attr["dtype"].type) == tf.int64
    assert [d.size for d in x.attr["shape"].shape.dim] == [-1, 3]


def test_where_it_cannot_be_known_what_the_model_takes_that_is_said():
    with pytest.raises(UsageError, match=r"input of the model is unknown.*example=\.\.\."):
        network_graph(Words())


def test_the_example_is_true():
    assert doctest.testmod(module).failed == 0
