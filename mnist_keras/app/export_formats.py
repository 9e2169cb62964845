"""The formats of other programs: each writes a network and opens it with its own runtime.

An exported network takes stored uint8 images (n, 28, 28), n from 1, under the name ``images``, and
returns the network's float32 scores (n, 10), under the name ``scores``.
"""

import pathlib
import shutil

from mnist_keras.data.datasets.descriptions import MNIST

CALIBRATION_IMAGES = 60_000
_OPSET = 18  # ONNX Runtime supports it since 1.14.


class SavedModel:
    """TensorFlow's format, a directory: for TensorFlow Serving and for converters."""

    name, file_name, is_exact = "saved_model", "saved_model", True
    packages = ()

    def write(self, path, saved_model, images):
        """Write the file or the directory.

        Args:
            path: the path to write to, which does not exist yet.
            saved_model: the network as a SavedModel directory.
            images: uint8 (n, 28, 28), some of the training images.
        """
        del images
        shutil.copytree(saved_model, path)

    def open(self, path):
        """A function from images (n, 28, 28) to scores (n, 10), with the format's runtime."""
        import tensorflow as tf

        loaded = tf.saved_model.load(path)

        def run(images):
            # A reference to ``loaded`` keeps its variables alive; the signature alone does not.
            signature = loaded.signatures["serving_default"]
            return signature(images=tf.constant(images))["scores"].numpy()

        return run


class LiteRT:
    """A ``.tflite`` file for LiteRT, formerly TensorFlow Lite: phones, browsers, single boards."""

    name, file_name, is_exact = "litert", "model.tflite", True
    packages = (("ai_edge_litert", "ai-edge-litert"),)

    def write(self, path, saved_model, images):
        """As `SavedModel.write`."""
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
        self._set(converter, images)
        pathlib.Path(path).write_bytes(converter.convert())

    def open(self, path):
        """As `SavedModel.open`."""
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path)).get_signature_runner()
        return lambda images: runner(images=images)["scores"]

    def _set(self, converter, images):
        """Set the options of TensorFlow's converter."""


class LiteRTInt8(LiteRT):
    """LiteRT with 8-bit weights and activations: a quarter of the size, with other scores."""

    name, file_name, is_exact = "litert_int8", "model_int8.tflite", False

    def _set(self, converter, images):
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: (
            {"images": images[i : i + 1]} for i in range(len(images))
        )


class ONNX:
    """An ``.onnx`` file for ONNX Runtime and many other runtimes."""

    name, file_name, is_exact = "onnx", "model.onnx", True
    packages = (("tf2onnx", "tf2onnx"), ("onnxruntime", "onnxruntime"))

    def write(self, path, saved_model, images):
        """As `SavedModel.write`."""
        import tensorflow as tf
        import tf2onnx

        loaded = tf.saved_model.load(saved_model)
        signature = _signature(images.shape[1:])
        model, _ = tf2onnx.convert.from_function(loaded.serve, signature, opset=_OPSET)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        pathlib.Path(path).write_bytes(model.SerializeToString())

    def open(self, path):
        """As `SavedModel.open`."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: session.run(["scores"], {"images": images})[0]


FORMATS = {form.name: form for form in (SavedModel(), LiteRT(), LiteRTInt8(), ONNX())}


def write_saved_model(network, path, *, description=MNIST):
    """Write a network and its preprocessing as a SavedModel, which takes stored uint8 images.

    Args:
        network: a Keras model of preprocessed images.
        path: the directory to write to.
        description: the `mnist_keras.data.DatasetDescription` of the images.
    """
    import tensorflow as tf

    def serve(images):
        return {"scores": network(description.preprocess(images), training=False)}

    module = tf.Module()
    module.weights = [variable.value for variable in network.variables]
    module.serve = tf.function(serve, input_signature=_signature(description.image_shape))
    tf.saved_model.save(module, path, signatures=module.serve)


def _signature(image_shape):
    import tensorflow as tf

    return [tf.TensorSpec((None, *image_shape), tf.uint8, name="images")]


def in_float32(network):
    """A copy of a network whose layers compute in float32, whatever their dtype policy is."""
    import keras

    def in_full(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(network, clone_function=in_full)
    clone.set_weights(network.get_weights())
    return clone
