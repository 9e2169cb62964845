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
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent.parent
GRACE_S = 30  # Workers in training notice a lost worker within little more than 10 s.
INTERRUPTED = (130, 143)  # Workers that end with these have agreed to end.
POLL_S = 0.1
# ssh passes no signals on, so their names come on stdin; its end means SIGTERM.
WATCHED = """
exec 3<&0 </dev/null
{ while read -r name; do kill -"$name" $$ || exit; done; kill -TERM $$; } <&3 >/dev/null 2>&1 3<&- &
exec "$@" 3<&-
"""
# A host that has disappeared would otherwise be waited for without end.
SSH = ("ssh", "-oConnectTimeout=20", "-oServerAliveInterval=10")
# ssh takes a word that begins with "-" for an option, and an option can run a command.
HOST = re.compile(r"([^\s@:-][^\s@:]*@)?(\[[0-9a-fA-F:.]+\]|[\w.][\w.-]*):[0-9]{1,5}")


def main():
    """Start the workers, pass signals on to them, and end when all have ended."""
    options, addresses, hosts = parse()
    received = []

    def receive(signum, _frame):
        received.append("INT" if signum == signal.SIGINT else "TERM")

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # As under nohup.
            signal.signal(signum, receive)
    workers = []
    for index, host in enumerate(hosts):
        task = {"type": "worker", "index": index}
        tf_config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        try:
            workers.append(start(host, tf_config, options))
        except OSError as error:  # Running workers end when their stdin is closed.
            say(f"error: worker {index} cannot be started. Received: {error}.")
            sys.exit(1)
    sys.exit(wait(workers, received))


def parse():
    """(options, addresses of the workers, their hosts; None is this machine)."""
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
        parser.error(
            f"unknown option. Received: {shown(unknown[0])}. Expected: main.py's flags after --"
        )
    if options.hosts is None:
        if options.workers < 1:
            parser.error(
                f"--workers is too small. Received: {options.workers}. Expected: 1 or more"
            )
        return options, free_addresses(options.workers), [None] * options.workers
    places = [p if ":" in p else f"{p}:{options.port}" for p in options.hosts.split(",")]
    for place in places:
        if not HOST.fullmatch(place):
            parser.error(
                f"--hosts is wrong. Received: {shown(place)}. Expected: names of hosts, each with "
                "a port and a user where needed, as me@host:2222"
            )
    addresses = [place.rpartition("@")[2] for place in places]
    return options, addresses, [place.rpartition(":")[0] for place in places]


def start(host, tf_config, options):
    """Start a worker in its own session, so that only the launcher passes Ctrl-C on."""
    command = ["sh", "-c", WATCHED, "sh", options.python, "main.py", *options.arguments]
    where = {"cwd": options.directory, "env": {**os.environ, "TF_CONFIG": tf_config}}
    if host is not None:
        variable = f"TF_CONFIG={shlex.quote(tf_config)}"
        # The waiting shell turns the signal that ends a worker into a status, without a message.
        remote = (
            f"cd -- {shlex.quote(options.directory)} && exec 4>&2 2>/dev/null || exit 1; "
            f"{variable} {shlex.join(command)} 2>&4 4>&-; exit $?"
        )
        command, where = [*SSH, "--", host, remote], {}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True, **where
    )


def wait(workers, received):
    """Wait for all workers; the exit status of the first that fails, otherwise 0.

    Args:
        workers: the processes.
        received: names of signals to pass on; the signal handler adds to it.
    """
    running, status, deadline_s = list(workers), 0, math.inf
    while running:
        for worker in [w for w in running if w.poll() is not None]:
            running.remove(worker)
            tell([worker], "0")  # Another process may soon have its process id.
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
    """Write a line to stderr in one call, since the workers write there too."""
    sys.stderr.write(f"{shown(line)}\n")


def shown(text):
    """The text with escapes for what could control the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def free_addresses(count):
    """Free addresses on this machine."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


if __name__ == "__main__":
    main()
