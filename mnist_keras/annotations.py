"""Types that many signatures name."""

import os
from typing import Any

StrPath = str | os.PathLike[str]
Logs = dict[str, Any] | None  # what Keras hands to a callback
Box = tuple[int, int, int, int]  # x, y, width, height
