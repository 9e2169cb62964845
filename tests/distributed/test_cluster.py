import doctest
import json
import sys

import pytest

from mnist_keras.distributed import cluster
from mnist_keras.distributed.cluster import Cluster
from mnist_keras.errors import UsageError

SLURM = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_JOB_ID": "123456",
}
SPARSE = (
    '{"cluster": {"worker": {"0": "a:1", "2": "b"}}, "task": {"type": "worker", "index": 0}} '
    "(not JSON of this form)"
)
WORKERS = {"MNIST_KERAS_WORKERS": "a:2222, b:2222"}


def tf_config(kind="worker", index=0, *, task=None, **jobs):
    jobs = jobs or {"worker": ["a:1", "b:2"]}
    task = {"type": kind, "index": index} if task is None else task
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": task})}


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(cluster).failed == 0


@pytest.mark.parametrize(
    ("environment", "addresses", "index", "source"),
    [
        (tf_config(index=1), ("a:1", "b:2"), 1, "TF_CONFIG"),
        (tf_config(index=1, chief=["c:3"], worker=["a:1", "b:2"]), ("c:3", "a:1", "b:2"), 2, None),
        (tf_config("chief", chief=["c:3"], worker=["a:1"]), ("c:3", "a:1"), 0, None),
        (tf_config(index="1"), ("a:1", "b:2"), 1, None),
        (tf_config(worker={"1": "b:2", "0": "a:1"}), ("a:1", "b:2"), 0, None),
        (tf_config(worker=["a:1", "b:2"], evaluator=["c:3"]), ("a:1", "b:2"), 0, None),
        (
            {"TF_CONFIG": "{}", **WORKERS, "JOB_COMPLETION_INDEX": "1"},
            ("a:2222", "b:2222"),
            1,
            None,
        ),
        (tf_config(worker=["[::1]:1", "10.0.0.2:65535"]), ("[::1]:1", "10.0.0.2:65535"), 0, None),
        ({**WORKERS, "MNIST_KERAS_WORKER_INDEX": "1"}, ("a:2222", "b:2222"), 1, None),
        ({**WORKERS, "JOB_COMPLETION_INDEX": "0"}, ("a:2222", "b:2222"), 0, None),
        ({**tf_config(), **WORKERS, **SLURM}, ("a:1", "b:2"), 0, "TF_CONFIG"),
    ],
)
def test_a_cluster_is_found_in_the_environment(environment, addresses, index, source):
    found = cluster.find(environment)
    assert (found.addresses, found.index) == (addresses, index)
    assert source in (None, found.source)


def test_slurm_tasks_are_workers_on_different_ports(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    addresses = tuple(f"node0{node}:{port}" for node in (7, 8) for port in (33920, 33921))
    assert cluster.find() == Cluster(addresses, 2, "Slurm")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (tf_config(index=1), "worker 1"),
        (tf_config(), ""),
        (tf_config(index=2), ""),
        (SLURM, "worker 2"),
        ({**SLURM, "SLURM_PROCID": "nobody"}, ""),
        ({**SLURM, "TF_CONFIG": "{}"}, "worker 2"),
        ({}, ""),
    ],
)
def test_a_worker_has_a_name_before_its_flags_are_parsed(environment, name):
    assert cluster.speaker(environment) == name


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"])
def test_an_invalid_slurm_step_is_refused(monkeypatch, name):
    for variable, value in {**SLURM, name: "9["}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=r"^Slurm's environment does not describe a cluster\. .*"):
        cluster.find()


@pytest.mark.parametrize(
    ("name", "value", "received"),
    [
        ("SLURM_STEP_NODELIST", "n[0-9999999999]", "10000000000 nodes"),
        ("SLURM_STEP_NODELIST", "n[0-9999999999,9999999999-0]", "10000000000 nodes"),
        ("SLURM_STEP_NODELIST", f"n[1,2-{'9' * 5000}]", "a number that is not one of at most 18"),
        ("SLURM_STEP_NUM_TASKS", "0", "0 tasks"),
        ("SLURM_STEP_NUM_TASKS", "20000", "20000 tasks"),
        ("SLURM_STEP_NUM_TASKS", "100000000", "100000000 tasks"),
        ("SLURM_STEP_NUM_TASKS", "many", "a number that is not one of at most 18"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x1000000000)", "the tasks of 1000000000 nodes"),
    ],
)
def test_an_endless_slurm_step_is_refused_at_once(monkeypatch, name, value, received):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError) as caught:
        cluster.find({**SLURM, name: value})
    start = f"Slurm's environment does not describe a cluster. Received: {received}"
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("Expected: 1 to 10000 tasks, started by srun.")


