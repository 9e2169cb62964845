"""What a checkpoint every 100 steps costs an epoch: ``python -m benchmarks.saving``.

Each way of saving takes turns with the same training without it; the ratio is the median over the
rounds.
"""

import argparse
import json
import statistics

from benchmarks.speed import OUTPUT, machine, measure

PAIRS = {
    "this package, Checkpoint": "this package",
    "Keras fit, ModelCheckpoint": "Keras fit",
    "Keras fit, BackupAndRestore": "Keras fit",
}


def main():
    """Measure, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data_dir", default="", help="where the IDX files lie")
    arguments = parser.parse_args()
    names = dict.fromkeys(name for pair in PAIRS.items() for name in reversed(pair))
    results = measure(
        [("saving", name) for name in names],
        rounds=arguments.rounds,
        data_dir=arguments.data_dir,
    )
    print("| a checkpoint every 100 steps | × the epoch without | least | greatest |")
    print("| --- | --- | --- | --- |")
    for name, without in PAIRS.items():
        ratios = [a / b for a, b in zip(results[name], results[without], strict=True)]
        figures = statistics.median(ratios), min(ratios), max(ratios)
        print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    OUTPUT.mkdir(exist_ok=True)
    report = {"machine": machine(), "seconds": results}
    (OUTPUT / "saving.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
