"""One training step on several replicas, with the numbers of one.

Each replica computes its part of the batch. Its loss is weighed by how many examples it has, so the
sum over the replicas is the loss of the whole batch, however the parts differ in size. Gradients
are summed once, before anything looks at them: clipping, loss scaling and accumulation then see
those of the whole batch, and each replica makes the same update to its own copy of the weights.
"""

import contextlib
import contextvars

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed.batch_shards import Share
from mnist_keras.errors import UsageError

_MEAN_REDUCTIONS = ("sum_over_batch_size", "mean")
# A replica's step is traced in a thread, and so in a context, of its own.
_REPLICA = contextvars.ContextVar("replica", default=None)


def share_of_worker(strategy):
    """The `mnist_keras.distributed.batch_shards.Share` of this process's replicas."""
    numbers = []
    strategy.experimental_distribute_values_from_function(
        lambda context: numbers.append(context.replica_id_in_sync_group)
    )
    return Share(first=min(numbers), last=max(numbers) + 1, replicas=strategy.num_replicas_in_sync)


def number():
    """The number of the replica whose step is being traced, from 0 over all workers."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))


class Replica:
    """What one of several replicas knows while its step is traced.

    Attributes:
        begin: where its part of the batch begins, an int32 scalar.
        size: how many examples it has.
        batch_size: how many the batch has, over all replicas.

    Args:
        is_even: whether the replicas' parts of each batch are of one size.
    """

    def __init__(self, *, begin, size, batch_size, is_even):
        self.begin, self.size, self.batch_size = begin, size, batch_size
        self._weight = None
        if not is_even:
            count = tf.distribute.get_strategy().num_replicas_in_sync
            self._weight = tf.cast(size * count, tf.float32) / tf.cast(batch_size, tf.float32)
        self._sums, self._parts = {}, {}

    def share_of_loss(self, loss):
        """This replica's part of the whole batch's loss, of what Keras's losses give here.

        Keras divides the mean over a replica's examples by the number of replicas.
        """
        loss = self.weighed(loss)
        self.add_part(loss)
        return loss

    def weighed(self, loss):
        """A mean over this replica's examples, so that that of all replicas' is the batch's."""
        if self._weight is None:
            return loss
        # The mean over no examples may be no number.
        return tf.math.multiply_no_nan(loss, tf.cast(self._weight, loss.dtype))

    def add_part(self, loss):
        """Know a tensor as a part of the batch's loss."""
        self._parts[id(loss)] = loss

    def sum(self, tensors):
        """The sums over all replicas of some tensors; of what is such a sum already, itself."""
        new = {id(t): t for t in tensors if t is not None and id(t) not in self._sums}
        if new:
            context = tf.distribute.get_replica_context()
            sums = context.all_reduce("SUM", [_on_this_device(t) for t in new.values()])
            for tensor, summed in zip(new.values(), sums, strict=True):
                # Both are held, so that no other tensor gets their ids.
                self._sums[id(tensor)] = tensor, summed
                self._sums[id(summed)] = summed, summed
        return [None if t is None else self._sums[id(t)][1] for t in tensors]

    def over_all(self, tensors):
        """What some values are over all replicas: sums of `is_of_batch`, means of all else."""
        count = tf.distribute.get_strategy().num_replicas_in_sync
        of_batch = [self.is_of_batch(tensor) for tensor in tensors]
        sums = self.sum(tensors)
        return [s if is_sum else s / count for s, is_sum in zip(sums, of_batch, strict=True)]

    def is_of_batch(self, value):
        """Whether it is a part of the batch's loss, or a sum over the replicas."""
        _, summed = self._sums.get(id(value), (None, None))
        return value is not None and (self._parts.get(id(value)) is value or summed is value)


def current():
    """The `Replica` whose step is being traced; None: there is one alone."""
    return _REPLICA.get()


@contextlib.contextmanager
def tracing(replica):
    """While the step of a `Replica` is traced."""
    token = _REPLICA.set(replica)
    try:
        yield
    finally:
        _REPLICA.reset(token)


def share_of_loss(loss, y_pred):
    """This replica's part of the whole batch's loss; of one replica alone its loss.

    Raises:
        UsageError: the outputs are masked.
    """
    replica = current()
    if replica is None:
        return loss
    if any(_keras.mask_of(part) is not None for part in tf.nest.flatten(y_pred)):
        raise UsageError(
            "the loss of masked outputs is no mean over the batch. Received: a mask, several "
            "replicas. Expected: outputs without one, or one replica."
        )
    return replica.share_of_loss(loss)


def require_mean_losses(model):
    """Refuse a loss that is no mean over the batch, whose parts could not be weighed.

    Raises:
        UsageError: it is another one.
    """
    for loss in tf.nest.flatten(model.loss):
        reduction = getattr(loss, "reduction", _MEAN_REDUCTIONS[0])
        if reduction not in _MEAN_REDUCTIONS:
            raise UsageError(
                f"several replicas need a mean over the batch as their loss. Received: "
                f"reduction={reduction!r}. Expected: {' or '.join(map(repr, _MEAN_REDUCTIONS))}."
            )


def output_trackers(model):
    """Keras's means of the loss of each output, where there are several."""
    loss = _keras.compiled_loss(model)
    return [] if loss is None else [m for m in loss.metrics if m]


@contextlib.contextmanager
def weighed_outputs(model):
    """Let each output's loss be that of the whole batch, of whatever sizes the parts of it are."""

    def update(original, values, sample_weight=None):
        replica = current()
        if replica is None:
            return original(values, sample_weight)
        return original(replica.weighed(values))  # Each batch counts as one, as its shape varies.

    with _keras.replaced_update_state(output_trackers(model), update):
        yield


def same_updates(optimizer):
    """Let each replica update its own copy of the weights, by the gradients of the whole batch.

    Meanwhile ``apply`` sums the gradients first, unless they are such sums already, and what Keras
    does per strategy is what it does without one.
    """
    return _keras.updates_without_strategy(optimizer, sum_gradients=_sum_gradients)


def _sum_gradients(gradients):
    replica = current()
    return gradients if replica is None else replica.sum(list(gradients))


def _on_this_device(tensor):
    # One that came from outside the step has no device, which all_reduce asks for.
    return tensor if isinstance(tensor, tf.IndexedSlices) else tf.identity(tensor)


def example_count(data):
    """How many examples a batch has, an int32 scalar."""
    leaves = [part for part in tf.nest.flatten(data) if part is not None]
    return tf.shape(leaves[0])[0]
