"""Handwriting-like digits made from strokes: the data set that is always there."""

import functools

import numpy as np

from mnist_keras.data.glyphs import FORMS

VERSION = 1

CHUNK = 500
BOX, FIELD = 20, 28
SAMPLES = 128


def synthetic_digits(count, *, seed, progress=None):
    if count < 0:
        raise ValueError(f"count is negative. Received: {count}. Expected: 0 or more.")
    images = np.empty((count, FIELD, FIELD), np.uint8)
    labels = np.empty(count, np.uint8)
    for chunk, start in enumerate(range(0, count, CHUNK)):
        rng = np.random.Generator(np.random.PCG64([seed, chunk]))
        digits = np.argsort(rng.random(CHUNK), kind="stable") % 10
        stop = min(start + CHUNK, count)
        labels[start:stop] = digits[: stop - start]
        images[start:stop] = _frame(_draw(rng, *_strokes(rng, digits)))[: stop - start]
        if progress is not None:
            progress(stop)
    return images, labels


def _bell(rng, *shape):
    return (2 * (rng.random(shape) + rng.random(shape) + rng.random(shape)) - 3).astype(np.float32)


@functools.cache
def _forms():
    splines, cumulative = [], np.ones((10, max(map(len, FORMS.values()))))
    first = []
    for digit, forms in FORMS.items():
        first.append(len(splines))
        total = sum(w for w, *_ in forms)
        acc = 0
        for k, (w, *curves) in enumerate(forms):
            acc += w
            cumulative[digit, k] = acc / total
            splines.append(_compile(curves))
        cumulative[digit, len(forms) - 1 :] = 1
    width = max(len(p) for p, _, _ in splines)
    points = np.stack([np.pad(p, ((0, width - len(p)), (0, 0))) for p, _, _ in splines])
    return (np.array(first), cumulative, points.astype(np.float32),
            np.stack([i for _, i, _ in splines]), np.stack([w for _, _, w in splines]))


def _compile(curves):
    points, spans = {}, []
    for curve in curves:
        path = [tuple(map(int, p.split())) for p in curve.split(",")]
        ids = [points.setdefault(p, len(points)) for p in path]
        closed = ids[0] == ids[-1] and len(ids) > 2
        for k in range(len(ids) - 1):
            before = ids[k - 1] if k else (ids[-2] if closed else None)
            after = ids[k + 2] if k + 2 < len(ids) else (ids[1] if closed else None)
            spans.append((before, ids[k], ids[k + 1], after))
    xy = np.array(list(points), float) / 100
    lengths = np.array([np.sqrt(((xy[b] - xy[c]) ** 2).sum()) for _, b, c, _ in spans])
    ends = np.round(np.add.accumulate(lengths) / lengths.sum() * SAMPLES).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    index, weight = np.zeros((4, SAMPLES), int), np.zeros((4, SAMPLES), np.float32)
    for (a, b, c, d), s, e in zip(spans, starts, ends):
        t = np.arange(e - s) / max(e - s - 1, 1)
        w = [(-t**3 + 2*t**2 - t) / 2, (3*t**3 - 5*t**2 + 2) / 2,
             (-3*t**3 + 4*t**2 + t) / 2, (t**3 - t**2) / 2]
        if a is None:
            a = b; w = [0 * t, w[1] + 2 * w[0], w[2] - w[0], w[3]]
        if d is None:
            d = c; w = [w[0], w[1] - w[3], w[2] + 2 * w[3], 0 * t]
        for k, (i, v) in enumerate(zip((a, b, c, d), w)):
            index[k, s:e] = i
            weight[k, s:e] = v
    return xy, index, weight


JITTER, WARP2, WARP3, SLANT, TURN, ASPECT = 0.035, 0.2, 0.2, 0.25, 0.12, 0.15


def _strokes(rng, digits):
    n = len(digits)
    first, cumulative, points, index, weight = _forms()
    form = first[digits] + (rng.random(n)[:, None] > cumulative[digits]).sum(1)
    controls = points[form] + JITTER * _bell(rng, n, points.shape[1], 2)
    picture = np.arange(n)[:, None]
    path = sum(weight[form, k][..., None] * controls[picture, index[form, k]] for k in range(4))
    x, y = path[..., 0] - np.float32(0.5), path[..., 1] - np.float32(0.5)
    c = _bell(rng, 14, n, 1)
    dx = WARP2 * (c[0] * x * x + c[1] * x * y + c[2] * y * y)
    dx += WARP3 * (c[3] * x * x * y + c[4] * x * y * y + c[5] * y * y * y * 1.5)
    dy = WARP2 * (c[6] * x * x + c[7] * x * y + c[8] * y * y)
    dy += WARP3 * (c[9] * x * x * y + c[10] * x * y * y + c[3] * x * x * x * 0)
    x, y = x + dx, y + dy
    x = x * (1 + ASPECT * c[11])
    x = x - (SLANT * c[12]) * y
    u = (TURN / 2) * c[13]
    cos, sin = (1 - u * u) / (1 + u * u), 2 * u / (1 + u * u)
    x, y = cos * x - sin * y, sin * x + cos * y
    radius = 1.25 + 0.33 * _bell(rng, n, 1)
    a, b = _bell(rng, 2, n, 1)
    along = np.linspace(-1, 1, SAMPLES, dtype=np.float32)
    pressure = 1 + 0.08 * a * along + 0.08 * b * (along * along - 0.33)
    r = np.clip(radius, 0.55, None) * np.clip(pressure, 0.5, 1.5)
    return x, y, r


def _draw(rng, x, y, r):
    n = len(x)
    widest = r.max(1, keepdims=True)
    low_x, low_y = x.min(1, keepdims=True), y.min(1, keepdims=True)
    span = np.maximum(x.max(1, keepdims=True) - low_x, y.max(1, keepdims=True) - low_y)
    scale = (BOX - 2 * widest) / span
    x = (x - low_x - (x.max(1, keepdims=True) - low_x) / 2) * scale + BOX / 2
    y = (y - low_y - (y.max(1, keepdims=True) - low_y) / 2) * scale + BOX / 2
    pixel = np.arange(BOX, dtype=np.float32) + np.float32(0.5)
    nearest = np.full((n, BOX, BOX), np.inf, np.float32)
    power = np.empty_like(nearest)
    for k in range(SAMPLES):
        across = pixel - x[:, k, None]
        down = pixel - y[:, k, None]
        np.add((down * down - (r[:, k] ** 2)[:, None])[:, :, None], (across * across)[:, None], out=power)
        np.minimum(nearest, power, out=nearest)
    mean = r.mean(1)[:, None, None]
    distance = np.sqrt(np.maximum(nearest + mean * mean, 0)) - mean
    soft = (0.9 + 0.15 * _bell(rng, n, 1, 1))
    return np.clip(0.5 - distance * soft, 0, 1)


def _frame(ink):
    pixels = (ink * 255 + 0.5).astype(np.uint8)
    n = len(pixels)
    mass = pixels.astype(np.int64).sum((1, 2))
    at = np.arange(BOX)
    cy = (pixels.sum(2, dtype=np.int64) * at).sum(1) / mass
    cx = (pixels.sum(1, dtype=np.int64) * at).sum(1) / mass
    top = np.clip(np.floor(FIELD / 2 - cy).astype(int), 0, FIELD - BOX)
    left = np.clip(np.floor(FIELD / 2 - cx).astype(int), 0, FIELD - BOX)
    out = np.zeros((n, FIELD, FIELD), np.uint8)
    out[np.arange(n)[:, None, None], (top[:, None] + at)[:, :, None], (left[:, None] + at)[:, None]] = pixels
    return out
