"""Start main.py as the workers of one training, on this machine or on several over ssh.

Two workers on this machine, and four on four machines:

    python examples/cluster/launch.py --workers=2 -- --flagfile=flags.txt --run_name=two
    python examples/cluster/launch.py --hosts=a,b,c,d --directory=/srv/mnist_keras \
        --python=.venv/bin/python -- --flagfile=flags.txt --run_name=four

Each worker gets its TF_CONFIG. The first host's worker is the chief, which alone prints and writes;
what the others say on stderr begins with their numbers. Ctrl-C and SIGTERM reach the workers, which
save a checkpoint and end together; the same command goes on with the run. The exit status is that
of the first worker in the list that has failed, else 0.

On each host the package, the data and the Python have to lie at the same place; the chief's host
alone needs the logs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent


def main():
    """Start the workers, pass signals on to them, and end when they have ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--workers", type=int, help="so many on this machine")
    where.add_argument("--hosts", help="one on each of these, with commas between, over ssh")
    parser.add_argument("--port", default="2222", help="of a host that has none, as in host:2222")
    parser.add_argument("--directory", default=str(ROOT), help="the clone, on each host")
    parser.add_argument("--python", default=sys.executable, help="the Python, on each host")
    parser.add_argument("arguments", nargs="+", help="main.py's, after --")
    options = parser.parse_args()
    if options.hosts:
        places = [
            place if ":" in place else f"{place}:{options.port}"
            for place in options.hosts.split(",")
        ]
        hosts = [place.rpartition(":")[0] for place in places]
        addresses = [place.rpartition("@")[2] for place in places]
    else:
        hosts, addresses = [None] * options.workers, free_addresses(options.workers)
    workers = []
    for index, host in enumerate(hosts):
        task = {"type": "worker", "index": index}
        tf_config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        workers.append(start(host, tf_config, options))
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, frame: stop(workers, signum))
    statuses = [worker.wait() for worker in workers]
    sys.exit(next((128 - s if s < 0 else s for s in statuses if s), 0))


def start(host, tf_config, options):
    """The process of a worker, in a session of its own, so that Ctrl-C comes from here alone."""
    command = [options.python, "main.py", *options.arguments]
    if host is None:
        environment = {**os.environ, "TF_CONFIG": tf_config}
        return subprocess.Popen(
            command, cwd=options.directory, env=environment, start_new_session=True
        )
    # ssh passes no signals on. The end of its stdin stands for one, also where this process dies.
    remote = (
        f"cd {shlex.quote(options.directory)} && exec 3<&0 || exit 1; "
        f"TF_CONFIG={shlex.quote(tf_config)} {shlex.join(command)} </dev/null & pid=$!; "
        "{ cat; kill -TERM $pid; } <&3 >/dev/null 2>&1 & wait $pid"
    )
    return subprocess.Popen(["ssh", host, remote], stdin=subprocess.PIPE, start_new_session=True)


def stop(workers, signum):
    """Pass a signal on to the workers that still run."""
    for worker in workers:
        with contextlib.suppress(OSError):
            if worker.stdin is None:
                worker.send_signal(signum)
            else:
                worker.stdin.close()


def free_addresses(count):
    """Addresses of this machine at which nobody listens."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


if __name__ == "__main__":
    main()
