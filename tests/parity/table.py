"""All rows: what keras.Model accepts and TapeModel must compute equally."""

from tests.parity import data_rows, layer_rows, program_rows, structure_rows  # noqa: F401
from tests.parity.rows import ROWS

__all__ = ["ROWS"]
