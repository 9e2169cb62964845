import doctest

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.checkpoint import iterator_state, pipeline_graph
from mnist_keras.checkpoint.pipeline_graph import described
from tests.pipelines import PIPELINES

MODULES = {"tests.pipelines.tf_data", "tests.pipelines.tf_data_randomness"}
NAMES = [name for name, pipeline in PIPELINES.items() if pipeline.fit.__module__ in MODULES]
LOOKS = (iterator_state.obstacles, iterator_state.needs_state, iterator_state.keeps_state)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(pipeline_graph).failed == 0


def arrays():
    return np.zeros((8, 3), np.float32), np.zeros((8, 1), np.float32)


def findings(dataset, graph, monkeypatch):
    monkeypatch.setattr(iterator_state, "pipeline_graph", lambda _: graph)
    return [look(dataset) for look in LOOKS]


@pytest.mark.parametrize("name", NAMES)
def test_objects_describe_what_the_graph_shows(name, monkeypatch):
    dataset = PIPELINES[name].fit(arrays(), 2, 1)["x"]
    graph = described(dataset)
    if graph is not None:
        expected = findings(dataset, pipeline_graph.graph_of(dataset), monkeypatch)
        assert findings(dataset, graph, monkeypatch) == expected


def test_most_pipelines_are_described_by_their_objects():
    datasets = [PIPELINES[name].fit(arrays(), 2, 1)["x"] for name in NAMES]
    assert sum(described(dataset) is not None for dataset in datasets) > 0.6 * len(NAMES)


def test_large_arrays_are_not_copied_into_a_graph(monkeypatch):
    monkeypatch.setattr(pipeline_graph, "graph_of", None)
    large = tf.data.Dataset.from_tensor_slices(np.zeros((1000, 500), np.float32))
    free = large.map(lambda x: x, num_parallel_calls=2, deterministic=False)
    (obstacle,) = iterator_state.obstacles(free)
    assert obstacle.startswith("tf.data is not deterministic")
    assert iterator_state.needs_state(large.shuffle(9, seed=1).repeat().batch(5))


def test_a_pipeline_is_looked_at_once(monkeypatch):
    numbers, calls = tf.data.Dataset.range(9), []
    real = pipeline_graph.graph_of
    monkeypatch.setattr(pipeline_graph, "graph_of", lambda d: calls.append(d) or real(d))
    for look in LOOKS:
        look(numbers)
    assert calls == [numbers]