def test_slurm_nodes_without_tasks_are_refused(monkeypatch):
    for variable, text in {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "0(x2)"}.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(UsageError, match=r"^Slurm's environment does not describe a cluster\."):
        cluster.find()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": '{"cluster": {}, "task": {"type": "worker", "index": 0}}'},
        {"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'},
        tf_config(worker=["a:1"]),
        tf_config(task={}, worker=["a:1"]),
        {"SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_one_process_is_not_a_cluster(environment):
    assert cluster.find(environment) is None


def test_a_job_without_tasks_is_none():
    environment = tf_config(kind="worker", index=0, worker=["a:1", "b:1"], ps=[])
    assert cluster.find(environment).addresses == ("a:1", "b:1")


def test_a_required_cluster_may_have_one_worker():
    assert cluster.require(tf_config(worker=["a:1"])) is None


def test_a_required_cluster_that_is_missing_is_refused():
    with pytest.raises(UsageError, match=r"^--distribution=multi_worker needs a cluster\."):
        cluster.require({"PATH": "/bin", "TF_CONFIG": "{}"})


@pytest.mark.parametrize(
    ("environment", "source", "received"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG", "{ (not JSON of this form)"),
        (
            {"TF_CONFIG": "[" * 100_000},
            "TF_CONFIG",
            f"{'[' * 300}… (not JSON of this form)",
        ),
        (tf_config(kind=[]), "TF_CONFIG", "task type '[]' in a cluster of {'worker': 2}"),
        (
            {"TF_CONFIG": '{"cluster": null}'},
            "TF_CONFIG",
            '{"cluster": null} (not JSON of this form)',
        ),
        (
            tf_config(task=[], worker="a:1"),
            "TF_CONFIG",
            '{"cluster": {"worker": "a:1"}, "task": []} (not JSON of this form)',
        ),
        (tf_config(worker={"0": "a:1", "2": "b"}), "TF_CONFIG", SPARSE),
        (tf_config(task={}), "TF_CONFIG", "no type of this process's task"),
        (tf_config(task={"type": "worker"}), "TF_CONFIG", "no index of this process's task"),
        (tf_config(index="one"), "TF_CONFIG", "the index 'one'"),
        (tf_config(index=1e999), "TF_CONFIG", "the index inf"),
        (tf_config(worker=[]), "TF_CONFIG", "a cluster without a worker"),
        (tf_config("chief", chief=["a:1", "b:1"]), "TF_CONFIG", "2 chiefs"),
        (tf_config("ps", worker=["a:1"], ps=["b:1"]), "TF_CONFIG", "tasks of type ps"),
        (tf_config("evaluator"), "TF_CONFIG", "a task of type evaluator"),
        (tf_config("master", master=["a:1"]), "TF_CONFIG", "tasks of type master"),
        ({"TF_CONFIG": "[1]"}, "TF_CONFIG", "[1] (not JSON of this form)"),
        (tf_config(index=2), "TF_CONFIG", "worker 2 of 2"),
        (tf_config(index="-1"), "TF_CONFIG", "worker -1 of 2"),
        (tf_config("chief"), "TF_CONFIG", "task type 'chief' in a cluster of {'worker': 2}"),
        (tf_config(worker=["a:1"], ps=["b:1"]), "TF_CONFIG", "tasks of type ps"),
        (tf_config(worker=["a:1", "a:1"]), "TF_CONFIG", "a:1, a:1"),
        (tf_config(worker=["a:1", "b"]), "TF_CONFIG", "b"),
        (tf_config(worker=["a:1", "b:70000"]), "TF_CONFIG", "b:70000"),
        *(
            (tf_config(worker=["a:1", f"{host}:2"]), "TF_CONFIG", f"{host}:2")
            for host in ("a..b", ".", "x" * 300, ".".join(["x" * 60] * 5), "[::::]", "[a]", "[]")
        ),
        (
            WORKERS,
            "MNIST_KERAS_WORKERS",
            "neither MNIST_KERAS_WORKER_INDEX nor JOB_COMPLETION_INDEX",
        ),
        (
            {**WORKERS, "MNIST_KERAS_WORKER_INDEX": "one"},
            "MNIST_KERAS_WORKER_INDEX",
            "one",
        ),
        (
            {**WORKERS, "JOB_COMPLETION_INDEX": "2"},
            "MNIST_KERAS_WORKERS with JOB_COMPLETION_INDEX",
            "worker 2 of 2",
        ),
        (
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"},
            "Slurm's environment",
            "no SLURM_STEP_NODELIST, SLURM_STEP_TASKS_PER_NODE",
        ),
    ],
)
def test_an_incomplete_cluster_is_refused_in_one_line(environment, source, received):
    with pytest.raises(UsageError) as caught:
        cluster.find(environment)
    message = str(caught.value)
    expected = f"{source} does not describe a cluster. Received: {received}. Expected: "
    assert message.startswith(expected)
    assert message.endswith(".")
    assert "\n" not in message
