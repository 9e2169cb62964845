"""Compares an exported network with the Keras model that it was made from."""

import statistics
import time

import numpy as np

from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.errors import MnistKerasError

_BATCH_SIZE = 1000
_TOLERANCE = 1e-4  # Relative to the largest score: other runtimes add in another order.
_CALLS, _WARM_UP_CALLS = 200, 20


class Check:
    """The scores of a Keras model on a test set, and the comparison of other runtimes with them.

    Args:
        run: a function from uint8 images (n, 28, 28) to the model's scores (n, 10).
        test_set: `mnist_keras.data.Examples`.
        clock: a function that returns the time in seconds.

    Attributes:
        figures: the model's {"accuracy": on the test set, "one_image_s": the median seconds of a
            call with one image}.
    """

    def __init__(self, run, test_set, *, clock=time.perf_counter):
        self._images, self._labels = test_set.images, test_set.labels
        self._clock = clock
        self._scores = self._scores_of(run)
        self.figures = self._figures(run, self._scores)

    def compare(self, form, path):
        """Open an exported file or directory and compare its scores with the model's.

        Args:
            form: one of `mnist_keras.app.export_formats.FORMATS`.
            path: the exported file or directory.

        Returns:
            Its ``figures`` and "largest_difference", the largest difference of a score.

        Raises:
            MnistKerasError: the format is exact, but the scores differ.
        """
        run = form.open(path)
        scores = self._scores_of(run)
        difference = float(np.abs(scores - self._scores).max())
        most = _TOLERANCE * max(1.0, float(np.abs(self._scores).max()))
        if form.is_exact and not difference <= most:
            raise MnistKerasError(
                f"the export as {form.name} has other scores than the model and was deleted. "
                f"Received: a difference of {difference:.1e}. Expected: at most {most:.1e}."
            )
        return {"largest_difference": difference, **self._figures(run, scores)}

    def _scores_of(self, run):
        begins = range(0, len(self._images), _BATCH_SIZE)
        return np.concatenate([run(self._images[i : i + _BATCH_SIZE]) for i in begins])

    def _figures(self, run, scores):
        image, times = self._images[:1], []
        for _ in range(_WARM_UP_CALLS + _CALLS):
            begin = self._clock()
            run(image)
            times.append(self._clock() - begin)
        accuracy = float((scores.argmax(1) == self._labels).mean())
        return {"accuracy": accuracy, "one_image_s": statistics.median(times[_WARM_UP_CALLS:])}


def keras_runtime(network, *, description=MNIST):
    """A function from uint8 images (n, 28, 28) to a network's scores (n, 10).

    ``predict`` calls the same function, but takes longer, as it handles data sets.

    Args:
        network: the Keras model.
        description: the `mnist_keras.data.DatasetDescription` of the images.
    """
    import tensorflow as tf

    shape = (None, *description.image_shape)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def call(images):
        return network(images, training=False)

    return lambda images: call(description.preprocess(images)).numpy()
