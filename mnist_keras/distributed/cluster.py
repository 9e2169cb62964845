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
_TRAINING = "workers and at most one chief"
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

    - ``TF_CONFIG``, in TensorFlow's format, which Kubeflow sets, if it has a cluster;
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
    cluster = _described(environment)
    return cluster if cluster is not None and len(cluster.addresses) > 1 else None


def require(environment=None):
    """As `find`, but the environment has to describe a cluster, if only of one worker.

    Raises:
        UsageError: the description is missing, incomplete or invalid.
    """
    environment = os.environ if environment is None else environment
    cluster = _described(environment)
    if cluster is None and not environment.get(_SLURM_TASKS):
        raise UsageError(
            "--distribution=multi_worker needs a cluster. Received: none in TF_CONFIG or "
            "MNIST_KERAS_WORKERS, and no Slurm step. Expected: the addresses of all workers."
        )
    return cluster if cluster is not None and len(cluster.addresses) > 1 else None


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
        found = _described_without_slurm(environment)
        if found is not None:
            index = found.index if len(found.addresses) > 1 else 0
        elif environment.get(_SLURM_TASKS, "1") != "1":  # find() would import TensorFlow.
            index = int(environment.get("SLURM_PROCID") or 0)
    return f"worker {index}" if index else ""


def _described(environment):
    """The `Cluster` that the environment describes, if only of one worker; None: none."""
    cluster = _described_without_slurm(environment)
    if cluster is None and environment.get(_SLURM_TASKS, "1") != "1":
        cluster = _from_slurm(environment)
    return cluster


def _described_without_slurm(environment):
    cluster = None
    if environment.get(_TF_CONFIG):
        cluster = _from_tf_config(environment[_TF_CONFIG])
    if cluster is None and environment.get(_ADDRESSES):
        cluster = _from_addresses(environment)
    return cluster


def _from_tf_config(text):
    """The `Cluster` of a text that is read as TensorFlow's TFConfigClusterResolver reads it.

    None: it has no cluster, as where a platform sets ``{}`` for a single process.
    """
    try:
        described = json_text.parse(text)
        jobs = {job: _addresses(tasks) for job, tasks in described.get("cluster", {}).items()}
        task = described.get("task", {})
        kind = str(task["type"]) if "type" in task else None
        index = task.get("index")
    except (ValueError, TypeError, AttributeError, LookupError):
        raise _invalid(_TF_CONFIG, f"{_shown(text)} (not JSON of this form)", _EXAMPLE) from None
    if not jobs:
        return None
    index = None if index is None else _index(index)
    counts = {job: len(addresses) for job, addresses in jobs.items() if addresses}
    _require_supported(kind, index, counts)
    before = counts.get("chief", 0) if kind == "worker" else 0
    addresses = (*jobs.get("chief", ()), *jobs.get("worker", ()))
    return Cluster(addresses, before + (index or 0), _TF_CONFIG)


def _index(value):
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        raise _invalid(_TF_CONFIG, f"the index {_shown(repr(value))}", "an index from 0") from None


def _shown(text):
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _addresses(tasks):
    """The addresses of a job's tasks, from a list or from {index: address}."""
    if isinstance(tasks, dict):
        by_index = {int(index): address for index, address in tasks.items()}
        return [by_index[index] for index in range(len(by_index))]
    if not isinstance(tasks, list):
        raise TypeError("the addresses of a job are not a list")
    return tasks


def _require_supported(kind, index, counts):
    """Refuse tasks that do not train, and a task that is not in the cluster.

    An evaluator in the cluster is a process besides the workers, as for TensorFlow.
    """
    for job in (kind, *counts):
        if job == "ps":
            raise _invalid(_TF_CONFIG, "tasks of type ps", f"{_TRAINING}; each has all weights")
        if job not in ("chief", "worker", "evaluator", None) and job in counts:
            raise _invalid(_TF_CONFIG, f"tasks of type {job}", _TRAINING)
    if kind == "evaluator":
        expected = f"{_TRAINING}; --mode=evaluate evaluates a run"
        raise _invalid(_TF_CONFIG, "a task of type evaluator", expected)
    tasks = {job: count for job, count in counts.items() if job != "evaluator"}
    if not sum(tasks.values()):
        raise _invalid(_TF_CONFIG, "a cluster without a worker", _TRAINING)
    if tasks.get("chief", 0) > 1:
        raise _invalid(_TF_CONFIG, f"{tasks['chief']} chiefs", _TRAINING)
    if kind is None and index is None and sum(tasks.values()) == 1:
        return
    if kind is None or index is None:
        received = f"no {'type' if kind is None else 'index'} of this process's task"
        raise _invalid(_TF_CONFIG, received, _EXAMPLE)
    if kind not in tasks:
        received = f"task type {kind!r} in a cluster of {counts}"
        raise _invalid(_TF_CONFIG, received, "a task of the cluster")
    if index not in range(tasks[kind]):
        expected = (
            f"an index from 0 to {tasks[kind] - 1}" if tasks[kind] else f"another task than {kind}"
        )
        raise _invalid(_TF_CONFIG, f"{kind} {_shown(str(index))} of {tasks[kind]}", expected)


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
