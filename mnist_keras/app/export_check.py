"""What an exported network gives, beside the Keras model that it was made from."""

import statistics
import time

import numpy as np

from mnist_keras.errors import MnistKerasError

_BATCH_SIZE = 1000
_TOLERANCE = 1e-4  # Of the greatest score: sums are taken in another order.
_CALLS, _WARM_UP_CALLS = 200, 20


class Check:
    """The scores of a Keras model on a test set, and how others compare with them.

    Args:
        run: a function of uint8 images (n, 28, 28) that gives the model's scores (n, 10).
        test_set: `mnist_keras.data.Examples`.
        clock: the time in seconds.

    Attributes:
        figures: of the model itself, {"accuracy": on the test set, "one_image_s": the seconds that
            a call with one image takes, a median}.
    """

    def __init__(self, run, test_set, *, clock=time.perf_counter):
        self._images, self._labels = test_set.images, test_set.labels
        self._clock = clock
        self._scores = self._scores_of(run)
        self.figures = self._figures(run, self._scores)

    def compare(self, form, path):
        """Open what was written and compare it.

        Args:
            form: one of `mnist_keras.app.export_formats.FORMATS`.
            path: what it has written.

        Returns:
            ``figures`` of it, and "largest_difference" of any score from the model's.

        Raises:
            MnistKerasError: it is to give the model's scores and gives others.
        """
        run = form.open(path)
        scores = self._scores_of(run)
        difference = float(np.abs(scores - self._scores).max())
        most = _TOLERANCE * max(1.0, float(np.abs(self._scores).max()))
        if form.is_exact and not difference <= most:
            raise MnistKerasError(
                f"what was exported as {form.name} gives other scores than the model; it was not "
                f"kept. Received: a difference of {difference:.1e}. Expected: at most {most:.1e}."
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


def keras_runtime(network):
    """A function of uint8 images (n, 28, 28) that gives a network's scores (n, 10).

    It is what ``predict`` calls, without what ``predict`` does besides for data sets.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 28, 28), tf.float32)], autograph=False)
    def call(images):
        return network(images, training=False)

    return lambda images: call(images / np.float32(255)).numpy()
