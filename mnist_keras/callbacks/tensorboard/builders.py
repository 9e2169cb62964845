"""Summaries of images, figures, text, audio and numbers, for TensorBoard's dashboards.

`EventCallback` has a method for each. An `EveryEpochsCallback` yields them from ``summaries()``.
"""

import io
import math
import sys
import wave
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.audio import metadata as audio_metadata
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.errors import UsageError

_CHANNELS = (1, 3)
_ROUNDING = 1 / 510  # Half a shade of gray; results of a sigmoid or a resize may be off by that.


def image(tag: str, image: npt.ArrayLike, *, description: str = "") -> Summary:
    """One image, pixel for pixel.

    Args:
        tag: its name in the images dashboard.
        image: (height, width) or (height, width, channels) with 1 or 3 channels; uint8, bool, or
            floats from 0 to 1, where NaN is black.
        description: Markdown, shown beside the image.

    Raises:
        UsageError: it has another shape, another dtype, or floats outside 0 to 1.

    Example:

    >>> image("noise", np.random.default_rng(0).random((28, 28))).value[0].tag
    'noise'
    """
    picture = Image.fromarray(_pixels(image, axes=("height", "width")))
    return drawing.image_summary(tag, picture, description=description)


def images(
    tag: str,
    images: npt.ArrayLike,
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    tile_pixels: int = 84,
    description: str = "",
) -> Summary:
    """A grid of images, as one picture.

    Args:
        tag: its name in the images dashboard.
        images: (n, height, width) or (n, height, width, channels), otherwise as for `image`.
        captions: n texts, of one or several lines, written below the images; None: no texts.
        columns: images per row; None: as many as rows.
        tile_pixels: approximate length of an image's longer side in the grid.
        description: Markdown, shown beside the picture.

    Raises:
        UsageError: as for `image`; or there are not n captions.

    Example:

    >>> images("samples", np.zeros((9, 28, 28, 1)), captions=list("abcdefghi")).value[0].tag
    'samples'
    """
    tiles = _pixels(images, axes=("n", "height", "width"))
    if captions is not None and len(captions) != len(tiles):
        raise UsageError(
            f"the captions do not match the images. Received: {len(captions)} captions of "
            f"{len(tiles)} images. Expected: a caption for each image."
        )
    columns = math.isqrt(len(tiles) - 1) + 1 if columns is None else columns
    picture = drawing.grid(tiles, captions, columns=columns, tile_pixels=tile_pixels)
    return drawing.image_summary(tag, picture, description=description)


