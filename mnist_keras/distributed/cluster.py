"""Which processes on which machines train together, from each process's environment."""

import contextlib
import dataclasses
import ipaddress
import os
import re

from mnist_keras.console.start import import_tensorflow
from mnist_keras.errors import UsageError
from mnist_keras.inputs import json_text

_TF_CONFIG = "TF_CONFIG"
_ADDRESSES = "MNIST_KERAS_WORKERS"
_INDEX = ("MNIST_KERAS_WORKER_INDEX", "JOB_COMPLETION_INDEX")
_SLURM_TASKS = "SLURM_STEP_NUM_TASKS"
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
# Two jobs on one machine need different ports.
_SLURM_PORTS = range(20_000, 40_000)
_MOST_TASKS = len(_SLURM_PORTS) // 2
_RANGE = re.compile("([0-9]+)-([0-9]+)")
_MOST_HOST_BYTES = 253  # Of a name in DNS.
_MOST_SHOWN = 300  # Characters of a description in an error.
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", ...}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of one training, and the index of this process.

    Attributes:
        addresses: ``host:port`` of each worker, the chief's first.
        index: this process's index in ``addresses``.
        source: where the description is from, for messages.

    Raises:
        UsageError: an address is wrong or occurs twice, or the index is out of range.
    """

    addresses: tuple
    index: int
    source: str

    def __post_init__(self):
        wrong = [a for a in self.addresses if not _is_address(a)]
        if wrong or len(set(self.addresses)) < len(self.addresses):
            received = wrong[0] if wrong else ", ".join(self.addresses)
            raise _invalid(self.source, received, "a different host:port for each worker")
        if not self.addresses or self.index not in range(len(self.addresses)):
            received = f"worker {self.index} of {len(self.addresses)}"
            raise _invalid(self.source, received, f"an index from 0 to {len(self.addresses) - 1}")


def find(environment=None):
    """The `Cluster` that the environment describes, or None for fewer than two workers.

    It reads the first of these that is set:

    - ``TF_CONFIG``, in TensorFlow's format, which Kubeflow sets;
    - ``MNIST_KERAS_WORKERS``, the addresses separated by commas, with this worker's index in
      ``MNIST_KERAS_WORKER_INDEX``, or in ``JOB_COMPLETION_INDEX``, which an indexed Job of
      Kubernetes sets;
    - Slurm's variables of a step with several tasks, for which it imports TensorFlow.

    Args:
        environment: {name: text}; by default this process's environment.

    Raises:
        UsageError: the description is incomplete or invalid.

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
    """As `find`, but the environment has to describe a cluster, if only of one worker.

    Raises:
        UsageError: the description is missing, incomplete or invalid.
    """
    environment = os.environ if environment is None else environment
    if not any(environment.get(name) for name in (_TF_CONFIG, _ADDRESSES, _SLURM_TASKS)):
        raise UsageError(
            "--distribution=multi_worker needs a cluster. Received: neither TF_CONFIG nor "
            "MNIST_KERAS_WORKERS nor a Slurm step. Expected: the addresses of all workers."
        )
    return find(environment)


