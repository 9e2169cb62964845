"""How much memory another process uses, as Linux reports it."""

import contextlib
import pathlib
import threading

_SAMPLE_EVERY_S = 0.05


def memory_mib(pid, field):
    """A field of a process's ``/proc/PID/status``, as RssAnon or VmHWM, in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def sampled_mib(pid, field):
    """Meanwhile, a growing list of what `memory_mib` gives, several times a second."""
    samples, ended = [memory_mib(pid, field)], threading.Event()

    def sample():
        while not ended.wait(_SAMPLE_EVERY_S):
            samples.append(memory_mib(pid, field))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
