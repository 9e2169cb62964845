"""The graph of a tf.data pipeline without its arrays."""

import weakref
from typing import Any

import tensorflow as tf

from mnist_keras._keras import PipelinePart, graph_of, pipeline_part

# TensorFlow copies the arrays of from_tensor_slices into the graph, several times.
_MOST_BYTES = 2**20
# {name of the Python class: its operation}. Objects of other classes do not describe everything.
_OPERATIONS = {
    "BatchDataset": "BatchDatasetV2",
    "CacheDataset": "CacheDatasetV2",
    "ConcatenateDataset": "ConcatenateDataset",
    "FilterDataset": "FilterDataset",
    "FlatMapDataset": "FlatMapDataset",
    "MapDataset": "MapDataset",
    "OptionsDataset": "OptionsDataset",
    "PaddedBatchDataset": "PaddedBatchDatasetV2",
    "ParallelBatchDataset": "ParallelBatchDataset",
    "ParallelMapDataset": "ParallelMapDatasetV2",
    "PrefetchDataset": "PrefetchDataset",
    "RangeDataset": "RangeDataset",
    "RepeatDataset": "RepeatDataset",
    "ShardDataset": "ShardDataset",
    "ShuffleDataset": "ShuffleDatasetV3",
    "SkipDataset": "SkipDataset",
    "TakeDataset": "TakeDataset",
    "TensorDataset": "TensorDataset",
    "TensorSliceDataset": "TensorSliceDataset",
    "UnbatchDataset": "UnbatchDataset",
    "WindowDataset": "WindowDataset",
    "ZipDataset": "ZipDataset",
}
_graphs: Any = weakref.WeakKeyDictionary()


def pipeline_graph(dataset: tf.data.Dataset) -> tf.compat.v1.GraphDef:
    """The operations of a pipeline and its functions; without large constants.

    Example:

    >>> images = tf.data.Dataset.from_tensor_slices(tf.zeros([2000, 28, 28]))
    >>> graph = pipeline_graph(images.shuffle(100, seed=1).batch(32))
    >>> [node.op for node in graph.node if node.op != "Const"]
    ['TensorSliceDataset', 'ShuffleDatasetV3', 'BatchDatasetV2']
    >>> graph.ByteSize() < 1000
    True
    """
    if dataset not in _graphs:
        parts = _parts(dataset)
        is_large = sum(part.num_bytes for part in parts.values()) > _MOST_BYTES
        graph = described(dataset, parts) if is_large else None
        _graphs[dataset] = graph_of(dataset) if graph is None else graph
    return _graphs[dataset]


def described(
    dataset: tf.data.Dataset, parts: "dict[int, PipelinePart] | None" = None
) -> tf.compat.v1.GraphDef | None:
    """The graph as the Python objects of a pipeline describe it; None if they cannot."""
    parts = _parts(dataset) if parts is None else parts
    if any(part.kind not in _OPERATIONS for part in parts.values()):
        return None
    graph = tf.compat.v1.GraphDef()
    for number, part in parts.items():
        node = graph.node.add(name=f"part_{number}", op=_OPERATIONS[part.kind])
        node.input.extend(f"part_{id(above)}" for above in part.inputs)
        if part.seeds:
            # As in the operation, the size of the buffer comes before the seeds.
            node.input.extend(
                _constant(graph, f"part_{number}/{i}", value)
                for i, value in enumerate([1, *part.seeds])
            )
        if part.deterministic != "default":
            node.attr["deterministic"].s = part.deterministic.encode()
        for i, function in enumerate(part.functions):
            definition = function.as_graph_def()
            name = f"function_{number}_{i}"
            added = graph.library.function.add()
            added.signature.name = name
            added.node_def.extend(definition.node)
            graph.library.function.extend(definition.library.function)
            node.attr[f"f{i}"].func.name = name
    return graph


def _constant(graph, name, value):
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.int64.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int64))
    return name


def _parts(dataset):
    """{id: `PipelinePart`} of all steps of a pipeline, the sources first."""
    parts: dict[int, PipelinePart] = {}

    def add(step):
        if id(step) not in parts:
            part = pipeline_part(step)
            for above in part.inputs:
                add(above)
            parts[id(step)] = part

    add(dataset)
    return parts
