"""A finished run as one page that can be sent to somebody: report.html."""

from mnist_keras.app.report.page import render
from mnist_keras.app.report.run_facts import run_facts

__all__ = ["render", "run_facts"]
