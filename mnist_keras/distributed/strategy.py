"""The devices and machines of ``--distribution``: how they start, and what happens when one fails.

A worker waits `JOIN_S` seconds for the others to start, and as long again for one that fails just
as all have started. During the training it waits a few seconds more than `SILENCE_S` for a worker
that has exited, or is silent because its machine has no power or no network. It then exits with
one line on stderr and status 1.
"""

import contextlib
import signal
import threading

from mnist_keras import __version__
from mnist_keras.console import terminal
from mnist_keras.distributed import cluster as clusters
from mnist_keras.distributed import start_watch
from mnist_keras.distributed.lost_worker import (
    INTERRUPTED,
    MARK,
    WorkerLostError,
    as_lost,
    message,
)
from mnist_keras.distributed.rendezvous import meet
from mnist_keras.errors import Interrupted

JOIN_S = 300
SILENCE_S = 10
_JOB = "worker"
_ABORTED = 10  # absl::StatusCode::kAborted.


class SingleWorker:
    """`mnist_keras.distributed.workers.Workers` for one process, without TensorFlow."""

    count, index, are_several, is_chief = 1, 0, False, True

    def on_chief(self, function):
        """Return the function's result."""
        return function()

    def require_same(self, what, values):
        """Do nothing: there is no other worker."""


def find_cluster(config):
    """The `mnist_keras.distributed.cluster.Cluster` that a recipe asks for, or None.

    Args:
        config: a `mnist_keras.app.config.RunConfig`.

    Raises:
        UsageError: a required cluster is missing, or the environment describes an invalid one.
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
    """Whether a recipe asks for several devices by name; "auto" may still find several."""
    return config.distribution in ("mirrored", "multi_worker") or config.cpu_devices > 1


def local_strategy(config):
    """The strategy for the devices of this machine, or None for one device.

    Call it after `mnist_keras.console.start.import_tensorflow`.

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
                f"--distribution=mirrored finds only one device ({'a GPU' if gpus else 'a CPU'}) "
                "and trains on it; the numbers are the same."
            )
        return None
    return tf.distribute.MirroredStrategy(devices)


def divide_cpu(count):
    """Make TensorFlow see the CPU as several devices; call it before TensorFlow's first operation.

    Args:
        count: number of devices.
    """
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    tf.config.set_logical_device_configuration(cpu, parts)


def join(cluster):
    """Wait for all workers of a cluster and make the strategy that they train with.

    Call it after TensorFlow is imported and before its first operation.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`.

    Returns:
        The ``tf.distribute.MultiWorkerMirroredStrategy``.

    Raises:
        UsageError: the workers have different settings, or an address is not free.
        MnistKerasError: not all workers have started within `JOIN_S` seconds.
    """
    import keras
    import tensorflow as tf

    from mnist_keras import _keras

    count, index = len(cluster.addresses), cluster.index
    terminal.notice(
        f"worker {index} of {count}, at {cluster.addresses[index]}, from {cluster.source}; "
        f"waiting up to {JOIN_S} s for the others"
    )
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    meet(cluster, settings={"mnist_keras": __version__, **versions}, timeout_s=JOIN_S)
    _keras.configure_coordination(
        job=_JOB, task_count=count, register_timeout_s=2 * JOIN_S, heartbeat_timeout_s=SILENCE_S
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({_JOB: list(cluster.addresses)}),
        task_type=_JOB,
        task_id=index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    others = {f"worker {i}": it for i, it in enumerate(cluster.addresses) if i != index}
    # Later on worker 0, whose end the others would take for the cause.
    delay_s = 0 if index else start_watch.MARGIN_S
    line = terminal.spoken(f"error: {message(cluster.addresses, '{}')}")
    try:
        # The constructor waits for the others for up to an hour.
        with (
            start_watch.bounded(others, timeout_s=JOIN_S, delay_s=delay_s, text=line),
            as_lost(cluster.addresses),
        ):
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    finally:
        _restore_sigterm_handler()


def _restore_sigterm_handler():
    """Install Python's handler again: TensorFlow has replaced it by one that does nothing."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def fail_together(cluster):
    """Within the context, the failure of one worker ends all of them, each with its cause.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`, or None for one process.

    Raises:
        WorkerLostError: another worker has exited.
    """
    if cluster is None:
        yield
        return
    try:
        with as_lost(cluster.addresses):
            yield
    except (WorkerLostError, Interrupted):  # The others raise it too.
        raise
    except BaseException as error:
        if not getattr(error, "is_known_to_all", False):
            _report_to_others(_cause_of(error))
        raise


def _cause_of(error):
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return f"{INTERRUPTED}{signal.Signals(error.code - 128).name}"
    return str(error) or type(error).__name__


def _report_to_others(text):
    from mnist_keras import _keras

    with contextlib.suppress(Exception):  # The error itself must not be lost for its report.
        _keras.report_error_to_cluster(_ABORTED, f"{MARK}{text}{MARK}")
