"""The kinds of data for `fit`; every process of a training makes its data again.

A pipeline takes a program's arrays and returns the keyword arguments of `fit`. It works for any
nesting of them.
"""

from tests.pipelines import (  # noqa: F401  # Each module adds its pipelines to the table.
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
