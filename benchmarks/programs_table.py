"""Compare TapeModel with Keras on models of all kinds: ``python -m benchmarks.programs_table``.

Nothing is set but the base class. The contenders of a model take turns, each in its own process.
A row shows the time of an epoch as a multiple of the better of ``keras.Model`` at one and at 20
steps per execution, in the same round: the median over the rounds.
"""

import functools
import statistics

from benchmarks import measuring

DATA = (", tf.data", ", PyDataset")
PROGRAMS = (
    "mlp",
    "table",
    "two inputs",
    "cnn",
    "lstm",
    "transformer",
    "autoencoder",
    "recommender",
    "own train_step",
    "MobileNetV2",
)
ROWS = (*PROGRAMS, *(f"{name}{data}" for name in ("mlp", "table") for data in DATA))
KERAS = ("keras.Model", "keras.Model, 20 steps")
WAYS = (*KERAS, "TapeModel", "TapeModel, 3 callbacks")


def summary(seconds):
    """{way: the median of its ratios to the better of Keras's ways in the same round}.

    >>> summary({"keras.Model": [2.0, 2.0], "keras.Model, 20 steps": [1.0, 4.0],
    ...          "TapeModel": [0.5, 1.0]})["TapeModel"]
    0.5
    """
    best = _best(seconds)
    return {way: measuring.ratios(values, of=best).median for way, values in seconds.items()}


def table(rows):
    """The Markdown table of {row: {way: seconds of each round}}."""
    return measuring.table(
        ["model, data", "ms of Keras's better epoch", *WAYS],
        [
            [row, f"{1000 * statistics.median(_best(found)):.0f}"]
            + [f"{summary(found)[way]:.2f}" for way in WAYS]
            for row, found in rows.items()
        ],
    )


def _best(seconds):
    return [min(pair) for pair in zip(*(seconds[way] for way in KERAS), strict=True)]


def main():
    """Measure, print the table, and write it as JSON."""
    parser = measuring.parser(__doc__, rounds=9)
    parser.add_argument("--epochs", type=int, default=2, help="epochs in a turn; default: 2")
    parser.add_argument("--only", default="", help="run only rows that begin with this")
    arguments = parser.parse_args()
    rows = {}
    for row in ROWS:
        if not row.startswith(arguments.only):
            continue
        contenders = {way: ("programs", f"{row}: {way}", arguments.data_dir) for way in WAYS}
        with measuring.running(contenders) as running:
            functions = {
                way: functools.partial(contender.seconds, arguments.epochs)
                for way, contender in running.items()
            }
            rows[row] = measuring.in_turns(functions, rounds=arguments.rounds)
    print(table(rows))
    measuring.write_json(arguments.results / "programs_table.json", {"seconds": rows})


if __name__ == "__main__":
    main()
