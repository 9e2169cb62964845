"""Says which worker was lost, out of what TensorFlow says about connections."""

import contextlib
import re
import signal
from collections.abc import Iterator, Sequence

from mnist_keras.errors import MnistKerasError

MARK = "§"  # Delimits a worker's own words in TensorFlow's message.
INTERRUPTED = "ended by "  # The signal's name follows.
_TASK = r"/job:(chief|worker)/(?:replica:0/)?task:(\d+)"
# {pattern in TensorFlow's messages: what happened to the worker}.
_CAUSES = {
    rf"remote target {_TASK}": "has exited",
    rf"stopped sending heartbeats\):\s+{_TASK}": "does not respond",
    "CoordinationService": "does not respond",
    rf"{_TASK}.{{0,40}} (?:disconnected|restarted)": "has exited",
}


class WorkerLostError(MnistKerasError):
    """Another worker of the training has exited, or does not respond.

    Exit status 1, or 128 plus the signal's number where a signal ended the other worker.
    """


@contextlib.contextmanager
def as_lost(
    addresses: Sequence[str], *, chiefs: int = 0, only_named: bool = False
) -> Iterator[None]:
    """In this context TensorFlow's errors about lost connections become a `WorkerLostError`.

    Args:
        addresses: of all workers, in the order of their indices.
        chiefs: how many of them, the first ones, TensorFlow calls chiefs: it counts the others
            from 0.
        only_named: whether an error that names no worker stays as it is.
    """
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
        cause = _cause_in(str(error), addresses, chiefs)
        if cause is None:
            if only_named:
                raise
            cause = f"a worker has exited ({' '.join(str(error).split())[:100]})"
        lost = WorkerLostError(message(addresses, cause))
        interrupted = re.search(rf"{INTERRUPTED}(SIG\w+)$", cause)
        if interrupted:
            lost.exit_status = 128 + signal.Signals[interrupted[1]]
        raise lost from error


def message(addresses: Sequence[str], cause: str) -> str:
    """What a `WorkerLostError` says.

    Args:
        addresses: of all workers.
        cause: what happened to which worker.
    """
    return (
        f"a worker was lost. Received: {cause}. Expected: all {len(addresses)} "
        "workers until the end; a program with a Checkpoint resumes from its last one."
    )


def _cause_in(text, addresses, chiefs):
    """What happened, as far as TensorFlow's message says; None: it names no worker."""
    reported = re.search(rf"{_TASK}[^{MARK}]{{0,20}}{MARK}(.*?){MARK}", text, re.DOTALL)
    if reported:
        return f"from worker {_index(reported, chiefs)}: {reported[3].strip().rstrip('.')}"
    for pattern, cause in _CAUSES.items():
        found = re.search(pattern, text, re.DOTALL)
        if found:
            index = _index(found, chiefs) if found.groups() else 0  # Worker 0 runs the service.
            return f"worker {index} ({addresses[index]}) {cause}"
    return None


def _index(found, chiefs):
    """The index among all workers of the task that a match begins with."""
    return int(found[2]) + (chiefs if found[1] == "worker" else 0)
