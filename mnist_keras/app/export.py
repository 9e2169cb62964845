"""``--mode=export``: writes a run's network in the formats of other programs and checks each file.

A file replaces an earlier one only after its own runtime has opened it and returned the scores of
the Keras model. An export that fails or is interrupted leaves the earlier files.
"""

import contextlib
import importlib.util
import json
import pathlib
import re

import numpy as np

from mnist_keras.app.evaluate import finished_run, open_model
from mnist_keras.app.export_check import Check, keras_runtime
from mnist_keras.app.export_formats import (
    CALIBRATION_IMAGES,
    FORMATS,
    SavedModel,
    in_float32,
    write_saved_model,
)
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.scratch import scratch_directory
from mnist_keras.console.start import import_tensorflow, stderr_held_back
from mnist_keras.console.terminal import notice, print_line
from mnist_keras.data.sharded import those_here
from mnist_keras.errors import MnistKerasError
from mnist_keras.inputs.file_lock import FileLock, LockHeldError
from mnist_keras.inputs.regular_file import sha256_of

FIGURES = "export.json"
_LOCK = ".lock"
# What TensorFlow writes for a SavedModel: directories and files.
_OF_SAVED_MODEL = re.compile(
    r"(?:assets|variables)/|fingerprint\.pb|saved_model\.pb|variables/variables\.[^/]+"
)


def export(config):
    """Write a run's network in some formats, check each and print one line about each.

    An exported network takes stored uint8 images (n, 28, 28), n from 1, and returns the network's
    float32 scores (n, 10). All formats except litert_int8 compute in float32.

    Files, in ``logs/RUN/export`` or ``--export_dir``: ``saved_model/``, ``model.tflite``,
    ``model_int8.tflite``, ``model.onnx``, and ``export.json`` with the printed figures.

    Args:
        config: a `mnist_keras.app.config.RunConfig` with the run's name.

    Raises:
        UsageError: the run has no model yet.
        DataError: the data set cannot be loaded.
        MnistKerasError: a library is missing, the model cannot be opened, a file cannot be written,
            or its scores differ from the model's.
    """
    run = finished_run(config)
    _require_packages(config.formats)
    directory = pathlib.Path(config.export_dir or run.exports)
    _require_own(directory, config.formats)
    from mnist_keras.data import load

    dataset = config.dataset if config.dataset != "auto" else run.stored_recipe()["dataset"]
    train_set, test_set = load(dataset, data_dir=config.data_dir)
    import_tensorflow(quiet=not config.debug)
    network = open_model(run)
    if config.dtype_policy != "float32":
        notice(
            f"the network computes in {config.dtype_policy}; the exported network computes in "
            "float32 and is compared with the same weights in float32."
        )
        network = in_float32(network)
    with _written_to(directory):
        runtime = keras_runtime(network, description=test_set.description)
        check = Check(runtime, test_set)
        figures = [{**_place("keras", run.model), **check.figures}]
        _print(figures[-1], config)
        images = np.asarray(those_here(train_set.images, train_set.labels)[0][:CALIBRATION_IMAGES])
        for name, found in _written(
            config, directory, network, images, check, description=test_set.description
        ):
            figures.append({**_place(name, directory / FORMATS[name].file_name), **found})
            _print(figures[-1], config)
        content = json.dumps({"model_sha256": sha256_of(run.model), "formats": figures}, indent=2)
        storage.write_file(directory / FIGURES, f"{content}\n".encode())


def _require_packages(names):
    needed = {name: dict(FORMATS[name].packages) for name in names}
    missing = {
        module: package
        for packages in needed.values()
        for module, package in packages.items()
        if importlib.util.find_spec(module) is None
    }
    if missing:
        at_hand = [
            name for name, packages in needed.items() if not missing.keys() & packages.keys()
        ]
        others = f", or --formats={','.join(at_hand)}" if at_hand else ""
        raise MnistKerasError(
            f"some of --formats need more libraries. Received: no {', '.join(missing)}. "
            f"Expected: pip install {' '.join(missing.values())}{others}."
        )


@contextlib.contextmanager
def _written_to(directory):
    """Create a directory and keep other exports out of it; an OSError becomes one line."""
    try:
        storage.make_directories(directory)
        with FileLock(directory / _LOCK):
            files = {FIGURES, *(form.file_name for form in FORMATS.values())}
            storage.remove_leftovers(directory, is_own=files.__contains__)
            yield
    except LockHeldError:
        raise MnistKerasError(
            f"another process is exporting. Received: {directory}. "
            "Expected: one at a time, or another --export_dir."
        ) from None
    except OSError as error:
        raise MnistKerasError(
            f"{directory} cannot be written. Received: {error.strerror or error}. "
            "Expected: a writable directory with free space; earlier exports are unchanged."
        ) from error


def _written(config, directory, network, images, check, *, description):
    """Write each format in turn; yields its name and the results of `Check.compare`."""
    with scratch_directory(directory / FORMATS[SavedModel.name].file_name) as scratch:
        saved_model = scratch / "saved_model"
        for name in config.formats:
            with contextlib.nullcontext() if config.debug else stderr_held_back():
                if not saved_model.exists():
                    write_saved_model(network, saved_model, description=description)

                def make(path, name=name):
                    FORMATS[name].write(path, saved_model, images)
                    return check.compare(FORMATS[name], path)

                path = directory / FORMATS[name].file_name
                found = storage.build(path, make)
            yield name, found


def _require_own(directory, names):
    """Refuse to replace anything but the files of an earlier export."""
    other = next(_others(directory, names), None)
    if other is not None:
        raise MnistKerasError(
            f"an export would replace other files. Received: {other}. "
            "Expected: an earlier export there, or another --export_dir."
        )


def _others(directory, names):
    for name in names:
        path = directory / FORMATS[name].file_name
        is_directory = name == SavedModel.name
        if path.exists() and not (path.is_dir() if is_directory else path.is_file()):
            yield path
        elif is_directory:
            yield from (entry for entry in path.rglob("*") if not _is_of(path, entry))
    figures = directory / FIGURES
    if figures.exists() and not figures.is_file():
        yield figures


def _is_of(saved_model, path):
    name = path.relative_to(saved_model).as_posix()
    return _OF_SAVED_MODEL.fullmatch(f"{name}/" if path.is_dir() else name) is not None


def _place(name, path):
    files = [path, *path.rglob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return {"format": name, "path": str(path), "bytes": size}


def _print(figures, config):
    print_line(json.dumps(figures) if config.json else _as_text(figures))


def _as_text(figures):
    """One line about a format.

    >>> _as_text({"format": "onnx", "path": "a/model.onnx", "bytes": 2143088, "accuracy": 0.9203,
    ...           "largest_difference": 1.31e-06, "one_image_s": 2.72e-05})
    'onnx: a/model.onnx 2.14 MB largest difference: 1.3e-06 accuracy: 0.9203 one image: 0.027 ms'
    """
    words = [
        f"{figures['format']}: {figures['path']} {figures['bytes'] / 1e6:.2f} MB",
        f"accuracy: {figures['accuracy']:.4f} one image: {figures['one_image_s'] * 1e3:.3f} ms",
    ]
    if "largest_difference" in figures:
        words.insert(1, f"largest difference: {figures['largest_difference']:.1e}")
    return " ".join(words)
