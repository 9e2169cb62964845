"""The loss of a single batch, for a keras.Model that reports only the epoch's running mean."""

import numpy as np

from mnist_keras.callbacks.loss_tracker import loss_tracker


class LossProbe:
    """Reads the exact loss of one batch from the model's loss tracker.

    The tracker is reset before the batch and read after it. Then its old sum is added back; the
    result equals the sum without a probe, bit for bit. Training and metrics do not change.
    """

    def __init__(self):
        self._held: list[float] | None = None

    def begin(self, model):
        """Call before the batch."""
        tracker = loss_tracker(model)
        if tracker is not None:
            self._held = [float(tracker.total), float(tracker.count)]
            tracker.reset_state()

    def end(self, model, logs):
        """Call after the batch; restores the running mean in its logs.

        Returns:
            The batch's loss, or None if the model tracks no loss.
        """
        if self._held is None:
            return (logs or {}).get("loss")
        tracker = loss_tracker(model)
        loss = tracker.result().numpy()
        total, count = self._held
        tracker.total.assign_add(total)
        tracker.count.assign_add(count)
        if logs and "loss" in logs:
            logs["loss"] = float(tracker.result())
        self._held = None
        return loss

    def give_up(self, logs):
        """Call at the end of the epoch; restores the running mean in the epoch's logs.

        The last batch may have begun and found no more data, so that ``end`` was not called.
        """
        if self._held is not None and logs and "loss" in logs:
            total, count = np.array(self._held, np.float32)
            logs["loss"] = float(total / count)
        self._held = None
