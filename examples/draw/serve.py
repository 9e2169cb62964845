"""A page to draw a digit on, or drop a photo, and see at once what a trained network reads.

    python examples/draw/serve.py logs/first

It serves only this machine and needs no other. The extra `examples` installs its requirements.
"""

import asyncio
import contextlib
import functools
import importlib.util
import os
import signal
import socket
import sys
import traceback

from mnist_keras.console.argument_parser import ArgumentParser, local_path_argument
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import notice
from mnist_keras.errors import MnistKerasError

HOST = "127.0.0.1"
DRAWING = {
    "types": ("image/png",),
    "most_bytes": 200_000,
    "most_bytes_at_once": 10_000_000,
    "most_seconds": 5,
}
PHOTO = {
    "types": ("image/", "application/octet-stream"),
    "most_bytes": 20_000_000,
    "most_bytes_at_once": 160_000_000,
    "most_seconds": 10,
}
DRAWING_PIXELS, PHOTO_PIXELS = 1_000_000, 60_000_000


def main(arguments):
    """Load the network and serve until interrupted."""
    if importlib.util.find_spec("aiohttp") is None:
        raise MnistKerasError(
            "the server needs one more library. Received: no aiohttp. "
            "Expected: pip install '.[examples]'."
        )
    with _listener(arguments.port) as listener:
        from reading import Reader, find_model
        from server import Question, serve

        path, loss = find_model(arguments.model)
        import_tensorflow(quiet=not arguments.debug)
        read = Reader(path, loss=loss).read
        questions = {
            "/drawing": Question(functools.partial(read, most_pixels=DRAWING_PIXELS), **DRAWING),
            "/photo": Question(
                functools.partial(read, most_pixels=PHOTO_PIXELS, with_preview=True), **PHOTO
            ),
        }
        address = f"http://{HOST}:{listener.getsockname()[1]}/"
        started = functools.partial(print, f"open {address} (Ctrl+C ends it)", flush=True)
        _run(serve(questions, listener, started=started, debug=arguments.debug))


def _run(serving):
    """Run until a signal, which ends the server between two of its steps and not amid one."""
    received = []

    async def until_signal():
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(serving)

        def end(number):
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, end, number)
        await task

    try:
        asyncio.run(until_signal())
    except asyncio.CancelledError:
        sys.exit(128 + received[0])


def _listener(port):
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        errno = getattr(error, "errno", None)
        raise MnistKerasError(
            "the port cannot be opened. "
            f"Received: --port={port}: {os.strerror(errno) if errno else error}. "
            "Expected: a free port; --port=0 takes any."
        ) from error


def _arguments():
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "model",
        type=local_path_argument,
        help="the directory of a finished run, or a .keras file",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port of the page; 0: any free port; default: 8000"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    try:
        signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
        main(arguments)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if arguments.debug:
            notice(traceback.format_exc().rstrip())
        message = str(error) if isinstance(error, MnistKerasError) else repr(error)
        notice(f"error: {' '.join(message.split())}")
        sys.exit(getattr(error, "exit_status", 1))
