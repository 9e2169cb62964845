"""Measure the cost of a checkpoint every 100 steps: ``python -m benchmarks.saving``.

Each way of saving alternates with the same training without it. The ratio is the median over the
rounds.
"""

from benchmarks import measuring

PAIRS = {
    "this package, Checkpoint": "this package",
    **{
        f"TapeModel, {data}, Checkpoint": f"TapeModel, {data}"
        for data in ("arrays", "tf.data, shuffle(1000), prefetch", "PyDataset")
    },
    "Keras fit, ModelCheckpoint": "Keras fit",
    "Keras fit, BackupAndRestore": "Keras fit",
}


def table(results):
    """The Markdown table of {name: seconds of each round}."""
    rows = []
    for name, without in PAIRS.items():
        if name not in results or without not in results:  # It cannot run here.
            continue
        ratios = measuring.ratios(results[name], of=results[without])
        rows.append([name, *(f"{figure:.3f}" for figure in ratios)])
    titles = ["a checkpoint every 100 steps", "× the epoch without", "least", "greatest"]
    return measuring.table(titles, rows)


def main():
    """Measure, print the table, and write it as JSON."""
    arguments = measuring.parser(__doc__, rounds=15).parse_args()
    names = dict.fromkeys(name for pair in PAIRS.items() for name in reversed(pair))
    contenders = {name: ("saving", name, arguments.data_dir) for name in names}
    with measuring.running(contenders) as running:
        functions = {name: contender.seconds for name, contender in running.items()}
        results = measuring.in_turns(functions, rounds=arguments.rounds)
    print(table(results))
    measuring.write_json(arguments.results / "saving.json", {"seconds": results})


if __name__ == "__main__":
    main()
