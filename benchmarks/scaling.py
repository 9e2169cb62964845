"""Measure speed and memory for larger and larger data: ``python -m benchmarks.scaling``.

The data set is repeated in IDX files in a temporary directory. The files are read or mapped as in
``main.py``, with all callbacks. Each contender is a separate process. The contenders take turns. A
turn trains on as many images as ten epochs of the original data set, but at least for one epoch.
The part of a large file that fits into memory is in the page cache. Anonymous memory is the memory
that no file backs.
"""

import functools
import pathlib
import shutil
import statistics
import sys
import tempfile

from benchmarks import measuring
from benchmarks.memory import memory_mib, sampled_mib
from benchmarks.repeated_data import those_that_fit, write_repeated
from mnist_keras.data import load

EPOCHS = 10
ORDERS = ("file order", "shuffled")
TIMES, BATCH_SIZES = (1, 10, 100), (50, 200, 1000, 5000)


def members(directories, *, count, batch_sizes, data_dir):
    """{label: (arguments of `measuring.Contender`, images in an epoch, epochs in a turn)}.

    Args:
        directories: {times: directory of the data set repeated that many times}.
        count: images in the original data set.
        batch_sizes: to compare.
        data_dir: the directory of the original data set; None: it is searched.
    """
    of_sizes = {
        f"{times * count:,} images, {order}": (
            ("scaled", order, str(directory)),
            times * count,
            max(1, EPOCHS // times),
        )
        for times, directory in directories.items()
        for order in ORDERS
    }
    of_batches = {
        f"{count:,} images, batches of {size}": (
            ("scaled", f"batch size {size}", data_dir),
            count,
            EPOCHS,
        )
        for size in batch_sizes
    }
    return {**of_sizes, **of_batches}


def turn(contender, *, images, epochs):
    """One turn: {"images_per_second", "anonymous_mib", "peak_mib"}."""
    with sampled_mib(contender.pid, "RssAnon") as samples:
        seconds = contender.seconds(epochs)
    return {
        "images_per_second": images / seconds,
        "anonymous_mib": max(samples),
        "peak_mib": memory_mib(contender.pid, "VmHWM"),
    }


def speeds(turns):
    """The `measuring.Spread` of their images per second."""
    return measuring.spread([turn["images_per_second"] for turn in turns])


def table(results, *, count):
    """{label: turns} as a Markdown table; ``count``: images in the original data set."""
    rows = []
    for label, turns in results.items():
        speed = speeds(turns)
        rows.append(
            [
                label,
                f"{speed.median:,.0f}",
                f"{speed.least:,.0f} – {speed.greatest:,.0f}",
                f"{count / speed.median:.2f}",
                f"{max(turn['anonymous_mib'] for turn in turns):.0f}",
                f"{statistics.median(turn['peak_mib'] for turn in turns):.0f}",
            ]
        )
    of_all = f"s for {count:,}"
    titles = ["trained on", "images/s", "least – greatest", of_all, "anonymous MiB", "peak MiB"]
    return measuring.table(titles, rows)


def write_data_sets(parent, train, test, *, times):
    """{times: directory below ``parent`` of the data set repeated that many times}.

    Prints their disk space; omits data sets that do not fit.
    """
    bytes_each, free_bytes = (
        train.images.nbytes + test.images.nbytes,
        shutil.disk_usage(parent).free,
    )
    fitting, taken = those_that_fit(times, bytes_each=bytes_each, free_bytes=free_bytes)
    print(f"{parent}: {taken:,} of {free_bytes:,} free bytes will be used", file=sys.stderr)
    directories = {}
    for factor in times:
        if factor in fitting:
            directories[factor] = pathlib.Path(parent, str(factor))
            write_repeated(directories[factor], train, test, times=factor)
        else:
            measuring.leave_out(f"{factor * len(train):,} images", "too large for the disk")
    return directories


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    parser = measuring.parser(__doc__, rounds=3)
    parser.add_argument("--times", type=int, nargs="*", default=TIMES)
    parser.add_argument("--batch_sizes", type=int, nargs="*", default=BATCH_SIZES)
    arguments = parser.parse_args()
    train, test = load(data_dir=arguments.data_dir)
    with tempfile.TemporaryDirectory() as parent:
        contenders = members(
            write_data_sets(parent, train, test, times=arguments.times),
            count=len(train),
            batch_sizes=arguments.batch_sizes,
            data_dir=arguments.data_dir,
        )
        starting = {label: member[0] for label, member in contenders.items()}
        with measuring.running(starting) as running:
            functions = {}
            for label, contender in running.items():
                _, images, epochs = contenders[label]
                functions[label] = functools.partial(turn, contender, images=images, epochs=epochs)
            results = measuring.in_turns(functions, rounds=arguments.rounds)
    print(table(results, count=len(train)))
    measuring.write_json(arguments.results / "scaling.json", {"turns": results})
    measuring.bars(
        {label: speeds(turns) for label, turns in results.items()},
        arguments.results / "scaling.png",
        label="images per second",
    )


if __name__ == "__main__":
    main()
