"""Train a network on MNIST: ``python main.py --flagfile=flags.txt``; ``--help`` lists the flags."""

try:
    from mnist_keras.console.exit_signals import exit_at_once, exit_at_signals, ignore_the_rest
    from mnist_keras.console.library_warnings import show_instead_of_raising

    if __name__ == "__main__":
        exit_at_once()  # Before the other imports, which take a while.
        show_instead_of_raising()
except KeyboardInterrupt:  # Ctrl-C before that would show a traceback.
    raise SystemExit(130) from None

import importlib
import os
import sys
import traceback

from absl import app

from mnist_keras.app import flags
from mnist_keras.console.terminal import drop_unwritten, notice, speak_as
from mnist_keras.distributed.cluster import speaker
from mnist_keras.errors import MnistKerasError


def main(config):
    """Do what the recipe says; an error becomes one line and an exit status."""
    try:
        exit_at_signals()
        # Imported here, because a mode imports what the others do not need.
        mode = importlib.import_module(f"mnist_keras.app.{config.mode}")
        sys.exit(getattr(mode, config.mode)(config))
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
    if not isinstance(error, MnistKerasError):
        first_line = str(error).strip().partition("\n")[0]
        message = f"{type(error).__name__}: {first_line}. --debug shows where."
    notice(f"error: {' '.join(message.splitlines())}")
    sys.exit(getattr(error, "exit_status", 1))


if __name__ == "__main__":
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # A closed one is None, and its number goes to the next file that is opened.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    try:
        flags.define()
        app.run(main, flags_parser=_parse)
    finally:
        drop_unwritten()
        ignore_the_rest()
