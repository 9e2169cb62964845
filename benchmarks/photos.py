"""Measure the accuracy that photos cost: ``python -m benchmarks.photos --data_dir=...``.

Test digits are written on rendered paper and photographed: paper texture, uneven light, a shadow,
perspective, pens of several colours, a blurred and noisy camera, JPEG at quality 60. The accuracy
of a network on the photos is compared with its accuracy on the same digits without photos.
"""

import argparse
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_keras.console.start import import_tensorflow
from mnist_keras.data import load
from mnist_keras.photos.reading import read

MAIN = pathlib.Path(__file__).parent.parent / "main.py"
RECIPE = (
    "--network=cnn",
    "--loss=categorical_crossentropy",
    "--optimizer=adam",
    "--epochs=2",
    "--batch_size=100",
    "--shuffle",
)
LINES, DIGITS_A_LINE = 2, 5
PENS = {
    "black": (25, 25, 30),
    "blue": (30, 50, 140),
    "red": (170, 30, 40),
    "green": (20, 100, 50),
    "pencil": (95, 95, 100),
}
JPEG_QUALITY = 60


def photo_of(lines, chance, *, size=(480, 640)):
    """A photo, uint8 (height, width, 3), of lines of digits, dark on light.

    Args:
        lines: lists of MNIST's images, uint8 (28, 28), from top to bottom and left to right.
        chance: a ``numpy.random.Generator``.
        size: height and width of the photo in pixels.
    """
    written = _tilted(_written(lines, chance, size), chance)
    pen = np.array(list(PENS.values())[chance.integers(len(PENS))]) / 255
    paper = _paper(chance, size)
    cover = (written * chance.uniform(0.75, 0.95))[..., None]
    scene = paper * (1 - cover) + pen * cover
    scene *= _light(chance, size)[..., None]
    scene = ndimage.gaussian_filter(scene, (*[chance.uniform(0.4, 1.4)] * 2, 0))
    scene += chance.normal(0, 0.012, scene.shape)
    return np.clip(np.rint(scene * 255), 0, 255).astype(np.uint8)


def jpeg(pixels, *, quality=JPEG_QUALITY):
    """The bytes of a JPEG file of pixels, uint8 (height, width, 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _written(lines, chance, size):
    """How much of each pixel the pen covers, (height, width) in [0, 1]."""
    height, width = size
    rows, columns = len(lines), max(map(len, lines))
    most = min(0.8 * height / (28 * rows), 0.8 * width / (28 * columns))
    scale = most * chance.uniform(0.5, 1)
    cell = int(28 * scale)
    top = chance.integers(height // 10, height - height // 10 - rows * cell + 1)
    left = chance.integers(width // 10, width - width // 10 - columns * cell + 1)
    sharpness = chance.uniform(1, 4)
    cover = np.zeros(size)
    for row, line in enumerate(lines):
        for column, image in enumerate(line):
            digit = Image.fromarray(image).resize((cell, cell), Image.Resampling.BICUBIC)
            digit = np.clip((np.asarray(digit) / 255 - 0.5) * sharpness + 0.5, 0, 1)
            y, x = top + row * cell, left + column * cell
            cover[y : y + cell, x : x + cell] = digit
    return cover


def _tilted(cover, chance):
    """The sheet as seen by a camera that is not exactly above it."""
    height, width = cover.shape
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)])
    seen = corners + chance.uniform(-0.06, 0.06, (4, 2)) * (width, height)
    equations = np.zeros((8, 8))
    for k, ((x, y), (u, v)) in enumerate(zip(corners, seen, strict=True)):
        equations[2 * k] = (x, y, 1, 0, 0, 0, -u * x, -u * y)
        equations[2 * k + 1] = (0, 0, 0, x, y, 1, -v * x, -v * y)
    mapping = np.linalg.solve(equations, seen.ravel())
    image = Image.fromarray(cover.astype(np.float32))
    return np.asarray(
        image.transform(
            (width, height), Image.Transform.PERSPECTIVE, mapping, Image.Resampling.BILINEAR
        )
    )


def _paper(chance, size):
    tint = np.array([1, chance.uniform(0.96, 1), chance.uniform(0.88, 1)]) * chance.uniform(0.8, 1)
    fibres = ndimage.gaussian_filter(chance.normal(0, 1, size), 1)
    clouds = ndimage.gaussian_filter(chance.normal(0, 1, size), 12)
    texture = 1 + 0.02 * fibres / fibres.std() + 0.02 * clouds / clouds.std()
    return tint * texture[..., None]


def _light(chance, size):
    """A gradient, darker corners and the soft edge of a shadow, (height, width) up to 1."""
    y, x = (axis / length - 0.5 for axis, length in zip(np.indices(size), size, strict=True))
    angle, shadow_angle = chance.uniform(0, 2 * np.pi, 2)
    along = np.cos(angle) * x + np.sin(angle) * y
    gradient = 1 + chance.uniform(0, 0.5) * (along - along.max())
    corners = 1 - chance.uniform(0, 0.5) * (x * x + y * y)
    across = np.cos(shadow_angle) * x + np.sin(shadow_angle) * y - chance.uniform(-0.3, 0.3)
    softness, depth = chance.uniform(0.003, 0.05), chance.uniform(0.2, 0.55)
    shadow = 1 - depth / (1 + np.exp(np.clip(-across / softness, -50, 50)))
    return gradient * corners * shadow


def readings(images, lines_of, *, seed):
    """The readings of photos of the given lines of digits.

    Args:
        images: uint8 (n, 28, 28).
        lines_of: the lines of each photo, lists of image indices.
        seed: of the photos.

    Returns:
        For each photo (its pixels, its `mnist_keras.photos.reading.Reading`).
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "photo.jpg")
        for number, lines in enumerate(lines_of):
            written = [[images[index] for index in line] for line in lines]
            pixels = photo_of(written, np.random.default_rng([seed, number]))
            path.write_bytes(jpeg(pixels))
            found.append((pixels, read(path)))
    return found