def speaker(environment=None):
    """The name of a worker for its messages before its flags are parsed; "" for worker 0.

    Args:
        environment: as for `find`. An invalid description is not an error here.

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
        described = json_text.parse(text)
        jobs, task = described["cluster"], described["task"]
        kind, index = str(task["type"]), task["index"]
        counts = {job: len(list(addresses)) for job, addresses in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else "not JSON of this form"
        shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
        raise _invalid(_TF_CONFIG, f"{shown} ({reason})", _EXAMPLE) from None
    others = sorted(job for job in counts if job not in ("chief", "worker"))
    if others:
        raise _invalid(_TF_CONFIG, f"tasks of type {others[0]}", "workers and at most one chief")
    if kind not in counts or counts.get("chief", 0) > 1:
        received = f"task type {kind!r} in a cluster of {counts}"
        raise _invalid(_TF_CONFIG, received, "a task of the cluster, and at most one chief")
    if not isinstance(index, int) or index not in range(counts[kind]):
        expected = f"an index from 0 to {counts[kind] - 1}"
        raise _invalid(_TF_CONFIG, f"{kind} {index!r} of {counts[kind]}", expected)
    if kind == "worker":
        index += counts.get("chief", 0)
    return Cluster((*jobs.get("chief", ()), *jobs.get("worker", ())), index, _TF_CONFIG)


def _from_addresses(environment):
    addresses = tuple(word.strip() for word in environment[_ADDRESSES].split(","))
    name = next((name for name in _INDEX if environment.get(name)), None)
    if name is None:
        raise _invalid(_ADDRESSES, f"neither {' nor '.join(_INDEX)}", "this worker's index in one")
    if not re.fullmatch("[0-9]{1,9}", environment[name]):
        raise _invalid(name, environment[name], f"an index from 0 to {len(addresses) - 1}")
    return Cluster(addresses, int(environment[name]), f"{_ADDRESSES} with {name}")


def _from_slurm(environment):
    missing = [name for name in _SLURM if not environment.get(name)]
    if missing:
        raise _invalid("Slurm's environment", f"no {', '.join(missing)}", "a task started by srun")
    _require_bounded_slurm(environment)
    import_tensorflow(silent=True)
    import tensorflow as tf

    try:
        tasks, job = int(environment[_SLURM_TASKS]), int(environment["SLURM_JOB_ID"])
        room = len(_SLURM_PORTS) - tasks
        # The resolver does not support tasks without a GPU, so each task declares one.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_SLURM_PORTS[job * tasks % room],
            gpus_per_node=tasks,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = tuple(resolver.cluster_spec().job_tasks("worker"))
    except (RuntimeError, ValueError, ArithmeticError, LookupError) as error:
        raise _invalid(
            "Slurm's environment", error, "the variables of a task started by srun"
        ) from None
    return Cluster(addresses, resolver.task_id, "Slurm")


def _require_bounded_slurm(environment):
    """Refuse numbers that TensorFlow's resolver would take hours or all memory to expand."""
    tasks = environment[_SLURM_TASKS]
    nodes, repeated = environment["SLURM_STEP_NODELIST"], environment["SLURM_STEP_TASKS_PER_NODE"]
    ranges = [ends for part in re.findall(r"\[([^]]*)", nodes) for ends in _RANGE.findall(part)]
    # A reversed range names no node.
    lengths = (max(0, int(end) - int(begin) + 1) for begin, end in ranges)
    numbers = [tasks, *(end for ends in ranges for end in ends), *re.findall("[0-9]+", repeated)]
    if not all(re.fullmatch("[0-9]{1,18}", number) for number in numbers):
        wrong = "a number that is not one of at most 18 digits"
    elif not 0 < int(tasks) <= _MOST_TASKS:
        wrong = f"{int(tasks)} tasks"
    elif (count := sum(lengths)) > _MOST_TASKS:
        wrong = f"{count} nodes"
    elif (count := sum(map(int, re.findall(r"\(x([0-9]+)", repeated)))) > _MOST_TASKS:
        wrong = f"the tasks of {count} nodes"
    else:
        return
    raise _invalid("Slurm's environment", wrong, f"1 to {_MOST_TASKS} tasks, started by srun")


def _is_address(text):
    match = re.fullmatch(r"(?:\[([^]]+)\]|([\w.-]+)):([0-9]{1,5})", str(text))
    if match is None or not 0 < int(match[3]) < 65536:
        return False
    try:
        if match[1]:
            ipaddress.IPv6Address(match[1])
        elif len(match[2].encode("idna")) > _MOST_HOST_BYTES:  # As the socket will encode it.
            return False
    except ValueError:  # A UnicodeError is one too.
        return False
    return True


def _invalid(source, received, expected):
    received = " ".join(str(received).split()).rstrip(".")
    return UsageError(
        f"{source} does not describe a cluster. Received: {received}. Expected: {expected}."
    )
