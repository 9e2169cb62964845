import gc
import os
import pathlib
import signal
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
# TensorFlow's graphs have so many objects that full collections took a fifth of the tests' time.
gc.set_threshold(50_000, 20, 20)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
REAL_MNIST = ROOT.parent / "shared" / "mnist"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run the tests of a file on one worker, so that each of its fixtures is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def real_mnist():
    """The directory of the real MNIST; the test is skipped without it."""
    if not REAL_MNIST.is_dir():
        pytest.skip("the real MNIST is not here; this test compares against it alone")
    return REAL_MNIST


@pytest.fixture(scope="session")
def digits():
    """(images, labels) of 1,000 small synthetic digits."""
    from mnist_keras.data.datasets.synthetic import synthetic_digits

    return synthetic_digits(1000, seed=7)


@pytest.fixture(scope="session")
def make_model():
    """Make a small compiled TapeModel whose initial weights depend only on the seed."""
    import keras

    from mnist_keras import SumSquaredError, TapeModel

    def make(*, optimizer="sgd", steps_per_execution=1, dropout=0.0, seed=3, **compile_arguments):
        keras.utils.set_random_seed(seed)
        layers = [
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(10),
        ]
        model = TapeModel(keras.Sequential([keras.Input((28, 28)), *layers]))
        arguments = {"loss": SumSquaredError(), "metrics": ["accuracy"], **compile_arguments}
        model.compile(
            optimizer=keras.optimizers.get(optimizer),
            steps_per_execution=steps_per_execution,
            **arguments,
        )
        return model

    return make


@pytest.fixture(scope="session")
def crash():
    """A callback that ends a training with a RuntimeError."""

    from mnist_keras.callbacks.base import StepCallback

    class Crash(StepCallback):
        """Raises in the middle of training: after a step, or at the end of an epoch.

        Args:
            step: number of steps before it raises, or None.
            epoch: the epoch at whose end it raises, or None.
            saved: raise after the other callbacks, `Checkpoint` included.
        """

        def __init__(self, *, step=None, epoch=None, saved=False):
            super().__init__()
            self._step, self._epoch = step, epoch
            self.priority = 3 if saved else 0

        def breaks_execution_at(self, step):
            return step == self._step

        def on_train_batch_end(self, batch, logs=None):
            if self.model.steps_trained == self._step:
                raise RuntimeError("crash")

        def on_epoch_end(self, epoch, logs=None):
            if epoch == self._epoch:
                raise RuntimeError("crash")

    return Crash


@pytest.fixture(scope="session", autouse=True)
def _imports_are_not_searched():
    """The half million objects of the imported modules are not searched for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _collections_stay_short():
    """What TensorFlow keeps of the tests before is not searched for garbage each time."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No test leaves a signal handler, a thread or a file."""
    files = set(ROOT.glob("[!.]*"))
    handlers = [signal.getsignal(s) for s in SIGNALS]
    threads = set(threading.enumerate())
    yield
    assert [signal.getsignal(s) for s in SIGNALS] == handlers
    left = [t for t in threading.enumerate() if t not in threads and not t.daemon]
    assert left == []
    assert set(ROOT.glob("[!.]*")) == files


@pytest.fixture
def summaries_of():
    """{tag: {step: (plugin, array)}} of a directory of event files, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    def read(directory):
        accumulator = EventAccumulator(str(directory), tensor_size_guidance={"tensors": 0})
        accumulator.Reload()
        summaries = {}
        for tag in accumulator.Tags()["tensors"]:
            events = accumulator.Tensors(tag)
            assert len({e.step for e in events}) == len(events), f"a step of {tag} appears twice"
            plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
            summaries[tag] = {e.step: (plugin, make_ndarray(e.tensor_proto)) for e in events}
        gc.collect()
        return summaries

    return read


def weights(model):
    """All weights of a model in one vector."""
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


@pytest.fixture
def weights_of():
    return weights


@pytest.fixture
def points_of():
    """{tag: {step: value}} of a directory of event files, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    def read(directory):
        accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
        accumulator.Reload()
        points = {}
        for tag in accumulator.Tags()["tensors"]:
            events = accumulator.Tensors(tag)
            assert len({e.step for e in events}) == len(events), f"a step of {tag} appears twice"
            points[tag] = {e.step: make_ndarray(e.tensor_proto).item() for e in events}
        gc.collect()
        return points

    return read