def figure(tag: str, figure: Any, *, close: bool = True, description: str = "") -> Summary:
    """A figure of matplotlib, in the images dashboard.

    Args:
        tag: its name in the dashboard.
        figure: a ``matplotlib.figure.Figure``.
        close: whether to close it in pyplot, which otherwise keeps each figure in memory.
        description: Markdown, shown beside the figure.

    Raises:
        UsageError: it is not a figure.

    Example:

    >>> from matplotlib.figure import Figure
    >>> drawn = Figure()
    >>> _ = drawn.subplots().plot([1, 4, 9])
    >>> figure("squares", drawn).value[0].tag
    'squares'
    """
    if not hasattr(figure, "savefig"):
        raise UsageError(
            f"the figure is wrong. Received: {figure!r}. Expected: a matplotlib.figure.Figure."
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    if close and pyplot is not None:
        pyplot.close(figure)
    return drawing.image_summary(tag, Image.open(buffer, formats=("PNG",)), description=description)


def text(tag: str, text: str | Sequence[Any], *, description: str = "") -> Summary:
    """Markdown, or a table of texts.

    Args:
        tag: its name in the text dashboard.
        text: a string of Markdown; or strings as a sequence or as rows of a table.
        description: Markdown, shown beside the text.

    Raises:
        UsageError: it is neither.

    Example:

    >>> text("translations", [["12", "twelve"], ["30", "thirty"]]).value[0].tag
    'translations'
    """
    parts = np.asarray(text, dtype=np.object_)
    if parts.ndim > 2 or not all(isinstance(part, str) for part in parts.flat):
        raise UsageError(
            f"the text is wrong. Received: {text!r}. "
            "Expected: a string, a sequence of strings, or rows of strings."
        )
    return text_pb(tag, text if isinstance(text, str) else parts, description=description)


def audio(tag: str, audio: npt.ArrayLike, *, sample_rate: int, description: str = "") -> Summary:
    """A sound, with 16 bits per sample.

    Args:
        tag: its name in the audio dashboard.
        audio: (samples,) or (samples, channels); int16, or floats from -1 to 1, where NaN is 0.
        sample_rate: samples per second, in Hz.
        description: Markdown, shown beside the sound.

    Raises:
        UsageError: it has another shape, another dtype, or floats outside -1 to 1; or the rate is
            not an integer of at least 1.

    Example:

    >>> seconds = np.arange(8000) / 8000
    >>> audio("a", np.sin(2 * np.pi * 440 * seconds), sample_rate=8000).value[0].tag
    'a'
    """
    if not isinstance(sample_rate, int) or sample_rate < 1:
        raise UsageError(
            f"the sample rate is wrong. Received: {sample_rate!r}. "
            "Expected: an integer of at least 1."
        )
    samples = _array(audio)
    if samples.dtype != np.int16:
        samples = _floats(samples, least=-1)
    if samples is None or samples.ndim not in (1, 2) or not samples.size:
        raise UsageError(
            f"the audio is wrong. Received: {_received(audio)}. Expected: (samples,) or "
            "(samples, channels); int16, or floats from -1 to 1."
        )
    if samples.dtype != np.int16:
        samples = np.round(samples * np.iinfo(np.int16).max)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((samples[0].size, 2, sample_rate, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=audio_metadata.create_summary_metadata(
            display_name="", description=description, encoding=audio_metadata.Encoding.Value("WAV")
        ),
        # Each sound has a label, which the dashboard no longer shows.
        tensor=make_tensor_proto([[buffer.getvalue(), b""]], dtype=np.object_),
    )
    return summary


def histogram(
    tag: str, values: npt.ArrayLike, *, buckets: int = 30, description: str = ""
) -> Summary:
    """The distribution of numbers, for the histograms and the distributions dashboard.

    Args:
        tag: its name in the dashboards.
        values: numbers of any shape; those that are not finite are left out.
        buckets: number of intervals of equal width.
        description: Markdown, shown beside the histogram.

    Raises:
        UsageError: the values are not numbers.

    Example:

    >>> histogram("weights", np.arange(10.0), buckets=5).value[0].tag
    'weights'
    """
    try:
        numbers = _array(values).astype(np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            f"the values of a histogram are wrong. Received: {_received(values)}. "
            "Expected: an array of numbers."
        ) from None
    finite = numbers[np.isfinite(numbers)]
    return histogram_pb(tag, finite, buckets=buckets, description=description)


def _array(values):
    if isinstance(values, tf.RaggedTensor):  # Keras would fill its rows with zeros.
        return np.asarray(None)
    try:
        return keras.ops.convert_to_numpy(values)
    except (NotImplementedError, TypeError, ValueError):  # A tensor of a graph, or a ragged list.
        return np.asarray(None)


def _pixels(images, *, axes):
    """The uint8 array of images; a channel axis of length 1 is removed."""
    pixels = _array(images)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.float32)
    if pixels.dtype != np.uint8:
        pixels = _floats(pixels, least=0)
    has_channels = pixels is not None and pixels.ndim == len(axes) + 1
    if (
        pixels is None
        or pixels.ndim - has_channels != len(axes)
        or not pixels.size
        or (has_channels and pixels.shape[-1] not in _CHANNELS)
    ):
        shape = ", ".join(axes)
        raise UsageError(
            f"the {'images are' if 'n' in axes else 'image is'} wrong. Received: "
            f"{_received(images)}. Expected: ({shape}) or ({shape}, channels) with 1 or 3 "
            "channels; uint8, bool, or floats from 0 to 1."
        )
    if has_channels and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    return drawing.gray(pixels)


def _floats(array, *, least):
    """The numbers as float32 from ``least`` to 1, without NaN; None if they are others."""
    if np.issubdtype(array.dtype, np.integer) or array.dtype.kind in "OSUcMm":
        return None
    try:  # NumPy does not count bfloat16 among the floats.
        numbers = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=np.inf, neginf=-np.inf)
    except (TypeError, ValueError):
        return None
    if numbers.size and not least - _ROUNDING <= numbers.min() <= numbers.max() <= 1 + _ROUNDING:
        return None
    return numbers.clip(least, 1)


def _received(values):
    """What an error says about an array: its dtype, its shape and its range."""
    array = _array(values)
    if array.dtype == np.object_ or not array.size:
        return f"{type(values).__name__} of shape {array.shape}" if array.shape else repr(values)
    words = f"{array.dtype} of shape {array.shape}"
    if np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array):
        words += f" from {np.nanmin(array):.6g} to {np.nanmax(array):.6g}"
    return words
