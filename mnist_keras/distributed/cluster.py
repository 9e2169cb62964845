"""Which processes on which machines train together, as the environment of each of them says."""

import contextlib
import dataclasses
import json
import os
import re

from mnist_keras.console.start import import_tensorflow
from mnist_keras.errors import UsageError

_TF_CONFIG = "TF_CONFIG"
_ADDRESSES = "MNIST_KERAS_WORKERS"
_INDEX = ("MNIST_KERAS_WORKER_INDEX", "JOB_COMPLETION_INDEX")
_SLURM_TASKS = "SLURM_STEP_NUM_TASKS"
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
# Two jobs that share a machine need ports of their own.
_SLURM_PORTS = range(20_000, 40_000)
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", ...}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of one training, and which of them this process is.

    Attributes:
        addresses: ``host:port`` of each worker, the chief's first.
        index: this process's place among them.
        source: where that is from, for people.
    """

    addresses: tuple
    index: int
    source: str

    def __post_init__(self):
        wrong = [a for a in self.addresses if not _is_address(a)]
        if wrong or len(set(self.addresses)) < len(self.addresses):
            received = wrong[0] if wrong else ", ".join(self.addresses)
            raise _wrong(self.source, received, "another host:port for each worker")
        if not self.addresses or self.index not in range(len(self.addresses)):
            received = f"worker {self.index} of {len(self.addresses)}"
            raise _wrong(self.source, received, f"a number from 0 to {len(self.addresses) - 1}")


def find(environment=None):
    """The `Cluster` that the environment describes; None: none of more than one worker.

    Looked at in this order are:

    - ``TF_CONFIG``, as TensorFlow has it and Kubeflow sets it;
    - ``MNIST_KERAS_WORKERS``, the addresses with commas between them, and this worker's number in
      ``MNIST_KERAS_WORKER_INDEX`` or in ``JOB_COMPLETION_INDEX``, as in an indexed Job of
      Kubernetes;
    - Slurm's, of a step of several tasks (needs TensorFlow, which is imported then).

    Args:
        environment: {name: text}; None: that of this process.

    Raises:
        UsageError: it describes a part of a cluster, or one that cannot be.

    Example:

    >>> find({"MNIST_KERAS_WORKERS": "a:2222,b:2222", "JOB_COMPLETION_INDEX": "1"}).index
    1
    """
    environment = os.environ if environment is None else environment
    if environment.get(_TF_CONFIG):
        cluster = _from_tf_config(environment[_TF_CONFIG])
    elif environment.get(_ADDRESSES):
        cluster = _from_addresses(environment)
    elif environment.get(_SLURM_TASKS, "1") != "1":
        cluster = _from_slurm(environment)
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def require(environment=None):
    """As `find`.

    Raises:
        UsageError: the environment describes none, not even of one worker.
    """
    environment = os.environ if environment is None else environment
    if not any(environment.get(name) for name in (_TF_CONFIG, _ADDRESSES, _SLURM_TASKS)):
        raise UsageError(
            "--distribution=multi_worker has no cluster. Received: neither TF_CONFIG nor "
            "MNIST_KERAS_WORKERS nor a Slurm step. Expected: the addresses of all workers."
        )
    return find(environment)


def speaker(environment=None):
    """How one of several workers is called before its flags are understood; "" for the first one.

    Args:
        environment: as for `find`. One that describes no cluster is no error here.

    >>> speaker({"MNIST_KERAS_WORKERS": "a:2222,b:2222", "JOB_COMPLETION_INDEX": "1"})
    'worker 1'
    """
    environment = os.environ if environment is None else environment
    index = 0
    with contextlib.suppress(UsageError, ValueError):
        if environment.get(_TF_CONFIG) or environment.get(_ADDRESSES):
            found = find(environment)
            index = found.index if found is not None else 0
        elif environment.get(_SLURM_TASKS, "1") != "1":  # find() would import TensorFlow.
            index = int(environment.get("SLURM_PROCID") or 0)
    return f"worker {index}" if index else ""


def _from_tf_config(text):
    try:
        described = json.loads(text)
        jobs, task = described["cluster"], described["task"]
        kind, index = task["type"], task["index"]
        counts = {job: len(list(addresses)) for job, addresses in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else "no such JSON"
        raise _wrong(_TF_CONFIG, f"{text} ({reason})", _EXAMPLE) from None
    others = sorted(job for job in counts if job not in ("chief", "worker"))
    if others:
        raise _wrong(_TF_CONFIG, f"tasks of type {others[0]}", "workers, and one chief or none")
    if kind not in counts or counts.get("chief", 0) > 1:
        received = f"task type {kind!r} in a cluster of {counts}"
        raise _wrong(_TF_CONFIG, received, "a task of the cluster, of at most one chief")
    if not isinstance(index, int) or index not in range(counts[kind]):
        raise _wrong(
            _TF_CONFIG, f"{kind} {index!r} of {counts[kind]}", "a whole number below, from 0"
        )
    if kind == "worker":
        index += counts.get("chief", 0)
    return Cluster((*jobs.get("chief", ()), *jobs.get("worker", ())), index, _TF_CONFIG)


def _from_addresses(environment):
    addresses = tuple(word.strip() for word in environment[_ADDRESSES].split(","))
    name = next((name for name in _INDEX if environment.get(name)), None)
    if name is None:
        raise _wrong(_ADDRESSES, f"neither {' nor '.join(_INDEX)}", "this worker's number in one")
    if not environment[name].isdecimal():
        raise _wrong(name, environment[name], f"a number from 0 to {len(addresses) - 1}")
    return Cluster(addresses, int(environment[name]), f"{_ADDRESSES} with {name}")


def _from_slurm(environment):
    missing = [name for name in _SLURM if not environment.get(name)]
    if missing:
        raise _wrong("Slurm's environment", f"no {', '.join(missing)}", "a task started by srun")
    import_tensorflow(silent=True)
    import tensorflow as tf

    try:
        tasks, job = int(environment[_SLURM_TASKS]), int(environment["SLURM_JOB_ID"])
        room = len(_SLURM_PORTS) - tasks
        # Of processors alone the resolver knows nothing: each task is said to have a GPU.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_SLURM_PORTS[job * tasks % room],
            gpus_per_node=tasks,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = tuple(resolver.cluster_spec().job_tasks("worker"))
    except (RuntimeError, ValueError) as error:
        raise _wrong("Slurm's environment", error, "that of a task started by srun") from None
    return Cluster(addresses, resolver.task_id, "Slurm")


def _is_address(text):
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):([0-9]{1,5})", str(text))
    return match is not None and 0 < int(match[2]) < 65536


def _wrong(source, received, expected):
    received = " ".join(str(received).split()).rstrip(".")
    return UsageError(
        f"{source} describes no whole cluster. Received: {received}. Expected: {expected}."
    )
