"""The loss of a single batch, for a keras.Model that tells only the epoch's running mean."""


class LossProbe:
    """Reads one batch's own loss out of the model's loss tracker, exactly.

    The tracker is emptied before the batch, read after it, and given back what it held: the sum it
    ends with has the bits it would have had. Neither the training nor a metric changes.
    """

    def __init__(self):
        self._held = None

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


def loss_tracker(model):
    """The model's own mean of the loss over the epoch, or None."""
    for metric in model.metrics:
        if metric.name == "loss" and hasattr(metric, "total") and hasattr(metric, "count"):
            return metric
    return None
