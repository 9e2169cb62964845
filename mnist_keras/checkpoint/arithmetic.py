"""What decides the bits of a computation besides the program: versions, processor, threads."""

import functools
import hashlib
import importlib
from collections.abc import Mapping

import keras
import numpy as np

from mnist_keras.checkpoint import backends

_DEVICE = "device"
_RESULTS = "results"


@functools.cache
def arithmetic() -> Mapping[str, str]:
    """{"keras": version, the backend's name: version, "device", "results"}.

    On TensorFlow there is the device, "CPU" or "GPU". On a CPU, the results are a hash of what a
    dense layer and a convolution with their gradients give in float32. They depend on the
    processor's instructions, ``TF_ENABLE_ONEDNN_OPTS`` and the number of threads. A GPU's results
    may vary from run to run, so they are left out.

    >>> [*arithmetic()]
    ['keras', 'tensorflow', 'device', 'results']
    """
    versions = {"keras": keras.__version__}
    versions[backends.name()] = importlib.import_module(backends.name()).__version__
    if backends.is_tensorflow():
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return {**versions, _DEVICE: "GPU"}
        return {**versions, _DEVICE: "CPU", _RESULTS: _hash_of_results()}
    return versions


def changes(saved: Mapping[str, str] | None) -> list[str]:
    """The reasons why this process may compute other bits than the one that saved a checkpoint.

    Args:
        saved: what `arithmetic` returned there; None: unknown.

    >>> changes(arithmetic())
    []
    >>> changes({**arithmetic(), "keras": "3.14.0"})[0].partition(", and is ")[0]
    'keras was 3.14.0 when the checkpoint was written'
    """
    lines = []
    now = arithmetic()
    for name, value in (saved or {}).items():
        if value == now.get(name, value):
            continue
        if name == _DEVICE:
            lines.append(
                f"the training was on a {value} when the checkpoint was written, and is on a "
                f"{now[name]} now; resume on a {value}"
            )
        elif name == _RESULTS:
            lines.append(
                "this processor computes other bits than the one of the checkpoint; use as many "
                "threads, the same TF_ENABLE_ONEDNN_OPTS and a processor with the same instructions"
            )
        else:
            lines.append(
                f"{name} was {value} when the checkpoint was written, and is {now[name]} now; "
                f"pip install {name}=={value}"
            )
    return lines


def _hash_of_results():
    import tensorflow as tf

    draw = np.random.default_rng(0).standard_normal
    shapes = [(100, 300), (300, 100), (16, 12, 12, 4), (3, 3, 4, 8)]
    x, dense, images, kernel = (tf.constant(draw(shape), tf.float32) for shape in shapes)
    with tf.device("CPU"), tf.GradientTape() as tape:
        tape.watch([dense, kernel])
        scores = tf.nn.softmax(tf.tanh(x @ dense))
        maps = tf.nn.conv2d(images, kernel, 1, "SAME")
        loss = tf.reduce_sum(scores**2) + tf.reduce_sum(maps**2)
    results = [scores, maps, *tape.gradient(loss, [dense, kernel])]
    return hashlib.sha256(b"".join(result.numpy().tobytes() for result in results)).hexdigest()
