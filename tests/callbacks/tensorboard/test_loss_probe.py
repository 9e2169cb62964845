import keras
import numpy as np
import pytest

from mnist_keras.callbacks.tensorboard.loss_probe import LossProbe, loss_tracker
from mnist_keras.data import batches


class Probed(keras.callbacks.Callback):
    """Reads the loss of every batch, or of none."""

    def __init__(self, reads):
        super().__init__()
        self.reads = reads
        self.losses, self.seen = [], []

    def on_train_batch_begin(self, batch, logs=None):
        if self.reads:
            self.probe = LossProbe()
            self.probe.begin(self.model)

    def on_train_batch_end(self, batch, logs=None):
        if self.reads:
            self.losses.append(self.probe.end(self.model, logs))
        self.seen.append(dict(logs))


def test_it_reads_batch_losses_without_changing_training_or_metrics(make_plain, stream, examples):
    model = make_plain()
    start = model.get_weights()

    def fit(reads):
        model.set_weights(start)
        callback = Probed(reads)
        stream.epoch = -1
        history = model.fit(stream, epochs=2, verbose=0, callbacks=[callback]).history
        return callback, history, model.get_weights()

    unprobed, expected_history, expected_weights = fit(reads=False)
    probed, history, weights = fit(reads=True)
    assert history == expected_history
    assert probed.seen == unprobed.seen
    for found, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(found, expected)

    # The same by hand: the loss of each batch before its update.
    model.set_weights(start)
    by_hand = []
    for epoch in range(2):
        own = batches(*examples, batch_size=10, shuffle=True, seed=5)
        own.epoch = epoch
        for x, y in own:
            by_hand.append(float(model.loss(y, model(x))))
            model.train_on_batch(x, y)
    assert [loss.dtype for loss in probed.losses] == [np.float32] * 14
    np.testing.assert_allclose(probed.losses, by_hand, rtol=2e-6)


def test_a_batch_without_data_leaves_the_logged_loss_correct(make_plain):
    model = make_plain()
    tracker = loss_tracker(model)
    tracker.update_state(3.0, sample_weight=2)
    tracker.update_state(1.0)
    expected = float(tracker.result())
    probe, logs = LossProbe(), {"loss": 0.0, "accuracy": 0.5}
    probe.begin(model)
    probe.give_up(logs)
    assert logs == {"loss": expected, "accuracy": 0.5}
    later = {"loss": 0.25}
    probe.give_up(later)
    assert later == {"loss": 0.25}


@pytest.mark.parametrize("logs", [None, {}, {"accuracy": 0.5}])
def test_without_a_loss_tracker_the_logged_loss_is_used(logs):
    class Own(keras.Model):
        metrics = ()

    model, probe = Own(), LossProbe()
    probe.begin(model)
    assert probe.end(model, logs) is None
    assert probe.end(model, {"loss": 0.25}) == 0.25
    probe.give_up(logs)
