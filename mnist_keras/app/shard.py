"""Cut a data set into many files: ``python -m mnist_keras.shard --to=DIR --count=8``.

The training images are cut into COUNT shards, as IDX or TFRecord files; the test images stay in one
shard. Pass the directory as ``--data_dir`` to main.py. Each machine needs all shards, or with
``--data_partitions`` only the shards of its own worker.
"""

import signal
import sys

from mnist_keras.console.argument_parser import ArgumentParser, local_path_argument
from mnist_keras.console.terminal import notice
from mnist_keras.errors import MnistKerasError


def main(arguments=None):
    """Read the data set, write its shards, and return the exit status."""
    from mnist_keras.data import load, write_shards
    from mnist_keras.data.datasets.catalog import NAMES
    from mnist_keras.data.formats.shard_files import FORMATS

    parser = ArgumentParser(prog="python -m mnist_keras.shard", description=__doc__)
    parser.add_argument("--to", required=True, type=local_path_argument, help="directory to write")
    parser.add_argument(
        "--count", type=int, required=True, help="number of shards of the training images"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="file format; default: idx"
    )
    parser.add_argument(
        "--dataset", choices=NAMES, default="mnist", help="data set; default: mnist"
    )
    parser.add_argument(
        "--data_dir",
        type=local_path_argument,
        help="directory of the data set; default: as in main.py",
    )
    options = parser.parse_args(arguments)
    try:
        train, test = load(options.dataset, data_dir=options.data_dir)
        write_shards(options.to, train, count=options.count, form=options.format, test=test)
    except MnistKerasError as error:
        notice(f"error: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
