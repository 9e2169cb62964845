"""All rows: what keras.Model takes, and what TapeModel has to come to with it as well."""

from tests.parity import data_rows, layer_rows, program_rows, structure_rows  # noqa: F401
from tests.parity.rows import ROWS

__all__ = ["ROWS"]
