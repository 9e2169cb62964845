"""main.py as several local workers of one training, for tests of what a user sees."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import socket
import subprocess

from tests import forks
from tests.command_line import command, environment

# No training here runs that long, or waits that long for a lost worker.
LONGEST_S = 300
# 30 steps per epoch, the last with 4 examples; more lines than fit in a pipe of one page. A small
# rate, since rounding may change the sign of a ReLU's input, which then matters less.
RECIPE = (
    "--batch_size=34",
    "--epochs=10",
    "--learning_rate=0.0002",
    "--shuffle",
    "--log_every_steps=1",
    "--checkpoint_every_steps=13",
    "--validation_examples=10",
    "--batch_parts=1",
    "--pictures_every_epochs=0",
    "--noreport",
)


def free_addresses(count):
    """Free addresses on this machine."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    returncode: int
    lines: list
    stderr: str


class Workers:
    """The processes of one training; worker 1 and later ones have their own directories.

    The chief's stdout buffers few lines: an unread chief blocks, so that it does not end too
    early, and the others wait for it.

    Args:
        directory: the chief's working directory; those of the others are created beside it.
        arguments: of main.py, the same for all.
        count: number of workers; 1: no cluster.
        data_dirs: each worker's data directory; None: given in the arguments.
    """

    def __init__(self, directory, *arguments, count=2, data_dirs=None):
        self.directories = [directory]
        self.directories += [directory.with_name(f"{directory.name}-{i}") for i in range(1, count)]
        addresses = ",".join(free_addresses(count))
        self.processes = []
        for index, cwd in enumerate(self.directories):
            cwd.mkdir(exist_ok=True)
            variables = {"MNIST_KERAS_WORKERS": addresses, "MNIST_KERAS_WORKER_INDEX": str(index)}
            if data_dirs is not None:
                variables["MNIST_KERAS_DATA_DIR"] = str(data_dirs[index])
            self.processes.append(
                forks.Popen(
                    command(*arguments),
                    cwd=cwd,
                    env=environment(**variables),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        self._lines = []
        with contextlib.suppress(AttributeError):  # Only Linux has it.
            fcntl.fcntl(self.processes[0].stdout, fcntl.F_SETPIPE_SZ, 4096)

    def read_lines(self, count):
        """Wait for the next lines of the chief."""
        self._lines += [self.processes[0].stdout.readline().rstrip("\n") for _ in range(count)]

    def end(self):
        """Wait until all have ended; a list of `Ended`."""
        # Not communicate(), which skips what readline() has already buffered.
        pipes = [pipe for process in self.processes for pipe in (process.stdout, process.stderr)]
        with concurrent.futures.ThreadPoolExecutor(len(pipes)) as pool:
            reading = [pool.submit(pipe.read) for pipe in pipes]
            concurrent.futures.wait(reading, timeout=LONGEST_S)
            for process in self.processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1 if any(not f.done() for f in reading) else LONGEST_S)
                process.kill()
                process.wait()
        texts = [future.result() for future in reading]
        outputs = list(zip(texts[::2], texts[1::2], strict=True))
        for pipe in pipes:
            pipe.close()
        lines = [out.splitlines() for out, _ in outputs]
        lines[0] = [*self._lines, *lines[0]]
        return [
            Ended(process.returncode, printed, said)
            for process, printed, (_, said) in zip(self.processes, lines, outputs, strict=True)
        ]
