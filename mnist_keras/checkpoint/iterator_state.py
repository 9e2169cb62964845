"""The state of a tf.data iterator as bytes, and the parts of a pipeline that cannot be saved."""

from typing import Any

import tensorflow as tf

from mnist_keras.checkpoint.pipeline_graph import pipeline_graph

# TensorFlow's random operations with an internal state that cannot be read.
STATEFUL_RANDOM_OPS = frozenset(
    {
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "SampleDistortedBoundingBox",
        "SampleDistortedBoundingBoxV2",
        "TruncatedNormal",
    }
)
_SHUFFLES = ("ShuffleDataset", "ShuffleDatasetV2", "ShuffleDatasetV3", "ShuffleAndRepeatDatasetV2")
_STATELESS = "or use tf.random.stateless operations"
_PARALLEL = (
    "ParallelMapDataset",
    "ParallelMapDatasetV2",
    "MapAndBatchDataset",
    "ParallelInterleaveDatasetV2",
    "ParallelInterleaveDatasetV3",
    "ParallelInterleaveDatasetV4",
)
_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "GeneratorDataset")
# For a state outside of the pipeline, such as a variable.
_FAIL = tf.data.experimental.ExternalStatePolicy.FAIL.value
# A tf.random.Generator, a Keras seed generator or a counter in a map.
_CHANGES_OF_VARIABLES = (
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "AssignVariableOp",
    "RngReadAndSkip",
    "RngSkip",
)


def save(iterator: Any) -> bytes | None:
    """The state of an iterator; None if it cannot be saved.

    Args:
        iterator: a ``tf.data`` iterator.

    Example:

    >>> numbers = tf.data.Dataset.range(5)
    >>> iterator = iter(numbers)
    >>> _ = next(iterator), next(iterator)
    >>> state, another = save(iterator), iter(numbers)
    >>> restore(another, state)
    >>> int(next(another))
    2
    """
    try:
        # Through tf.train.Checkpoint, which writes files, it takes up to 15 ms longer.
        state = tf.raw_ops.SerializeIterator(
            resource_handle=_resource(iterator), external_state_policy=_FAIL
        )
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError):
        return None
    return tf.io.serialize_tensor(state).numpy()


def restore(iterator: Any, state: bytes) -> None:
    """Set an iterator of the same pipeline to the state that `save` returned.

    Raises:
        tf.errors.OpError: the state is damaged, or that of another pipeline.
    """
    tf.raw_ops.DeserializeIterator(
        resource_handle=_resource(iterator), serialized=tf.io.parse_tensor(state, tf.variant)
    )


def _resource(iterator):
    (resource,) = tf.nest.flatten(iterator, expand_composites=True)
    return resource


def obstacles(dataset: Any) -> list[str]:
    """Why a pipeline may give other batches when it is drawn from again, and what to do.

    Args:
        dataset: a ``tf.data.Dataset``.

    Example:

    >>> numbers = tf.data.Dataset.range(5)
    >>> noisy = numbers.map(lambda x: tf.random.uniform([], seed=1), num_parallel_calls=2)
    >>> obstacles(noisy)
    ['tf.data uses RandomUniform in a parallel map, whose order varies; leave out \
num_parallel_calls there, or use tf.random.stateless operations']
    >>> generator = tf.random.Generator.from_seed(1)
    >>> (reason,) = obstacles(numbers.map(lambda x: generator.normal(()), num_parallel_calls=2))
    >>> reason[:67]
    'tf.data uses RngReadAndSkip in a parallel map, whose order varies; '
    """
    graph = pipeline_graph(dataset)
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    lines = []
    for node, body in _nodes(graph.node, *functions.values()):
        called = [name for name in _called(node) if name in functions]
        random = [(op, seeded) for name in called for op, seeded in _random_ops(name, functions)]
        is_parallel = node.op in _PARALLEL
        for op, is_seeded in random:
            if not node.op.endswith(("Dataset", "DatasetV2", "DatasetV3", "DatasetV4")):
                continue
            if not is_seeded:
                lines.append(
                    f"tf.data uses {op} in a map without a seed; give it a seed, {_STATELESS}"
                )
            elif is_parallel:
                lines.append(
                    f"tf.data uses {op} in a parallel map, whose order varies; leave out "
                    f"num_parallel_calls there, {_STATELESS}"
                )
        if node.attr["deterministic"].s == b"false" or node.attr["sloppy"].b:
            lines.append("tf.data is not deterministic; leave out deterministic=False")
        if node.op in _SHUFFLES and _is_unseeded(node, body):
            lines.append("tf.data shuffles without a seed; give it a seed")
    return list(dict.fromkeys(lines))


