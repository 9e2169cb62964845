"""Tells a value that a training step computes from one that it only reads from its variables."""

import tensorflow as tf

from mnist_keras import _keras

_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_CONTROL_FLOW = ("If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase")


def is_computed_in_step(tensor, *, trained):
    """Whether a value depends on the batch, on random numbers or on weights that are trained.

    Otherwise it is read from other variables: it is the result of a metric, or a mean that a model
    keeps in variables. Only the data's path counts, not the order in which variables are written. A
    constant counts as computed.

    Args:
        tensor: a symbolic tensor of the graph of a training step.
        trained: the variables that are trained.
    """
    handles = {id(variable.handle) for variable in trained}
    seen, reads_state = set(), False
    waiting = [(tensor, ())]  # with the calls that lead to its graph, from the outermost one
    while waiting:
        tensor, calls = waiting.pop()
        if (id(tensor), calls) in seen:
            continue
        seen.add((id(tensor), calls))
        sources = _sources(tensor, calls, handles)
        if sources is None:
            return True
        reads_state |= tensor.op.type in _READS
        waiting.extend(sources)
    return not reads_state


def _sources(tensor, calls, handles):
    """What a tensor is computed from, [(tensor, calls), ...]; None if it is of this step anyway."""
    operation = tensor.op
    if operation.type == "Placeholder":
        source = _passed(tensor, calls)
        if source is None:
            return None  # The batch.
        return [source] if _is_symbolic(source[0]) else []
    if operation.type in _CALLS:
        graph = _keras.graph_of_call(operation)
        if graph is not None:
            return [(graph.outputs[tensor.value_index], (*calls, operation))]
    inputs = [(part, calls) for part in operation.inputs if part.dtype != tf.resource]
    if operation.type in _READS:
        return None if id(_outermost(operation.inputs[0], calls)) in handles else inputs
    is_stateful = operation.op_def.is_stateful and operation.type not in (*_CALLS, *_CONTROL_FLOW)
    return None if is_stateful else inputs


def _passed(placeholder, calls):
    """What is passed into a function for a placeholder, with the calls; None for an argument."""
    graph = placeholder.graph
    if calls:
        position = [id(part) for part in graph.inputs].index(id(placeholder))
        return calls[-1].inputs[position], calls[:-1]
    outer = {id(inner): outer for outer, inner in graph.captures}
    return (outer[id(placeholder)], ()) if id(placeholder) in outer else None


def _outermost(handle, calls):
    """The handle of a variable, which inner functions know by placeholders."""
    while _is_symbolic(handle) and handle.op.type == "Placeholder":
        source = _passed(handle, calls)
        if source is None:
            break
        handle, calls = source
    return handle


def _is_symbolic(tensor):
    return not hasattr(tensor, "numpy") and hasattr(tensor, "op")
