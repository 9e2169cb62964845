"""Compare settings of TensorFlow's threads: ``python -m benchmarks.thread_settings``.

A setting is a number of threads between operations and within one. Each is tried with every batch
in one part, and the first one also with a part for each core. The contenders of a model take turns,
each in its own process. A row shows the time of an epoch as a multiple of that with TensorFlow's
own setting, in the same round: the median over the rounds.
"""

import functools
import statistics
import sys

from benchmarks import measuring
from mnist_keras.console import threads

MODELS = ("mlp", "table", "cnn", "lstm", "transformer", "autoencoder", "MobileNetV2")
_NOT_CUT = ("MobileNetV2",)  # It normalizes over the batch.
KERAS, DEFAULT = "keras.Model", "TensorFlow's setting"


def ways(cores):
    """{way: ((threads between operations, threads within one) or None, parts of a batch)}.

    >>> for way, (setting, parts) in ways(4).items():
    ...     print(way, setting, parts)
    TensorFlow's setting None 1
    4 between, 1 within (4, 1) 1
    2 between, 2 within (2, 2) 1
    4 between, 1 within, 4 parts (4, 1) 4
    """
    found = {DEFAULT: (None, 1)}
    between = cores
    while between > 1:
        within = max(1, cores // between)
        found[f"{between} between, {within} within"] = ((between, within), 1)
        between //= 2
    found[f"{cores} between, 1 within, {cores} parts"] = ((cores, 1), cores)
    return found


def table(rows):
    """The Markdown table of {model: {way: seconds of each round}}."""
    titles = list(dict.fromkeys(way for found in rows.values() for way in found))
    return measuring.table(
        ["model", "ms of an epoch", *titles],
        [
            [model, f"{1000 * statistics.median(found[DEFAULT]):.0f}"]
            + [_ratio(found, way) for way in titles]
            for model, found in rows.items()
        ],
    )


def _ratio(found, way):
    if way not in found:
        return "–"
    return f"{measuring.ratios(found[way], of=found[DEFAULT]).median:.2f}"


def main():
    """Measure, print the table, and write it as JSON."""
    parser = measuring.parser(__doc__, rounds=9)
    parser.add_argument("--epochs", type=int, default=2, help="epochs in a turn; default: 2")
    parser.add_argument("--only", default="", help="run only models that begin with this")
    arguments = parser.parse_args()
    settings = ways(threads.count_cores())
    rows = {}
    for model in MODELS:
        if not model.startswith(arguments.only):
            continue
        names = [way for way in settings if settings[way][1] == 1 or model not in _NOT_CUT]
        contenders = {
            way: ("thread_settings", f"{model}: {way}", arguments.data_dir)
            for way in (KERAS, *names)
        }
        with measuring.running(contenders) as running:
            functions = {
                way: functools.partial(contender.seconds, arguments.epochs)
                for way, contender in running.items()
            }
            rows[model] = measuring.in_turns(functions, rounds=arguments.rounds)
            print(table({model: rows[model]}).splitlines()[-1], file=sys.stderr)
    print(table(rows))
    measuring.write_json(arguments.results / "thread_settings.json", {"seconds": rows})


if __name__ == "__main__":
    main()
