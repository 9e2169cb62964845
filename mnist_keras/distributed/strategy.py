"""The devices and machines of ``--distribution``: how they are joined, and what is lost with one.

How long a worker waits. At the start for the others: `JOIN_S`, and as long again for one that ends
just when all have come. In the training for one that has ended, or is silent, as a machine without
power or network is: `SILENCE_S` and a few seconds at most. It then ends with one line on stderr and
status 1.
"""

import contextlib
import faulthandler
import re
import signal
import threading

from mnist_keras import __version__
from mnist_keras.console import terminal
from mnist_keras.distributed import cluster as clusters
from mnist_keras.distributed.rendezvous import meet
from mnist_keras.errors import Interrupted, MnistKerasError

JOIN_S = 300
SILENCE_S = 10
_JOB = "worker"
_ABORTED = 10  # Of the codes of absl::Status.
_MARK = "§"
_INTERRUPTED = "ended by "  # And the signal's name.
_TASK = r"/job:worker/(?:replica:0/)?task:(\d+)"
# What TensorFlow's messages say, and what it means.
_SIGNS = {
    rf"remote target {_TASK}": "has ended",
    rf"stopped sending heartbeats\):\s+{_TASK}": "gives no sign of life",
    "CoordinationService": "gives no sign of life",
    rf"{_TASK}.{{0,40}} (?:disconnected|restarted)": "has ended",
}


class WorkerLostError(MnistKerasError):
    """Another worker of the training has ended, or is silent.

    Exit status 1; that of the other one where a signal has ended it.
    """


class Alone:
    """`mnist_keras.distributed.workers.Workers` for one process; does not need TensorFlow."""

    count, index, are_several, is_chief = 1, 0, False, True

    def on_chief(self, function):
        """What the function returns."""
        return function()

    def require_same(self, what, values):
        """There is nobody to differ."""


def find_cluster(config):
    """The `mnist_keras.distributed.cluster.Cluster` that a recipe asks for, or None.

    Raises:
        UsageError: there is none where it has to be, or one that cannot be.
    """
    found = None
    if config.distribution == "multi_worker":
        found = clusters.require()
    elif config.distribution == "auto":
        found = clusters.find()
    if found is not None and found.index:
        terminal.speak_as(f"worker {found.index}")
    return found


def shares_batches(config):
    """Whether several devices are asked for; those that "auto" may find aside."""
    return config.distribution in ("mirrored", "multi_worker") or config.cpu_devices > 1


def local_strategy(config):
    """The strategy for the devices of this machine; None for one. TensorFlow is imported by then.

    Args:
        config: a `mnist_keras.app.config.RunConfig`.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    devices = [f"GPU:{number}" for number in range(len(gpus))]
    if not gpus and config.cpu_devices > 1:
        divide_cpu(config.cpu_devices)
        devices = [f"CPU:{number}" for number in range(config.cpu_devices)]
    if config.distribution == "one_device":
        return None
    if len(devices) < 2:
        if config.distribution == "mirrored":
            terminal.notice(
                f"--distribution=mirrored finds one device alone ({'a GPU' if gpus else 'a CPU'}) "
                "and trains on it; the numbers are the same."
            )
        return None
    return tf.distribute.MirroredStrategy(devices)


def divide_cpu(count):
    """Let TensorFlow see the processor as so many devices; before its first operation."""
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    tf.config.set_logical_device_configuration(cpu, parts)


def join(cluster):
    """Wait for all workers of a cluster, then train together.

    TensorFlow is imported by then, and has done nothing yet.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`.

    Returns:
        The ``tf.distribute.MultiWorkerMirroredStrategy``.

    Raises:
        UsageError: the workers were told different things, or an address is not free.
        MnistKerasError: not all have come within `JOIN_S`.
    """
    import keras
    import tensorflow as tf

    from mnist_keras import _keras

    count, index = len(cluster.addresses), cluster.index
    terminal.notice(
        f"{'one' if index else 'the first'} of {count} workers, at {cluster.addresses[index]}, as "
        f"{cluster.source} says; waits up to {JOIN_S} s for the others"
    )
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    meet(cluster, told={"mnist_keras": __version__, **versions}, wait_s=JOIN_S)
    _keras.configure_coordination(
        job=_JOB, task_count=count, register_timeout_s=JOIN_S, heartbeat_timeout_s=SILENCE_S
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({_JOB: list(cluster.addresses)}),
        task_type=_JOB,
        task_id=index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    # It waits for the others without letting Python work, for up to an hour.
    faulthandler.dump_traceback_later(JOIN_S, exit=True)
    try:
        with _as_lost(cluster):
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    finally:
        faulthandler.cancel_dump_traceback_later()
        _take_sigterm_back()


def _take_sigterm_back():
    """TensorFlow has put a handler of its own, which does nothing, in the place of Python's."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def one_for_all(cluster):
    """While workers train together: what ends one ends all, each with a line that says what it was.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`; None: one process alone.

    Raises:
        WorkerLostError: another worker has ended.
    """
    if cluster is None:
        yield
        return
    try:
        with _as_lost(cluster):
            yield
    except (WorkerLostError, Interrupted):  # The others know.
        raise
    except BaseException as error:
        if not getattr(error, "is_known_to_all", False):
            _tell_the_others(_words(error))
        raise


def _words(error):
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return f"{_INTERRUPTED}{signal.Signals(error.code - 128).name}"
    return str(error) or type(error).__name__


def _tell_the_others(message):
    from mnist_keras import _keras

    with contextlib.suppress(Exception):  # What is to be told matters more than that it is told.
        _keras.report_error_to_cluster(_ABORTED, f"{_MARK}{message}{_MARK}")


@contextlib.contextmanager
def _as_lost(cluster):
    """TensorFlow's errors of lost connections as one that says what has happened."""
    from tensorflow import errors

    try:
        yield
    except (
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.FailedPreconditionError,
        errors.InternalError,
        errors.UnavailableError,
    ) as error:
        reason = _reason(str(error), cluster)
        lost = WorkerLostError(
            f"the workers are no longer all there. Received: {reason}. "
            f"Expected: all {len(cluster.addresses)} to the end; the same commands go on from the "
            "last checkpoint."
        )
        interrupted = re.search(rf"{_INTERRUPTED}(SIG\w+)$", reason)
        if interrupted:
            lost.exit_status = 128 + signal.Signals[interrupted[1]]
        raise lost from error


def _reason(text, cluster):
    """What has happened, as far as TensorFlow's message says."""
    reported = re.search(rf"{_TASK}[^{_MARK}]{{0,20}}{_MARK}(.*?){_MARK}", text, re.DOTALL)
    if reported:
        return f"from worker {reported[1]}: {reported[2].strip().rstrip('.')}"
    for pattern, what in _SIGNS.items():
        found = re.search(pattern, text, re.DOTALL)
        if found:
            number = int(found[1]) if found.groups() else 0  # The others report to the first one.
            return f"worker {number} ({cluster.addresses[number]}) {what}"
    return f"one of them has ended ({' '.join(text.split())[:100]})"
