"""Start main.py as the workers of one training, on this machine or on several over ssh.

Two workers on this machine, and four on four machines:

    python examples/cluster/launch.py --workers=2 -- --flagfile=flags.txt --run_name=two
    python examples/cluster/launch.py --hosts=a,b,c,d --directory=/srv/mnist_keras \
        --python=.venv/bin/python -- --flagfile=flags.txt --run_name=four

Each worker gets its own TF_CONFIG. The worker of the first host is the chief: only it prints and
writes files. Lines of the other workers on stderr begin with the worker's number. Ctrl-C, SIGTERM,
a closed terminal and the end of the launcher reach all workers. They save a checkpoint and stop
together; the same command then resumes the run. The exit status is that of the first worker that
fails, otherwise 0. If a worker fails while others still wait for it, they are stopped after 30 s.

The package, the data and the Python must be at the same path on each host, and ssh must not ask for
a password. Only the chief's host needs the logs.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent.parent
GRACE_S = 30  # Workers that train together notice within 10 s and a few more.
INTERRUPTED = (130, 143)  # Those that end so have agreed on it.
POLL_S = 0.1
# Signals come as names on stdin, as ssh passes none on; its end stands for SIGTERM.
WATCHED = """
exec 3<&0 </dev/null
{ while read -r name; do kill -"$name" $$ || exit; done; kill -TERM $$; } <&3 >/dev/null 2>&1 3<&- &
exec "$@" 3<&-
"""
# One that is there no more would be waited for without an end.
SSH = ("ssh", "-oConnectTimeout=20", "-oServerAliveInterval=10")


def main():
    """Start the workers, pass signals on to them, and end when they have ended."""
    options, addresses, hosts = parse()
    received = []

    def receive(signum, _frame):
        received.append("INT" if signum == signal.SIGINT else "TERM")

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # As with nohup.
            signal.signal(signum, receive)
    workers = []
    for index, host in enumerate(hosts):
        task = {"type": "worker", "index": index}
        tf_config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        try:
            workers.append(start(host, tf_config, options))
        except OSError as error:  # Those that run end with their stdin.
            say(f"error: worker {index} cannot be started. Received: {error}.")
            sys.exit(1)
    sys.exit(wait(workers, received))


def parse():
    """The options, the workers' addresses and the hosts that they are on, None: this one."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s (--workers=N | --hosts=A,B) [options] -- [main.py's flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--workers", type=int, help="number of workers on this machine")
    where.add_argument(
        "--hosts", help="hosts, separated by commas; starts one worker on each over ssh"
    )
    parser.add_argument(
        "--port", default="2222", help="port of the hosts given without one; default: 2222"
    )
    parser.add_argument(
        "--directory", default=str(ROOT), help="directory of the clone on each host"
    )
    parser.add_argument("--python", default=sys.executable, help="Python on each host")
    parser.add_argument("arguments", nargs="*", help="flags of main.py, after --")
    options, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"unknown option. Received: {unknown[0]}. Expected: main.py's flags after --")
    if options.hosts is None:
        if options.workers < 1:
            parser.error(
                f"--workers is too small. Received: {options.workers}. Expected: 1 or more"
            )
        return options, free_addresses(options.workers), [None] * options.workers
    places = [p if ":" in p else f"{p}:{options.port}" for p in options.hosts.split(",")]
    addresses = [place.rpartition("@")[2] for place in places]
    return options, addresses, [place.rpartition(":")[0] for place in places]


def start(host, tf_config, options):
    """The process of a worker, in a session of its own, so that Ctrl-C comes from here alone."""
    command = ["sh", "-c", WATCHED, "sh", options.python, "main.py", *options.arguments]
    where = {"cwd": options.directory, "env": {**os.environ, "TF_CONFIG": tf_config}}
    if host is not None:
        variable = f"TF_CONFIG={shlex.quote(tf_config)}"
        # The shell that waits makes a status of the signal that ends a worker, without a word.
        remote = (
            f"cd {shlex.quote(options.directory)} && exec 4>&2 2>/dev/null || exit 1; "
            f"{variable} {shlex.join(command)} 2>&4 4>&-; exit $?"
        )
        command, where = [*SSH, host, remote], {}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True, **where
    )


def wait(workers, received):
    """The exit status of the first worker to fail, else 0, once all have ended.

    Args:
        workers: the processes.
        received: the names of signals to pass on, which come in meanwhile.
    """
    running, status, deadline_s = list(workers), 0, math.inf
    while running:
        for worker in [w for w in running if w.poll() is not None]:
            running.remove(worker)
            tell([worker], "0")  # Its number may be another process's soon.
            failed = 128 - worker.returncode if worker.returncode < 0 else worker.returncode
            if failed and not status:
                status, first = failed, workers.index(worker)
                if status not in INTERRUPTED:
                    deadline_s = time.monotonic() + GRACE_S
        if running and time.monotonic() > deadline_s:
            deadline_s = math.inf
            say(f"worker {first} has exited with status {status}: the others are stopped")
            received.append("TERM")
        while received:
            tell(running, received.pop(0))
        time.sleep(POLL_S)
    return status


def tell(workers, name):
    """Send a signal to workers."""
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.stdin.write(f"{name}\n".encode())


def say(line):
    """A line on stderr, in one piece, as the workers write there too."""
    sys.stderr.write(f"{line}\n")


def free_addresses(count):
    """Addresses of this machine at which nobody listens."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


if __name__ == "__main__":
    main()
