"""Train a network on MNIST: ``python main.py --flagfile=flags.txt``; ``--help`` lists the flags."""

import signal
import sys

from absl import app
from absl import flags as absl_flags

from mnist_keras import flags
from mnist_keras.errors import MnistKerasError


def main(config):
    """Do what the recipe says; its errors become one line and an exit status."""
    try:
        signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
        if config.mode == "evaluate":
            from mnist_keras.evaluation import evaluate

            evaluate(config)
        else:
            from mnist_keras.training import train

            train(config)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except MnistKerasError as error:
        if config.debug:
            raise
        _fail(error)


def _parse(argv):
    try:
        return flags.parse(argv)
    except MnistKerasError as error:
        _fail(error)


def _fail(error):
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


if __name__ == "__main__":
    flags.define()
    absl_flags.adopt_module_key_flags(flags)
    app.run(main, flags_parser=_parse)