def score(classify, images, labels, *, photos, pages, seed):
    """The shares of correctly read digits, {kind of photo: share}.

    Args:
        classify: a function from uint8 (n, 28, 28) to n digits.
        images: uint8 (n, 28, 28), MNIST's.
        labels: the digits on them.
        photos: number of photos of one digit.
        pages: number of photos of two lines of five digits.
        seed: of the choice of digits and of the photos.
    """
    chance = np.random.default_rng(seed)
    singles = chance.choice(len(images), photos, replace=False)
    found = readings(images, [[[index]] for index in singles], seed=seed)
    shrunk = np.array([_shrunk(pixels) for pixels, _ in found])
    truth = labels[singles]
    on_pages = chance.integers(len(images), size=(pages, LINES, DIGITS_A_LINE))
    found_on_pages = readings(images, on_pages, seed=seed + 1)
    return {
        "one digit, as it is in MNIST": np.mean(classify(images[singles]) == truth),
        "its photo": _share([r for _, r in found], truth[:, None], classify),
        "its photo without the preparation": np.mean(classify(shrunk) == truth),
        "its photo without the preparation, inverted": np.mean(classify(255 - shrunk) == truth),
        "digits of a page, as they are in MNIST": np.mean(
            classify(images[on_pages.ravel()]) == labels[on_pages.ravel()]
        ),
        "the page's photo, all in order": _share(
            [r for _, r in found_on_pages], labels[on_pages].reshape(pages, -1), classify
        ),
    }


def _shrunk(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L").resize((28, 28)))


def _share(found, truth, classify):
    """The share of digits that were read correctly, on photos with the right number of digits."""
    pairs = zip(found, truth, strict=True)
    whole = [(r.images, digits) for r, digits in pairs if len(r.images) == len(digits)]
    images, digits = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    return np.sum(classify(images) == digits) / truth.size


@contextlib.contextmanager
def model_file(run, data_dir):
    """The model of a run; None: a cnn, trained here for two epochs."""
    if run is not None:
        yield run / "model.keras"
        return
    with tempfile.TemporaryDirectory() as logdir:
        place = [f"--logdir={logdir}", "--run_name=run"]
        if data_dir is not None:
            place.append(f"--data_dir={data_dir}")
        subprocess.run([sys.executable, MAIN, *RECIPE, *place], check=True, stdout=sys.stderr)
        yield pathlib.Path(logdir, "run", "model.keras")


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", help="directory of the IDX files")
    parser.add_argument("--run", type=pathlib.Path, help="directory of a finished run")
    parser.add_argument("--photos", type=int, default=500, help="number of photos of one digit")
    parser.add_argument("--pages", type=int, default=50, help="number of photos of ten digits")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _, test_set = load("mnist", data_dir=arguments.data_dir)
    with model_file(arguments.run, arguments.data_dir) as path:
        import_tensorflow()
        import keras

        model = keras.models.load_model(path)

    def classify(images):
        return model.predict(images / np.float32(255), verbose=0).argmax(1)

    shares = score(
        classify,
        test_set.images,
        test_set.labels,
        photos=arguments.photos,
        pages=arguments.pages,
        seed=arguments.seed,
    )
    print("| what is read | right |\n| --- | --- |")
    for name, share in shares.items():
        print(f"| {name} | {share:.2%} |")


if __name__ == "__main__":
    main()
