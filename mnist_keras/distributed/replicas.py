"""One training step on several replicas, with the numbers of one.

Each replica computes on its shard of the global batch. Its loss is weighted by its number of
examples, so the sum over replicas is the loss of the global batch, even where the shards differ in
size. Gradients are summed once, before clipping, loss scaling and accumulation, which therefore see
the gradients of the global batch. Each replica then applies the same update to its own copy of the
weights.
"""

import contextlib
import contextvars

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed.batch_shards import BatchShard
from mnist_keras.errors import UsageError

_MEAN_REDUCTIONS = ("sum_over_batch_size", "mean")
# TensorFlow traces each replica's step in a thread, and so in a context, of its own.
_REPLICA = contextvars.ContextVar("replica", default=None)


def shard_of_worker(strategy):
    """The `mnist_keras.distributed.batch_shards.BatchShard` of this process's replicas."""
    ids = []
    strategy.experimental_distribute_values_from_function(
        lambda context: ids.append(context.replica_id_in_sync_group)
    )
    return BatchShard(
        first_replica=min(ids),
        end_replica=max(ids) + 1,
        replica_count=strategy.num_replicas_in_sync,
    )


def replica_id():
    """The index of the replica whose step is being traced, from 0 over all workers."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))


class Replica:
    """What one of several replicas knows while its step is traced.

    Args:
        begin: where its shard of the global batch begins, an int32 scalar.
        size: examples in the shard, an int32 scalar.
        global_batch_size: examples in the batch over all replicas, an int32 scalar.
        is_even: whether the shards of every batch have the same size.
    """

    def __init__(self, *, begin, size, global_batch_size, is_even):
        self.begin, self.size, self.global_batch_size = begin, size, global_batch_size
        self._weight = None
        if not is_even:
            count = tf.distribute.get_strategy().num_replicas_in_sync
            self._weight = tf.cast(size * count, tf.float32) / tf.cast(
                global_batch_size, tf.float32
            )
        self._sums, self._contributions = {}, {}

    def loss_contribution(self, loss):
        """What this replica adds to the loss of the global batch.

        Args:
            loss: what Keras's losses give here: the mean over this replica's examples, divided by
                the number of replicas.
        """
        loss = self.weighted(loss)
        self.add_contribution(loss)
        return loss

    def weighted(self, mean):
        """A mean over this replica's examples, weighted so that the mean over replicas is right."""
        if self._weight is None:
            return mean
        # The mean over an empty shard may be NaN.
        return tf.math.multiply_no_nan(mean, tf.cast(self._weight, mean.dtype))

    def add_contribution(self, loss):
        """Remember that a tensor is a contribution to the loss of the global batch."""
        self._contributions[id(loss)] = loss

    def add_sum(self, tensor):
        """Remember that a tensor is the same on all replicas, as a sum over them is."""
        self._sums[id(tensor)] = tensor, tensor

    def all_reduce_sum(self, tensors):
        """The sums of tensors over all replicas; a tensor that is such a sum stays as it is.

        Args:
            tensors: a list; None in it stays None.
        """
        new = {id(t): t for t in tensors if t is not None and id(t) not in self._sums}
        if new:
            context = tf.distribute.get_replica_context()
            sums = context.all_reduce("SUM", [_on_this_device(t) for t in new.values()])
            for tensor, summed in zip(new.values(), sums, strict=True):
                # The entries keep both alive, so that no other tensor gets their ids.
                self._sums[id(tensor)] = tensor, summed
                self._sums[id(summed)] = summed, summed
        return [None if t is None else self._sums[id(t)][1] for t in tensors]

    def all_reduce(self, tensors):
        """Sums over all replicas of those that `reduces_by_sum`, and means of the others."""
        count = tf.distribute.get_strategy().num_replicas_in_sync
        by_sum = [self.reduces_by_sum(tensor) for tensor in tensors]
        sums = self.all_reduce_sum(tensors)
        return [s if is_sum else s / count for s, is_sum in zip(sums, by_sum, strict=True)]

    def reduces_by_sum(self, tensor):
        """Whether it is a contribution to the global batch's loss, or a sum over replicas."""
        _, summed = self._sums.get(id(tensor), (None, None))
        is_contribution = self._contributions.get(id(tensor)) is tensor
        return tensor is not None and (is_contribution or summed is tensor)


def current():
    """The `Replica` whose step is being traced; None where there is one replica."""
    return _REPLICA.get()


@contextlib.contextmanager
def tracing(replica):
    """Within the context, `current` returns this `Replica`."""
    token = _REPLICA.set(replica)
    try:
        yield
    finally:
        _REPLICA.reset(token)


def loss_contribution(loss, y_pred):
    """What this replica adds to the loss of the global batch; the loss itself with one replica.

    Raises:
        UsageError: the outputs are masked.
    """
    replica = current()
    if replica is None:
        return loss
    if any(_keras.mask_of(part) is not None for part in tf.nest.flatten(y_pred)):
        raise UsageError(
            "the loss of masked outputs is not a mean over the batch. Received: a mask, several "
            "replicas. Expected: outputs without a mask, or one replica."
        )
    return replica.loss_contribution(loss)


def require_mean_losses(model):
    """Raise an error for a loss that is not a mean over the batch, which cannot be weighted.

    Raises:
        UsageError: a loss of the model has another reduction.
    """
    for loss in tf.nest.flatten(model.loss):
        reduction = getattr(loss, "reduction", _MEAN_REDUCTIONS[0])
        if reduction not in _MEAN_REDUCTIONS:
            raise UsageError(
                "several replicas need a loss that is a mean over the batch. Received: "
                f"reduction={reduction!r}. Expected: {' or '.join(map(repr, _MEAN_REDUCTIONS))}."
            )


def output_loss_trackers(model):
    """Keras's means of each output's loss; empty for a model with one output."""
    loss = _keras.compiled_loss(model)
    return [] if loss is None else [metric for metric in loss.metrics if metric]


def weighted_output_losses(model):
    """A context in which each output's loss is weighted by this replica's number of examples."""

    def update(update_state, values, sample_weight=None):
        replica = current()
        if replica is None:
            return update_state(values, sample_weight)
        # Keras weights a batch by its static size, so batches weigh the same on one device too.
        return update_state(replica.weighted(values))

    return _keras.replaced_update_state(output_loss_trackers(model), update)


def replicated_updates(optimizer):
    """A context in which each replica applies the global batch's gradients to its own weights.

    ``apply`` sums the gradients first, unless they are such sums already.
    """
    return _keras.updates_without_strategy(optimizer, sum_gradients=_sum_gradients)


def _sum_gradients(gradients):
    replica = current()
    return gradients if replica is None else replica.all_reduce_sum(list(gradients))


def _on_this_device(tensor):
    # A tensor from outside the step has no device, which all_reduce needs.
    return tensor if isinstance(tensor, tf.IndexedSlices) else tf.identity(tensor)


def example_count(data):
    """How many examples a batch has, an int32 scalar."""
    leaves = [part for part in tf.nest.flatten(data) if part is not None]
    return tf.shape(leaves[0])[0]


def examples_if_known(data):
    """How many examples a batch has, a float32 scalar; 0 for data without such an axis."""
    leaves = [part for part in tf.nest.flatten(data) if isinstance(part, tf.Tensor)]
    if not leaves or leaves[0].shape.rank in (None, 0):
        return tf.constant(0.0)
    return tf.cast(tf.shape(leaves[0])[0], tf.float32)
