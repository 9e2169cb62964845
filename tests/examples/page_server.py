"""The server of the page as a process, for its tests and its picture."""

import pathlib
import re
import subprocess
import sys

import psutil

from tests.command_line import environment

_MOST_SECONDS = 60
EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples" / "draw"


class Server:
    """A server of the page in its own process.

    Args:
        model: the path of a model or a run.
        program: the file that serves the page.
    """

    def __init__(self, model, *, program=EXAMPLE / "serve.py"):
        command = [sys.executable, str(program), str(model), "--port=0"]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(PYTHONPATH=str(EXAMPLE.parent.parent)),
        )
        self.said = self._process.stdout.readline()
        self.address = re.search(r"http://[\d.:]+", self.said)[0]
        self.port = int(self.address.rpartition(":")[2])

    def next_line(self):
        return self._process.stdout.readline()

    def memory_mib(self):
        return psutil.Process(self._process.pid).memory_info().rss / 2**20

    def end(self, number):
        """Send it a signal; (exit status, text on stderr)."""
        self._process.send_signal(number)
        try:
            _, complaints = self._process.communicate(timeout=_MOST_SECONDS)
        finally:
            self._process.kill()
        return self._process.returncode, complaints
