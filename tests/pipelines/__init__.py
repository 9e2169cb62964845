"""The kinds of data that people feed to `fit`, each made anew by every process of a training.

A pipeline takes the arrays of a program and gives the keyword arguments of `fit`. It works for any
nesting of them.
"""

from tests.pipelines import (  # noqa: F401  # Each one adds its pipelines to the table.
    arrays,
    generators,
    grain_data,
    py_datasets,
    stream,
    tf_data,
    tf_data_randomness,
    torch_data,
)
from tests.pipelines.pipeline import PIPELINES, Pipeline

__all__ = ["PIPELINES", "Pipeline"]
