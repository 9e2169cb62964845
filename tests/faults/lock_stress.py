"""Four processes take one lock again and again: ``python -m tests.faults.lock_stress``.

Each creates a file while it is in. The count of those that find the file there has to be 0.
"""

import argparse
import contextlib
import multiprocessing
import os
import pathlib
import sys
import tempfile

from mnist_keras.inputs.file_lock import FileLock

PROCESSES = 4


def enter(folder, entries, results):
    """Enter so often; puts the number of times that another process was in."""
    inside, found = pathlib.Path(folder, "inside"), 0
    while entries:
        lock = FileLock(pathlib.Path(folder, "lock"))
        try:
            lock.acquire()
        except BlockingIOError:
            continue
        entries -= 1
        try:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            found += 1
        with contextlib.suppress(FileNotFoundError):
            inside.unlink()
        lock.release()
    results.put(found)


def main():
    """Print the counts; exit with 1 if two processes were in at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000, help="of each process")
    entries = parser.parse_args().entries
    start = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        results = start.SimpleQueue()
        arguments = (folder, entries, results)
        processes = [start.Process(target=enter, args=arguments) for _ in range(PROCESSES)]
        for process in processes:
            process.start()
        found = sum(results.get() for _ in processes)
        for process in processes:
            process.join()
    print(f"entered {PROCESSES * entries} times, found another inside {found} times")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
