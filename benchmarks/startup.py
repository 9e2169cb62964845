"""Measure start-up time and memory of the program: ``python -m benchmarks.startup``.

Every program is started again in each round, and the programs take turns. ``main.py`` is compared
with the import of TensorFlow and with the tutorial's own loop. TensorFlow imports JAX and
matplotlib if they are installed. To measure what a user sees, pass ``--python``, an interpreter
without them.
"""

import functools
import pathlib
import statistics
import sys
import tempfile

from benchmarks import measuring, program

ROOT = pathlib.Path(__file__).parent.parent
A_LOSS = r"\d+ \d+ loss: "
TENSORFLOW = "import tensorflow"


def commands(logdir, *, python, epochs, data_dir):
    """{name: (command, expected exit status)}."""
    main = [python, str(ROOT / "main.py")]
    recipe = [
        *main,
        f"--flagfile={ROOT / 'flags.txt'}",
        f"--logdir={logdir}",
        *([f"--data_dir={data_dir}"] if data_dir else []),
    ]
    of_epochs = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    return {
        "main.py --help": ([*main, "--help"], 0),
        "main.py, a wrong flag": ([*main, "--batchsize=200"], 2),
        "main.py, a finished run": ([*recipe, "--epochs=1", "--run_name=finished"], 0),
        TENSORFLOW: ([python, "-c", TENSORFLOW], 0),
        f"main.py, {of_epochs}": ([*recipe, f"--epochs={epochs}"], 0),
        f"the tutorial's loop, {of_epochs}": (
            [python, "-m", "benchmarks.programs.tutorial", str(epochs), data_dir or ""],
            0,
        ),
    }


def figures(outcomes):
    """{"seconds", "first_loss_s", "peak_mib"}: lists over the rounds; None for missing values."""
    return {
        "seconds": [outcome.seconds for outcome in outcomes],
        "first_loss_s": [outcome.first_s for outcome in outcomes if outcome.first_s] or None,
        "peak_mib": [outcome.peak_mib for outcome in outcomes],
    }


def table(results):
    """{name: `figures`} as a Markdown table of medians."""

    def median(values, digits):
        return "–" if values is None else f"{statistics.median(values):.{digits}f}"

    return measuring.table(
        ["what", "s", "s to the first printed loss", "peak MiB"],
        [
            [
                name,
                median(row["seconds"], 2),
                median(row["first_loss_s"], 2),
                median(row["peak_mib"], 0),
            ]
            for name, row in results.items()
        ],
    )


def main():
    """Measure, print the table, and write it as JSON."""
    parser = measuring.parser(__doc__, rounds=5)
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the recipe; default: 2")
    parser.add_argument("--only", default="", help="run only programs whose name contains this")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as logdir:
        programs = commands(
            logdir,
            python=arguments.python,
            epochs=arguments.epochs,
            data_dir=arguments.data_dir,
        )
        programs = {name: it for name, it in programs.items() if arguments.only in name}
        functions = {
            name: functools.partial(program.run, command, status=status, looks_for=A_LOSS)
            for name, (command, status) in programs.items()
        }
        for function in functions.values():
            function()  # Now the run is finished, and every file is in the page cache.
        results = measuring.in_turns(functions, rounds=arguments.rounds)
    results = {name: figures(outcomes) for name, outcomes in results.items()}
    print(table(results))
    measuring.write_json(arguments.results / "startup.json", {"programs": results})


if __name__ == "__main__":
    main()