def needs_state(dataset: Any) -> bool:
    """Whether making the iterators of earlier epochs without drawing does not repeat the order.

    This is so if a shuffle comes before a repeat, a cache or another shuffle. The number of
    restarts of the shuffle then depends on the number of draws.

    >>> numbers = tf.data.Dataset.range(5)
    >>> needs_state(numbers.shuffle(5, seed=1)), needs_state(numbers.shuffle(5, seed=1).repeat(2))
    (False, True)
    """
    graph = pipeline_graph(dataset)
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        is_after = node.op in ("RepeatDataset", "CacheDataset", "CacheDatasetV2", *_SHUFFLES)
        if is_after and any(above.op in _SHUFFLES for above in _above(node, nodes)):
            return True
    return False


def keeps_state(dataset: Any) -> bool:
    """Whether the functions of a pipeline may keep a state between calls, in Python or a variable.

    >>> numbers = tf.data.Dataset.range(2)
    >>> python = numbers.map(lambda x: tf.py_function(abs, [x], x.dtype))
    >>> generator = tf.random.Generator.from_seed(1)
    >>> noise = numbers.map(lambda x: generator.normal(()))
    >>> keeps_state(numbers), keeps_state(python), keeps_state(noise)
    (False, True, True)
    """
    graph = pipeline_graph(dataset)
    bodies = (graph.node, *(function.node_def for function in graph.library.function))
    stateful = (*_PYTHON, *_CHANGES_OF_VARIABLES)
    return any(node.op in stateful for nodes in bodies for node in nodes)


def _nodes(*bodies):
    """Yield (node, {name: node} of its graph) for each node of the graphs."""
    for body in bodies:
        named = {node.name: node for node in body}
        for node in body:
            yield node, named


def _called(node):
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _random_ops(name, functions, seen=None):
    """Yield (random operation, whether it has a seed) for a function and the functions it calls.

    A change of a variable counts as one with a seed: its value is known at the beginning.
    """
    seen = {name} if seen is None else seen
    for node in functions[name]:
        if node.op in STATEFUL_RANDOM_OPS:
            yield node.op, bool(node.attr["seed"].i or node.attr["seed2"].i)
        elif node.op in _CHANGES_OF_VARIABLES:
            yield node.op, True
        for called in _called(node):
            if called in functions and called not in seen:
                yield from _random_ops(called, functions, seen | {called})


def _is_unseeded(shuffle, nodes):
    """Whether both seeds of a shuffle are 0; TensorFlow then draws new seeds each time."""
    seeds = []
    for name in shuffle.input:
        node = nodes.get(name.partition(":")[0].lstrip("^"))
        if (
            node is not None
            and node.op == "Const"
            and node.attr["dtype"].type == tf.int64.as_datatype_enum
        ):
            seeds.append(int(tf.make_ndarray(node.attr["value"].tensor)))
    # The buffer's size comes first, then the two seeds.
    return len(seeds) >= 3 and not any(seeds[1:3])


def _above(node, nodes):
    """Yield all nodes that a data set of a pipeline depends on."""
    waiting, seen = list(node.input), set()
    while waiting:
        name = waiting.pop().partition(":")[0].lstrip("^")
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            waiting.extend(nodes[name].input)
