"""A trained network as a ``.keras`` file; equal networks give equal bytes.

The file is a zip archive, whose ``config.json`` describes the layers.
"""

import gc
import io
import json
import math
import traceback
import zipfile

from mnist_keras.checkpoint.scratch import scratch_directory
from mnist_keras.errors import MnistKerasError
from mnist_keras.inputs.regular_file import open_regular

_FIRST = ("metadata.json", "config.json")
_WEIGHTS = "model.weights.h5"
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_MOST_TEXT_BYTES = 16 << 20  # Of each JSON file; a layer takes about 1 kB.
# Keras does not compress. Somebody else may, but weights hardly shrink.
_MOST_EXPANSION = 20
_MAY_EXPAND_TO_BYTES = 16 << 20


def model_file(network, *, near="model.keras"):
    """The bytes of the file that ``network.save("model.keras")`` writes, without its dates.

    ``keras.models.load_model`` opens the file. The dates are left out so that two runs with the
    same final network write the same file, and because a machine without a clock may have one
    before 1980, which an archive cannot hold.
    """
    written = io.BytesIO()
    with scratch_directory(near) as directory, zipfile.ZipFile(written, "w") as dateless:
        network.save(directory, zipped=False)
        files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        for path in sorted(files, key=_place):
            data, name = path.read_bytes(), path.relative_to(directory).as_posix()
            if name == "metadata.json":
                metadata = json.loads(data)
                metadata.pop("date_saved", None)
                data = json.dumps(metadata).encode()
            dateless.writestr(zipfile.ZipInfo(name, _NO_DATE), data)
    return written.getvalue()


def _place(path):
    """In the order of Keras."""
    return _FIRST.index(path.name) if path.name in _FIRST else len(_FIRST)


def open_model_file(path):
    """The network in a ``.keras`` file.

    A file that would take much more memory than its size is refused before it is unpacked.

    Raises:
        MnistKerasError: the file cannot be opened.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                _require_bounded(member)
            damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"{damaged} has another checksum")
            _require_bounded_weights(archive)
    except Exception as error:  # zipfile passes on those of other modules.
        raise _not_opened(path, error) from error
    import keras

    try:
        return keras.models.load_model(path)
    except Exception as error:  # Keras passes on the exceptions of zipfile, json and h5py.
        _forget_variables(error)
        raise _not_opened(path, error) from error


def require_shape(network, path, *, description, any_layout=False, error=MnistKerasError):
    """The shape of the images that a network takes, without the number of images.

    Args:
        network: a Keras model.
        path: its file, for the error.
        description: the `mnist_keras.data.description.DatasetDescription` of the images. They may
            have an axis of one channel.
        any_layout: whether the pixels may have any other layout, such as one axis.
        error: the type of the error.

    Raises:
        MnistKerasError: the network takes other images or gives other classes.
    """
    takes, gives = (getattr(network, f"{name}_shape", None) for name in ("input", "output"))
    shape, expected = takes[1:] if isinstance(takes, tuple) else (None,), description.image_shape
    fits = shape in (expected, (*expected, 1)) or (
        any_layout and None not in shape and math.prod(shape) == math.prod(expected)
    )
    if not fits or gives != (None, description.classes):
        raise error(
            f"{path} does not read digits. Received: a network from {takes} to {gives}. "
            f"Expected: from {(None, *expected)} to {(None, description.classes)}."
        )
    return shape


def _require_bounded(member):
    most = _most_bytes(member)
    if member.filename.endswith(".json"):
        most = _MOST_TEXT_BYTES
    if member.file_size > most:
        raise ValueError(f"{member.filename} of {member.file_size} bytes, more than {most}")


def _most_bytes(member):
    return max(_MAY_EXPAND_TO_BYTES, _MOST_EXPANSION * member.compress_size)


def _require_bounded_weights(archive):
    if _WEIGHTS not in archive.namelist():
        raise ValueError(f"no {_WEIGHTS}")
    # Imported here, because it takes a while.
    from mnist_keras.app.weights_file import require_bounded

    most_bytes = _most_bytes(archive.getinfo(_WEIGHTS))
    require_bounded(archive.read(_WEIGHTS), most_bytes=most_bytes)


def _not_opened(path, error):
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return MnistKerasError(
        f"{path} cannot be opened. Received: {' '.join(reason.split())}. "
        "Expected: the model that the run saved."
    )


def _forget_variables(error):
    """Free what the functions held that an exception left.

    h5py crashes if it closes its file when the interpreter has ended.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
