"""report.html: one self-contained page about a finished run."""

from mnist_keras.app.report.page import render
from mnist_keras.app.report.run_facts import run_facts

__all__ = ["render", "run_facts"]
