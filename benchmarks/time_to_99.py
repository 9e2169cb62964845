"""Train one epoch to 99 % on the test set, for several seeds: ``python -m benchmarks.time_to_99``.

``recipes/fast99.txt`` and a published PyTorch recipe (`benchmarks.programs.one_epoch_pytorch`) take
turns, with a new process for each seed.
"""

import functools
import importlib.util
import itertools
import json
import pathlib
import statistics
import sys
import tempfile

from benchmarks import measuring, program

ROOT = pathlib.Path(__file__).parent.parent
THIS, PUBLISHED = "this package, recipes/fast99.txt", "PyTorch, a published recipe"


def this_package(seeds, *, data_dir):
    """One training with the next of the seeds: {"accuracy", "seconds", "process_s"}."""
    with tempfile.TemporaryDirectory() as logdir:
        outcome = program.run(
            [
                sys.executable,
                str(ROOT / "main.py"),
                f"--flagfile={ROOT / 'recipes' / 'fast99.txt'}",
                f"--seed={next(seeds)}",
                f"--logdir={logdir}",
                "--run_name=fast99",
                *([f"--data_dir={data_dir}"] if data_dir else []),
            ]
        )
        return _figures(outcome, pathlib.Path(logdir, "fast99", "summary.json").read_text())


def published(seeds, *, data_dir):
    """As `this_package`, of the PyTorch program."""
    module = "benchmarks.programs.one_epoch_pytorch"
    outcome = program.run([sys.executable, "-m", module, str(next(seeds)), data_dir or ""])
    return _figures(outcome, outcome.lines[-1])


def _figures(outcome, report):
    report = json.loads(report)
    return {
        "accuracy": report["test_accuracy"],
        "seconds": report["seconds"],
        "process_s": outcome.seconds,
    }


def table(results):
    """{name: figures of each seed} as a Markdown table."""
    rows = []
    for name, runs in results.items():
        accuracies = [100 * it["accuracy"] for it in runs]
        deviation = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
        seconds = (measuring.spread([it[key] for it in runs]) for key in ("seconds", "process_s"))
        rows.append(
            [
                name,
                f"{statistics.mean(accuracies):.2f} ± {deviation:.2f}",
                f"{sum(it['accuracy'] >= 0.99 for it in runs)} of {len(runs)}",
                *(f"{s.median:.1f} ({s.least:.1f} – {s.greatest:.1f})" for s in seconds),
            ]
        )
    titles = ["who", "test accuracy, %", "reach 99 %", "s from the first step", "s of the process"]
    return measuring.table(titles, rows)


def chart(results, path):
    """Each seed as a point: seconds from the first step, accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for name, runs in results.items():
        colour = "tab:orange" if name == THIS else "tab:gray"
        points = [[it["seconds"] for it in runs], [100 * it["accuracy"] for it in runs]]
        axes.plot(*points, "o", color=colour, label=name)
    axes.axhline(99, linewidth=0.5, color="black")
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds from the first step")
    axes.set_ylabel("accuracy on the test set, %")
    axes.legend()
    figure.savefig(path, bbox_inches="tight", dpi=100)


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    arguments = measuring.parser(__doc__, seeds=10).parse_args()
    programs = {THIS: this_package, PUBLISHED: published}
    if importlib.util.find_spec("torch") is None:
        measuring.leave_out(PUBLISHED, "torch is not installed")
        del programs[PUBLISHED]
    results = measuring.in_turns(
        {
            name: functools.partial(train, itertools.count(), data_dir=arguments.data_dir)
            for name, train in programs.items()
        },
        rounds=arguments.seeds,
    )
    print(table(results))
    measuring.write_json(arguments.results / "time_to_99.json", {"runs": results})
    chart(results, arguments.results / "time_to_99.png")


if __name__ == "__main__":
    main()
