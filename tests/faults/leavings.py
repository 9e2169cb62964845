"""All results of a finished training, collected without the package's own code, and compared."""

import collections
import types
import weakref

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator
from keras.src.saving.keras_saveable import KerasSaveable
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

# Objects of these packages hold no state of the program.
_CLOSED = ("keras", "tensorflow", "numpy", "mnist_keras", "torch", "grain", "builtins")
_WITHOUT_STATE = (type, types.ModuleType, types.FunctionType, types.MethodType, weakref.ref)


def variables_of(model):
    """Every variable that the model, its layers or its attributes hold, as arrays.

    That includes the variables of every optimizer, seed generator and ``tf.random.Generator``,
    wherever they are held, and Keras's global seed generator.

    Returns:
        ({path: array}, the same for metrics only).
    """
    all_found, found_in_metrics, seen = {}, {}, set()

    def visit(value, path, found=all_found):
        if isinstance(value, _WITHOUT_STATE) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, keras.metrics.Metric):
            found = found_in_metrics
        if isinstance(value, (keras.Variable, tf.Variable)):
            found[f"{path} ({getattr(value, 'path', value.name)})"] = _array(value)
        elif isinstance(value, tf.random.Generator):
            found[path] = value.state.numpy()
        elif isinstance(value, collections.abc.Mapping):
            for key in value:
                visit(value[key], f"{path}[{key!r}]", found)
        elif isinstance(value, (list, tuple, collections.deque)):
            for number, item in enumerate(value):
                visit(item, f"{path}[{number}]", found)
        elif _is_open(value):
            # Names given by the program come first.
            for name in sorted(vars(value), key=lambda name: (name.startswith("_"), name)):
                visit(vars(value)[name], f"{path}.{name}", found)

    visit(model, "model")
    all_found["keras.random"] = _array(global_seed_generator().state)
    return all_found, found_in_metrics


def _is_open(value):
    if not hasattr(value, "__dict__") or isinstance(value, keras.callbacks.Callback):
        return False
    if isinstance(value, (KerasSaveable, keras.random.SeedGenerator, tf.Module)):
        return True
    return type(value).__module__.partition(".")[0] not in _CLOSED


def _array(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def points_in(directory):
    """{tag: [(step, value), ...]} of the event files, as in TensorBoard, without rates."""
    points = {}
    for part in ("train", "validation"):
        if not (directory / part).is_dir():
            continue
        accumulator = EventAccumulator(str(directory / part), size_guidance={"tensors": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["tensors"]:
            events = accumulator.Tensors(tag)
            points[f"{part}/{tag}"] = [(e.step, make_ndarray(e.tensor_proto)) for e in events]
    points.pop("train/examples_per_second", None)
    return points


def differences(found, expected):
    """Lines that describe the differences of two trainings' results, to the bit."""
    lines = []
    for name in {**expected, **found}:
        if name not in found:
            lines.append(f"{name} is missing")
        elif name not in expected:
            lines.append(f"{name} is left over")
        elif _bytes(found[name]) != _bytes(expected[name]):
            lines.append(f"{name}{_where(found[name], expected[name])}")
    return lines


def _bytes(value):
    """The bytes of a value, equal for equal values; a NaN is equal to itself."""
    if isinstance(value, (list, tuple)):
        return [_bytes(item) for item in value]
    if isinstance(value, dict):
        return {key: _bytes(item) for key, item in value.items()}
    array = np.asarray(value)
    return array.dtype.str, array.shape, array.tobytes()


def _where(found, expected):
    """Where two values start to differ, or by how much."""
    if isinstance(found, list) and isinstance(expected, list):
        pairs = zip(found, expected, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if _bytes(a) != _bytes(b)), None)
        if first is None:
            return f" has {len(found)} entries for {len(expected)}"
        return f"[{first}] is {_plain(found[first])} for {_plain(expected[first])}"
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or found.dtype.kind not in "fiu":
        return " differs"
    return f" differs by {np.abs(found.astype('f8') - expected.astype('f8')).max():.3g}"


def _plain(value):
    return tuple(map(_plain, value)) if isinstance(value, tuple) else np.asarray(value).tolist()
