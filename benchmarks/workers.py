"""Measure a step on 1 and 2 workers, and predict more: ``python -m benchmarks.workers``.

Each worker is a process on its own core. The workers communicate over loopback. For each network
and batch size, in milliseconds per step:

- compute: forward, backward and update of a worker's part of the batch, measured with as many
  independent processes side by side;
- input: slicing its part of the images and scaling it;
- all-reduce: the sum of tensors as large as the gradients, and nothing else;
- wait: the rest of the step.

A model of the step is fitted to other batch sizes than the measured ones. The table compares its
prediction with the measured step:

    step = fixed + per_example * batch / workers + ring
    ring = 2 (workers - 1) (latency + bytes / workers / bandwidth)

With the latency and the bandwidth of a network instead of those of loopback, the model gives the
speed-up on more workers.
"""

import concurrent.futures
import json
import os
import socket
import statistics
import subprocess
import sys

import numpy as np

from benchmarks import measuring

NETWORKS = ("mlp", "cnn")
BATCH_SIZES = (200, 800)
FITTED_SIZES = (50, 300, 600)
PARTS = ("compute", "input", "all_reduce", "wait")
LINKS = {"1 Gb/s, 100 µs": (1, 100), "10 Gb/s, 50 µs": (10, 50), "100 Gb/s, 5 µs": (100, 5)}
REACH_SIZES = (200, 1600, 12800)
MANY = (2, 4, 8, 16, 32)


def measure(network, batch_sizes, *, processes, together, data_dir, seconds):
    """The medians of `benchmarks.programs.step_parts` over the processes.

    Args:
        batch_sizes: sizes of the global batch.
        processes: number of processes at the same time, each on its own core.
        together: whether they train one model.
        seconds: duration of each measurement.
    """
    addresses = ",".join(free_addresses(processes)) if together else ""
    sizes = ",".join(map(str, batch_sizes))

    def run(index):
        command = [sys.executable, "-m", "benchmarks.programs.step_parts", network, sizes]
        command += [str(seconds), data_dir or "", str(index), addresses]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"a worker has exited. Received: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        return medians(list(pool.map(run, range(processes))))


def medians(found):
    """The median of each number over dictionaries of the same structure.

    >>> medians([{"a": {"b": 1}}, {"a": {"b": 3}}])
    {'a': {'b': 2.0}}
    """
    if isinstance(found[0], dict):
        return {name: medians([one[name] for one in found]) for name in found[0]}
    return statistics.median(found)


