"""The hyperparameters of a run, read from the event files that `HParams` wrote."""

import contextlib
import pathlib

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import metadata

from mnist_keras.annotations import StrPath
from mnist_keras.data.formats.record_framing import records_in
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import open_regular


def hyperparameters(logdir: StrPath) -> dict[str, str] | None:
    """The hyperparameters that `mnist_keras.callbacks.HParams` wrote; needs no TensorFlow.

    Args:
        logdir: the run's directory.

    Returns:
        {name: text}, sorted by name; None: the run has not written any.

    Example:

    >>> import tempfile
    >>> print(hyperparameters(tempfile.mkdtemp()))
    None
    """
    paths = pathlib.Path(local_path(logdir)).glob("events.out.tfevents.*")
    for path in sorted(path for path in paths if path.is_file()):
        with open_regular(path) as file:
            for _, _, record in records_in(file):
                with contextlib.suppress(DecodeError):  # Damaged, as the file may be.
                    for value in Event.FromString(record).summary.value:
                        if value.tag == metadata.SESSION_START_INFO_TAG:
                            return _texts(value.metadata.plugin_data.content)
    return None


def _texts(content):
    start = metadata.parse_session_start_info_plugin_data(content)
    return {name: _text(value) for name, value in sorted(start.hparams.items())}


def _text(value):
    kind = value.WhichOneof("kind")
    if kind == "number_value":  # HParams has no integers.
        return f"{value.number_value:.15g}"
    return str(value.bool_value).lower() if kind == "bool_value" else value.string_value
