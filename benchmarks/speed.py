"""Seconds per epoch of the tutorial's recipe, side by side: ``python -m benchmarks.speed``.

Each contender runs in a process of its own that stays alive; they take turns, an epoch each, so
that a change of the machine's speed meets all of them alike. What counts is the median, over the
rounds, of each one's ratio to the matrix products alone in the same round.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

CONTENDERS = {
    "floor": ("matrix products alone", "matrix products alone, bfloat16"),
    "this_package": (
        "this package, all callbacks",
        "this package, no callback",
        "this package, mixed_bfloat16, all callbacks",
    ),
    "tutorial": ("the tutorial's loop", "the tutorial's loop under tf.function"),
    "keras_fit": ("stock Keras fit", "stock Keras fit, 100 steps per execution"),
    "pytorch": ("PyTorch", "PyTorch, compiled"),
    "jax_loop": ("JAX, step by step", "JAX, scan"),
}
FLOOR = "matrix products alone"
OUTPUT = pathlib.Path(__file__).parent / "results"


@contextlib.contextmanager
def contender(module, name, data_dir):
    """A function that gives the seconds of one epoch, or None: it cannot run here."""
    command = [sys.executable, "-m", "benchmarks.worker", module, name, data_dir]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    ) as process:

        def seconds():
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        try:
            if process.stdout.readline() == "ready\n":
                yield seconds
            else:
                print(f"left out: {name}: {process.stderr.read().splitlines()[-1]}")
                yield None
        finally:
            process.kill()


def measure(names, *, rounds, data_dir):
    """{name: seconds of each round}."""
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(contender(module, name, data_dir)) for module, name in names
        }
        running = {name: seconds for name, seconds in running.items() if seconds}
        results = {name: [] for name in running}
        for number in range(rounds):
            for name, seconds in running.items():
                results[name].append(seconds())
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return results


def summary(results):
    """Rows (name, seconds, ratio to the floor, least, greatest ratio), medians, fastest first."""
    rows = []
    for name, seconds in results.items():
        ratios = [a / b for a, b in zip(seconds, results[FLOOR], strict=True)]
        rows.append(
            (name, statistics.median(seconds), statistics.median(ratios), min(ratios), max(ratios))
        )
    return sorted(rows, key=lambda row: row[2])


def table(rows):
    """The rows as a Markdown table."""
    lines = [
        "| who | s per epoch | × the products | least | greatest |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {name} | {s:.2f} | {r:.2f} | {a:.2f} | {b:.2f} |" for name, s, r, a, b in rows]
    return "\n".join(lines)


def chart(rows, path):
    """The ratios as bars."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names, _, ratios, least, greatest = zip(*reversed(rows), strict=True)
    figure, axes = pyplot.subplots(figsize=(9, 0.45 * len(rows) + 1))
    spread = [
        [r - a for r, a in zip(ratios, least, strict=True)],
        [b - r for r, b in zip(ratios, greatest, strict=True)],
    ]
    colours = ["tab:orange" if "this package" in name else "tab:gray" for name in names]
    axes.barh(names, ratios, xerr=spread, color=colours)
    axes.set_xlabel("time of an epoch, as a multiple of its matrix products alone (float32)")
    figure.savefig(path, bbox_inches="tight", dpi=100)


def machine():
    """What the figures were taken on."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        name = next(line.split(": ")[1].strip() for line in lines if line.startswith("model name"))
    return {"processor": name, "cores": os.cpu_count(), "python": platform.python_version()}


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data_dir", default="", help="where the IDX files lie")
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    arguments = parser.parse_args()
    names = [
        (module, name)
        for module, members in CONTENDERS.items()
        for name in members
        if arguments.only in name or name == FLOOR
    ]
    results = measure(names, rounds=arguments.rounds, data_dir=arguments.data_dir)
    rows = summary(results)
    print(table(rows))
    OUTPUT.mkdir(exist_ok=True)
    report = {"machine": machine(), "seconds": results}
    (OUTPUT / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
    chart(rows, OUTPUT / "speed.png")


if __name__ == "__main__":
    main()
