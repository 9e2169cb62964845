import doctest
import threading

import keras
import pytest
import tensorflow as tf

from mnist_keras.callbacks import step_observer
from mnist_keras.callbacks.step_observer import Parts, StepObserver

pytestmark = pytest.mark.slow


class Model(keras.Model):
    """It holds a metric and two optimizers."""

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean(name="loss")
        self.first, self.second = keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.25)
        self.weight = self.add_weight(shape=(), initializer="zeros")


def step(model, loss, **gradients):
    """A step that tracks a loss and applies optimizers {name: gradient}."""
    for name, gradient in gradients.items():
        getattr(model, name).apply([tf.constant(gradient)], [model.weight])
    model.mean.update_state(loss)
    return {"loss": model.mean.result()}


def test_a_mean_is_seen_without_the_steps_before():
    model = Model()
    for loss in (1.0, 4.0, 9.0):
        observer = StepObserver(Parts.of(model))
        with observer.observing():
            logs = step(model, loss)
        assert {name: float(value) for name, value in observer.losses(logs).items()} == {
            "loss": loss
        }
    assert float(logs["loss"]) == pytest.approx(14 / 3)


def test_only_applied_optimizers_have_rates_and_the_last_gradients():
    model = Model()
    observer = StepObserver(Parts.of(model))
    with observer.observing():
        step(model, 0.0, second=1.0)
        step(model, 0.0, second=2.0)
    assert list(observer.applied) == ["second"]
    gradients, scale = observer.applied["second"]
    assert (float(gradients[0]), float(scale)) == (2.0, 1.0)
    assert {name: float(rate) for name, rate in observer.learning_rates.items()} == {"second": 0.25}


def test_each_thread_has_its_own_observer():
    model, found = Model(), {}
    met = threading.Barrier(2)

    def observe(loss):
        observer = StepObserver(Parts.of(model))
        met.wait()
        with observer.observing():
            met.wait()
            found[loss] = observer, step(model, loss)
            met.wait()

    threads = [threading.Thread(target=observe, args=(loss,)) for loss in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for loss, (observer, logs) in found.items():
        assert float(observer.losses(logs)["loss"]) == loss
    assert "update_state" not in vars(model.mean)


def test_hooks_leave_no_trace_after_an_exception():
    model = Model()
    with (
        pytest.raises(RuntimeError),
        Parts.of(model).hooked(),
        StepObserver(Parts.of(model)).observing(),
    ):
        raise RuntimeError
    parts = (model.mean, model.first, model.second)
    assert not any({"update_state", "result", "apply"} & vars(part).keys() for part in parts)


def test_an_update_inside_a_condition_is_not_known():
    model, names = Model(), []

    @tf.function(autograph=False)
    def run(loss):
        observer = StepObserver(Parts.of(model))
        with observer.observing():
            tf.cond(loss > 0, lambda: step(model, loss, first=1.0)["loss"], lambda: loss)
            logs = {"loss": model.mean.result()}
        names.extend(observer.losses(logs))
        assert observer.applied == {"first": (None, None)}
        return logs

    model.first.build([model.weight])
    run(tf.constant(1.0))
    assert names == ["loss (epoch mean)"]


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(step_observer).failed == 0
