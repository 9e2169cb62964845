"""Some of the programs of `programs`, with TensorFlow's threads set in several ways."""

import functools

import keras
import tensorflow as tf

from benchmarks.contenders import programs
from benchmarks.thread_settings import MODELS, ways
from mnist_keras import TapeModel
from mnist_keras.console import threads


def _in_parts(parts, inputs, outputs):
    return TapeModel(keras.Model(inputs, outputs), batch_parts=parts)


def _maker(model, setting, parts):
    def make(train):
        if setting is not None:
            between, within = setting
            tf.config.threading.set_inter_op_parallelism_threads(between)
            tf.config.threading.set_intra_op_parallelism_threads(within)
        base = TapeModel if parts == 1 else functools.partial(_in_parts, parts)
        return programs.fit(model, base)(train)

    return make


CONTENDERS = {
    f"{model}: keras.Model": programs.fit(model, keras.Model, steps=20) for model in MODELS
}
CONTENDERS |= {
    f"{model}: {way}": _maker(model, *settings)
    for model in MODELS
    for way, settings in ways(threads.count_cores()).items()
}
