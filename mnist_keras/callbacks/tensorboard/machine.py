"""The software versions and the machine of a run."""

import platform

import keras
import tensorflow as tf

import mnist_keras


def versions():
    """{program: version}.

    >>> list(versions())
    ['mnist_keras', 'Keras', 'TensorFlow', 'Python']
    """
    return {
        "mnist_keras": mnist_keras.__version__,
        "Keras": keras.__version__,
        "TensorFlow": tf.__version__,
        "Python": platform.python_version(),
    }


def machine():
    """{property: text} of the machine: its system, name, processor and devices."""
    devices = tf.config.list_physical_devices()
    return {
        "system": platform.platform(),
        "name": platform.node(),
        "processor": platform.processor() or platform.machine(),
        "devices": ", ".join(device.name.removeprefix("/physical_device:") for device in devices),
    }
