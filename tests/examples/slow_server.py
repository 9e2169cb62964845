"""The server of the page, with a network whose reading of a picture only a cancellation ends."""

import pathlib
import runpy
import sys
import time

from mnist_keras.console import start
from mnist_keras.inputs.deadline import DeadlineError

SERVE = pathlib.Path(__file__).parent.parent.parent / "examples" / "draw" / "serve.py"


class Reader:
    """Says that it has begun, and works until it is cancelled."""

    def __init__(self, path, *, loss):
        """Takes what the page's own reader takes."""

    def read(self, data, *, deadline, **limits):
        """Never returns."""
        print("reading", flush=True)
        while True:
            try:
                deadline.check()
            except DeadlineError as error:
                if str(error) == "cancelled":
                    raise
            time.sleep(0.01)


if __name__ == "__main__":
    sys.path.insert(0, str(SERVE.parent))
    import reading

    reading.Reader, reading.find_model = Reader, lambda path: (path, None)
    start.import_tensorflow = lambda **settings: None
    runpy.run_path(str(SERVE), run_name="__main__")
