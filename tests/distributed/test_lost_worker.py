import pytest
import tensorflow as tf

from mnist_keras.distributed.lost_worker import WorkerLostError, as_lost

ADDRESSES = ("a:1", "b:2")
SILENT = """Collective ops is aborted by: Error reported from /job:worker/task:1: The following
tasks are unhealthy (stopped sending heartbeats):
/job:worker/replica:0/task:1
The tasks have crashed. [type.googleapis.com/tensorflow.CoordinationServiceError='...']"""
GONE = """Collective ops is aborted by: recvmsg:Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling"""
REPORTED = "Error reported from /job:worker/task:1: §ended by SIGTERM§ The error could be"


def lost(text, **options):
    """The error that TensorFlow's error of this text becomes."""
    with (
        pytest.raises((WorkerLostError, tf.errors.OpError)) as caught,
        as_lost(ADDRESSES, **options),
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
        "the same commands resume from the last checkpoint."
    )


def test_an_error_that_names_no_worker_stays_in_a_program():
    assert type(lost("the disk is full", only_named=True)) is tf.errors.UnavailableError
    assert "Received: a worker has exited (the disk is full)." in str(lost("the disk is full"))