def free_addresses(count):
    """Free addresses on this machine."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


def take(options):
    """{network: {"alone", "side_by_side", "together": result of `measure`}}."""
    common = {"data_dir": options.data_dir, "seconds": options.seconds}
    halves = [size // 2 for size in options.batch_sizes]
    found = {}
    for network in options.networks:
        found[network] = {
            "alone": measure(network, options.batch_sizes, processes=1, together=False, **common),
            "side_by_side": measure(
                network, [*options.fitted_sizes, *halves], processes=2, together=False, **common
            ),
            "together": measure(network, options.batch_sizes, processes=2, together=True, **common),
        }
        print(f"{network}: measured", file=sys.stderr)
    return found


def parts(found, batch_size, workers):
    """{part of a step: seconds} for a batch on 1 or 2 workers, from one network's measurements."""
    if workers == 1:
        alone = found["alone"][str(batch_size)]
        step, all_reduce = alone["step"], 0.0
    else:
        alone = found["side_by_side"][str(batch_size // 2)]
        step, all_reduce = (
            found["together"][str(batch_size)]["step"],
            found["together"]["all_reduce"],
        )
    return {
        "compute": alone["step"] - alone["input"],
        "input": alone["input"],
        "all_reduce": all_reduce,
        "wait": step - alone["step"] - all_reduce,
        "step": step,
    }


def model(found, fitted_sizes):
    """(line, loopback): the model's `fit_line`, and arguments of `ring_s` without the workers."""
    alone, together = found["side_by_side"], found["together"]
    line = fit_line({size: alone[str(size)]["step"] for size in fitted_sizes})
    size, latency_s = together["bytes"], together["small_all_reduce"] / 2
    bytes_per_s = size / max(together["all_reduce"] - 2 * latency_s, 1e-9)
    return line, {"size": size, "latency_s": latency_s, "bytes_per_s": bytes_per_s}


def fit_line(points):
    """(fixed, per_example) in seconds, of {examples: seconds per step}, by least relative squares.

    >>> fixed, per_example = fit_line({size: 0.001 + 0.00002 * size for size in (50, 300)})
    >>> round(fixed, 6), round(per_example, 8)
    (0.001, 2e-05)
    """
    sizes = np.array(list(points), float)
    times = np.array(list(points.values()))
    rows = np.stack([1 / times, sizes / times], axis=1)
    fixed, per_example = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)[0]
    return max(float(fixed), 0.0), float(per_example)


def ring_s(workers, *, size, latency_s, bytes_per_s):
    """Seconds of a ring all-reduce of ``size`` bytes.

    >>> ring_s(2, size=4e6, latency_s=0.0, bytes_per_s=1e9)
    0.004
    """
    return 2 * (workers - 1) * (latency_s + size / workers / bytes_per_s)


def step_s(workers, batch_size, *, line, ring):
    """Seconds of a step, by the model."""
    fixed, per_example = line
    return fixed + per_example * batch_size / workers + ring_s(workers, **ring)


def cost_table(report):
    """A Markdown table of the cost of a step, measured and modelled."""
    titles = ["network", "batch", "workers", *(f"{name.replace('_', '-')}, ms" for name in PARTS)]
    rows = []
    for network, found in report["found"].items():
        line, ring = model(found, report["fitted_sizes"])
        for batch_size in report["batch_sizes"]:
            for workers in (1, 2):
                of_step = parts(found, batch_size, workers)
                said_s = step_s(workers, batch_size, line=line, ring=ring)
                rows.append(
                    [
                        network,
                        str(batch_size),
                        str(workers),
                        *(f"{1000 * of_step[name]:.2f}" for name in (*PARTS, "step")),
                        f"{1000 * said_s:.2f} ({100 * (said_s / of_step['step'] - 1):+.0f} %)",
                        f"{batch_size / of_step['step']:,.0f}",
                    ]
                )
    return measuring.table([*titles, "step, ms", "by the model, ms", "images/s"], rows)


def reach_table(report):
    """A Markdown table of the modelled speed-up on more workers and other links."""
    titles = ["network", "batch", "link", *(f"{many} workers" for many in MANY)]
    rows = []
    for network, found in report["found"].items():
        line, loopback = model(found, report["fitted_sizes"])
        for batch_size in REACH_SIZES:
            for link, (gigabits, latency_us) in LINKS.items():
                ring = {
                    "size": loopback["size"],
                    "latency_s": latency_us / 1e6,
                    "bytes_per_s": gigabits * 1e9 / 8,
                }
                alone_s = step_s(1, batch_size, line=line, ring=ring)
                times = [alone_s / step_s(many, batch_size, line=line, ring=ring) for many in MANY]
                rows.append([network, f"{batch_size:,}", link, *(f"{up:.1f}" for up in times)])
    return measuring.table(titles, rows)


def main():
    """Measure and print the tables."""
    parser = measuring.parser(__doc__)
    parser.add_argument(
        "--seconds", type=float, default=3, help="seconds for each figure; default: 3"
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=BATCH_SIZES)
    parser.add_argument("--fitted_sizes", nargs="+", type=int, default=FITTED_SIZES)
    options = parser.parse_args()
    sizes = {"batch_sizes": options.batch_sizes, "fitted_sizes": options.fitted_sizes}
    report = {**sizes, "found": take(options)}
    measuring.write_json(options.results / "workers.json", report)
    print(cost_table(report))


if __name__ == "__main__":
    main()
