"""The loss of a single batch, for a keras.Model that tells only the epoch's running mean."""

import numpy as np

from mnist_keras.callbacks.loss_tracker import loss_tracker


class LossProbe:
    """Reads one batch's own loss out of the model's loss tracker, exactly.

    The tracker is emptied before the batch, read after it, and given back what it held: the sum it
    ends with has the bits it would have had. Neither the training nor a metric changes.
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
        """Call after the batch; mends the running mean in its logs.

        Returns:
            The batch's loss, or None where the model tracks none.
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
        """Call at the end of the epoch: the batch begun last may have found the data at its end.

        Mends the running mean in the epoch's logs.
        """
        if self._held is not None and logs and "loss" in logs:
            total, count = np.array(self._held, np.float32)
            logs["loss"] = float(total / count)
        self._held = None
