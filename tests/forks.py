"""Processes that begin with TensorFlow and Keras imported, which takes 4 seconds of each.

`Popen` and `run` are those of `subprocess`, for ``python PROGRAM ...``, ``python -m MODULE ...``
and ``python -c TEXT ...``. The process is a fork of one that has imported both and done nothing
else. So nothing here is for a test of how a program starts, or of variables that TensorFlow reads
when it is imported.
"""

import array
import atexit
import ctypes
import functools
import json
import os
import pathlib
import random
import runpy
import socket
import subprocess
import sys
import threading

_ROOT = pathlib.Path(__file__).parent.parent
_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES = 1 << 17
_lock = threading.Lock()


def run(command, *, timeout=None, capture_output=True, text=True, **options):
    """`subprocess.run` with captured text."""
    assert (capture_output, text) == (True, True)
    with Popen(command, stdout=-1, stderr=-1, text=True, **options) as process:
        try:
            printed = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, *printed)


class _Forked(subprocess.Popen):
    """A `subprocess.Popen` whose process is forked elsewhere and becomes a child of this one."""

    def _execute_child(self, command, *arguments):
        _, _, _, _, cwd, env, _, _, _, *pipes = arguments[:15]
        stdin, _, _, stdout, _, stderr = pipes
        fds = [own if fd == -1 else fd for own, fd in enumerate((stdin, stdout, stderr))]
        new_session = arguments[20]
        request = [list(map(str, command[1:])), str(cwd or os.getcwd()), dict(env or os.environ)]
        request.append(new_session)
        with _lock:
            # The fork's parent ends at once; then this process inherits it, and can wait for it.
            _set_subreaper(1)
            try:
                self.pid = _ask(json.dumps(request).encode(), fds)
            finally:
                _set_subreaper(0)
        self._child_created = True
        self._close_pipe_fds(*pipes)


Popen = _Forked if sys.platform == "linux" else subprocess.Popen


def _set_subreaper(value):
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, value, 0, 0, 0) == 0


def _ask(request, fds):
    """Have the server fork; the new process's id."""
    server = _server()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
    server.sendmsg([request], [rights])
    return int(server.recv(100))


@functools.cache
def _server():
    """A socket to the process that forks; it ends when the socket is closed."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    foreign = ("TF_", "KERAS_", "MNIST_KERAS_", "PYTHON")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    process = subprocess.Popen(
        [sys.executable, __file__],
        cwd=_ROOT,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=its,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    its.close()

    def end():
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve():
    """Fork for each request; returns in each fork, with its command."""
    import gc

    server = socket.socket(fileno=os.dup(0))
    gc.disable()
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    gc.freeze()
    gc.enable()
    while True:
        request, fds, _, _ = socket.recv_fds(server, _MOST_BYTES, 3)
        if not request:
            os._exit(0)
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:
            if forked := os.fork():
                os.write(writer, str(forked).encode())
                os._exit(0)
            server.close()
            os.close(reader)
            os.close(writer)
            return _become(*json.loads(request), fds)
        for fd in (*fds, writer):
            os.close(fd)
        os.waitpid(between, 0)
        server.send(os.read(reader, 100))
        os.close(reader)


def _become(command, cwd, environment, new_session, fds):
    """Take the streams, directory, environment, session and random state of a new process."""
    import numpy as np

    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    if new_session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    random.seed()
    np.random.seed()
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in paths if path]
    return command


def main():
    """Run the program as ``python`` would; whatever it raises ends this process."""
    command = _serve()
    sys.orig_argv = [sys.executable, *command]
    if command[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(command[0]))
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
