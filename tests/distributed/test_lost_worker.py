from unittest import mock

import pytest
import tensorflow as tf

from mnist_keras.distributed.lost_worker import WorkerLostError, as_lost
from mnist_keras.distributed.workers import Workers

ADDRESSES = ("a:1", "b:2")
SILENT = """Collective ops is aborted by: Error reported from /job:worker/task:1: The following
tasks are unhealthy (stopped sending heartbeats):
/job:worker/replica:0/task:1
The tasks have crashed. [type.googleapis.com/tensorflow.CoordinationServiceError='...']"""
GONE = """Collective ops is aborted by: recvmsg:Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling"""
REPORTED = "Error reported from /job:worker/task:1: §ended by SIGTERM§ The error could be"


def lost(text, *, addresses=ADDRESSES, **options):
    """The error that TensorFlow's error of this text becomes."""
    with (
        pytest.raises((WorkerLostError, tf.errors.OpError)) as caught,
        as_lost(addresses, **options),
    ):
        raise tf.errors.UnavailableError(None, None, text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "received", "status"),
    [
        (SILENT, "worker 1 (b:2) does not respond", 1),
        (GONE, "worker 0 (a:1) has exited", 1),
        (REPORTED, "from worker 1: ended by SIGTERM", 143),
    ],
    ids=["silent", "gone", "ended by a signal"],
)
def test_the_lost_worker_is_named(text, received, status):
    error = lost(text, only_named=True)
    assert type(error) is WorkerLostError
    assert error.exit_status == status
    assert str(error) == (
        f"a worker was lost. Received: {received}. Expected: all 2 workers until the end; "
        "a program with a Checkpoint resumes from its last one."
    )


@pytest.mark.parametrize(
    ("text", "received"),
    [
        (SILENT, "worker 2 (c:3) does not respond"),
        (GONE, "worker 1 (b:2) has exited"),
        (GONE.replace("worker", "chief"), "worker 0 (a:1) has exited"),
        (REPORTED, "from worker 2: ended by SIGTERM"),
        (REPORTED.replace("worker/task:1", "chief/task:0"), "from worker 0: ended by SIGTERM"),
        ("CoordinationService is gone", "worker 0 (a:1) does not respond"),
    ],
)
def test_the_lost_worker_of_a_cluster_with_a_chief(text, received):
    error = lost(text, addresses=("a:1", "b:2", "c:3"), chiefs=1, only_named=True)
    assert f"Received: {received}. Expected: all 3 workers" in str(error)


def test_a_strategy_with_a_chief_names_its_workers():
    tasks = tf.train.ClusterSpec({"chief": ["a:1"], "worker": ["b:2", "c:3"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tasks, task_type="worker", task_id=1
    )
    strategy = mock.Mock(cluster_resolver=resolver)
    workers = Workers(strategy)
    assert (workers.count, workers.index) == (3, 2)
    with pytest.raises(WorkerLostError, match=r"worker 1 \(b:2\)"), workers.naming_lost_ones():
        raise tf.errors.UnavailableError(None, None, GONE)


def test_an_error_that_names_no_worker_stays_in_a_program():
    assert type(lost("the disk is full", only_named=True)) is tf.errors.UnavailableError
    assert "Received: a worker has exited (the disk is full)." in str(lost("the disk is full"))
