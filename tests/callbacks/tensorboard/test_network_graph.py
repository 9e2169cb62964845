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
def test_every_kind_of_model_has_a_graph_with_layer_names(kind, tmp_path):
    model = KINDS[kind]()
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.ones((6, 4), np.float32), np.ones((6, 2), np.float32)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[NetworkGraph(tmp_path)])
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors(RUN_GRAPH_NAME)] == [0]
    products = [node.name for node in accumulator.Graph().node if node.op == "MatMul"]
    assert products == ["network/hidden/MatMul", "network/scores/MatMul"]


def test_the_graph_is_of_inference_without_dropout(tmp_path):
    dropout = keras.layers.Dropout(0.5, name="dropout")
    graph = network_graph(keras.Sequential([keras.Input((4,)), *dense(), dropout]))
    assert not [node.name for node in graph.node if "Random" in node.op]


def test_a_run_with_several_fits_has_one_graph(make_model, stream, tmp_path):
    model = make_model()
    for end in (1, 2, 3):
        callbacks = [NetworkGraph(tmp_path)]
        model.fit(stream, epochs=end, initial_epoch=end - 1, verbose=0, callbacks=callbacks)
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors(RUN_GRAPH_NAME)] == [0]


def test_every_edge_of_the_graph_leads_to_its_nodes():
    for graph in (network_graph(networks.cnn()), network_graph(TapeModel(networks.mlp()))):
        names = {node.name for node in graph.node}
        assert len(names) == len(graph.node)
        sources = {source.lstrip("^").partition(":")[0] for n in graph.node for source in n.input}
        assert sources <= names
        assert {"conv_5x5", "dense_512"} & {name.split("/")[1] for name in names if "/" in name}
        assert len(graph.SerializeToString()) < 20_000


def test_a_layer_called_twice_appears_twice():
    x = keras.Input((4,))
    layer = keras.layers.Dense(4, name="twice")
    graph = network_graph(keras.Model(x, layer(layer(x)), name="network"))
    products = [node.name for node in graph.node if node.op == "MatMul"]
    assert len(set(products)) == 2
    assert all(name.startswith("network/twice") for name in products)


def test_several_inputs_use_the_shapes_and_types_keras_recorded():
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
    """Takes integers; Keras does not record their shape."""

    def __init__(self):
        super().__init__(name="network")
        self.embedding = keras.layers.Embedding(5, 2)

    def call(self, x):
        return self.embedding(x)


def test_an_example_can_define_a_subclassed_models_inputs():
    model, example = Words(), np.ones((2, 3), np.int64)
    model(example)
    (x,) = (n for n in network_graph(model, example).node if n.name in ("inputs", "x"))
    assert tf.dtypes.as_dtype(x.attr["dtype"].type) == tf.int64
    assert [d.size for d in x.attr["shape"].shape.dim] == [-1, 3]


def test_a_model_with_unknown_inputs_is_reported():
    with pytest.raises(UsageError, match=r"input of the model is unknown.*example=\.\.\."):
        network_graph(Words())


class WithoutCall(TapeModel):
    """As a GAN: networks in attributes and a train_step."""

    def __init__(self):
        super().__init__()
        self.generator = KINDS["sequential"]()
        self.built = True

    def train_step(self, data):
        return {"loss": tf.reduce_mean(self.generator(data[0]))}


class OfPairs(TapeModel):
    """Takes two inputs in a tuple, but is built by Keras with the first."""

    def __init__(self):
        super().__init__()
        self.hidden, _ = dense()

    def call(self, pair):
        first, second = pair
        return self.hidden(first) - self.hidden(second)

    def train_step(self, data):
        return {"loss": tf.reduce_mean(self.hidden(data[0]))}


CANNOT_BE_CALLED = (
    "the model cannot be called. Received: WithoutCall without a call method. Expected: a model "
    "that evaluate can call.\n"
)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(WithoutCall, CANNOT_BE_CALLED), (OfPairs, "the input of the model is unknown. ")],
)
def test_a_model_without_a_graph_trains_and_says_so(kind, reason, tmp_path, capfd):
    model = kind()
    model.compile(optimizer="sgd")
    x, y = np.ones((6, 4), np.float32), np.ones((6, 2), np.float32)
    callbacks = [NetworkGraph(tmp_path)]
    history = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=callbacks)
    assert len(history.history["loss"]) == 2
    assert capfd.readouterr().err.count(f"NetworkGraph shows nothing: {reason}") == 1


@pytest.mark.parametrize("wrap", [lambda model: model, TapeModel])
def test_a_network_without_a_call_is_refused_at_once(wrap):
    model = wrap(keras.Model(name="network"))
    with pytest.raises(UsageError, match=r"Received: Model without a call method\."):
        network_graph(model)


def test_the_example_is_true():
    assert doctest.testmod(module).failed == 0
