"""Train a network on MNIST: ``python main.py --flagfile=flags.txt``; ``--help`` lists the flags."""

import importlib
import os
import signal
import sys
import traceback

from absl import app

from mnist_keras.app import flags
from mnist_keras.console.sigterm import exit_at_sigterm
from mnist_keras.console.terminal import notice, speak_as
from mnist_keras.distributed.cluster import speaker
from mnist_keras.errors import MnistKerasError


def main(config):
    """Do what the recipe says; an error becomes one line and an exit status."""
    try:
        exit_at_sigterm()
        # Imported here, because a mode imports what the others do not need.
        mode = importlib.import_module(f"mnist_keras.app.{config.mode}")
        sys.exit(getattr(mode, config.mode)(config))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if config.debug:
            notice(traceback.format_exc().rstrip())
        _fail(error)


def _parse(argv):
    try:
        return flags.parse(argv)
    except Exception as error:
        speak_as(speaker())
        _fail(error)


def _fail(error):
    message = str(error)
    if isinstance(error, BrokenPipeError):
        message = f"the output cannot be written. Received: {error}. Expected: an open stdout."
    elif not isinstance(error, MnistKerasError):
        first_line = str(error).strip().partition("\n")[0]
        message = f"{type(error).__name__}: {first_line}. --debug shows where."
    notice(f"error: {' '.join(message.splitlines())}")
    try:
        sys.stdout.flush()
    except OSError:  # Python would try once more when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(getattr(error, "exit_status", 1))


if __name__ == "__main__":
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # A closed one is None, and its number goes to the next file that is opened.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    flags.define()
    app.run(main, flags_parser=_parse)
