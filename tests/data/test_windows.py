import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.app import networks
from mnist_keras.callbacks import Checkpoint
from mnist_keras.data import batches, map_idx, windows, write_idx
from mnist_keras.data.sharded import Absent, Sharded
from mnist_keras.errors import DataError

COUNT = 25
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = (np.arange(COUNT) % 10).astype(np.uint8)


@pytest.fixture
def mapped(tmp_path):
    write_idx(tmp_path / "images", IMAGES)
    return map_idx(tmp_path / "images")


def drawn(stream, *, windows_of):
    """The batches of the current epoch, from windows of the given number of steps."""
    begin, found = 0, []
    while begin < len(stream):
        window, end = stream.window(begin, min(begin + windows_of, len(stream)))
        found += [stream.batch(window, tf.constant(step)) for step in range(begin, end)]
        begin = end
    return [(x.numpy(), y.numpy()) for x, y in found]


def assert_same(batches_of_one, batches_of_other):
    for one, other in zip(batches_of_one, batches_of_other, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [2**26, 8 * 784], ids=["in one piece", "in small pieces"])
@pytest.mark.parametrize("windows_of", [1, 2, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_file_gives_the_same_batches_as_its_contents(
    mapped, shuffle, windows_of, at_once, monkeypatch
):
    monkeypatch.setattr(windows, "_READ_AT_ONCE_BYTES", at_once)
    arguments = {"batch_size": 4, "shuffle": shuffle, "seed": 3}
    ours = batches(mapped, LABELS, **arguments)
    held = batches(IMAGES, LABELS, **arguments)
    for epoch in (0, 1, 5):
        ours.epoch = held.epoch = epoch
        expected = drawn(held, windows_of=5)
        assert_same(drawn(ours, windows_of=windows_of), expected)
        assert_same([(x.numpy(), y.numpy()) for x, y in ours], expected)
    ours.close()


def test_the_next_window_is_read_ahead_others_on_demand(mapped):
    reads = []

    class Watched(windows.Mapped):
        def _read(self, *asked):
            reads.append(asked)
            return super()._read(*asked)

    source = Watched(mapped, LABELS, order=None)
    for begin, end in [(0, 8), (8, 16), (16, 20), (12, 16)]:
        window, _ = source.window(0, begin, end, size=4)
        first = int(window.first)
        np.testing.assert_array_equal(window.images[begin - first : end - first], IMAGES[begin:end])
    source.close()
    assert reads == [(0, 0, 8), (0, 8, 16), (0, 16, 24), (0, 20, 24), (0, 12, 16), (0, 16, 20)]


def test_after_the_last_window_the_next_epoch_is_read_ahead(mapped):
    source = windows.Mapped(mapped, LABELS, order=lambda epoch: np.arange(COUNT) - epoch)
    source.window(0, 20, COUNT, size=5)
    window, _ = source.window(1, 0, 5, size=5)
    chosen = window.images.numpy()[window.order.numpy()]
    np.testing.assert_array_equal(chosen, IMAGES[np.arange(5) - 1])
    source.close()


def test_a_read_error_is_raised_where_the_batch_is_requested():
    class Broken(np.ndarray):
        def __getitem__(self, rows):
            if isinstance(rows, slice) and rows.start >= 8:
                raise OSError("the disk is gone")
            return super().__getitem__(rows)

    source = windows.Mapped(IMAGES.view(Broken), LABELS, order=None)
    source.window(0, 0, 8, size=4)
    with pytest.raises(OSError, match="the disk is gone"):
        source.window(0, 8, 16, size=4)


def test_closing_ends_the_read_ahead_thread(mapped):
    stream = batches(mapped, LABELS, batch_size=4)
    stream.window(0, 2)
    stream.close()
    assert "read-ahead" not in {thread.name for thread in threading.enumerate()}


def trained(images, directory, *, epochs=3, **arguments):
    keras.utils.set_random_seed(0)
    model = TapeModel(networks.build("mlp"))
    model.compile(optimizer="adam", loss=SumSquaredError(), steps_per_execution=3)
    stream = batches(images, LABELS, batch_size=4, shuffle=True)
    checkpoint = Checkpoint(directory, every_steps=5)
    model.fit(stream, epochs=epochs, verbose=0, callbacks=[checkpoint], **arguments)
    return model.get_weights()


@pytest.mark.slow
def test_training_from_a_file_equals_memory_and_resumes(mapped, tmp_path):
    whole = trained(IMAGES, tmp_path / "held")
    trained(mapped, tmp_path / "mapped", epochs=1)
    in_parts = trained(mapped, tmp_path / "mapped")
    for ours, expected in zip(in_parts, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_small_file_is_the_same_data_as_its_contents(mapped):
    in_file, held = (batches(images, LABELS, batch_size=4).identity for images in (mapped, IMAGES))
    assert in_file == held


def test_a_different_file_is_different_data(mapped, tmp_path):
    changed = IMAGES.copy()
    changed[7, 3, 3] ^= 1
    write_idx(tmp_path / "changed", changed)
    other = map_idx(tmp_path / "changed")
    digests = [windows.Mapped(images, LABELS, order=None).digest() for images in (mapped, other)]
    digests.append(windows.Mapped(mapped, LABELS[::-1], order=None).digest())
    assert len(set(digests)) == 3


def test_the_sum_of_a_large_file_covers_a_sample(mapped, monkeypatch):
    whole = windows.Mapped(mapped, LABELS, order=None).digest()
    monkeypatch.setattr(windows, "_SAMPLED_EXAMPLES", 5)
    sampled = windows.Mapped(mapped, LABELS, order=None).digest()
    changed = IMAGES.copy()
    changed[[1, 2, 3]] = 0  # The sample of the 25 examples is 0, 6, 12, 18 and 24.
    assert windows.Mapped(changed, LABELS, order=None).digest() == sampled != whole
    changed[12] = 0
    assert windows.Mapped(changed, LABELS, order=None).digest() != sampled


def broken_stream():
    """A stream whose last images are on another machine."""
    images = Sharded([IMAGES[:8], Absent((8, 28, 28), np.uint8, "train-00001-of-00002")])
    return batches(images, LABELS[:16], batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        lambda model, stream: model.evaluate(stream, verbose=0),
        lambda model, stream: model.predict(stream, verbose=0),
        lambda model, stream: model.fit(
            batches(IMAGES, LABELS, batch_size=5), validation_data=stream, verbose=0
        ),
        lambda model, stream: list(stream),
        lambda model, stream: list(stream.get_numpy_iterator()),
    ],
    ids=["evaluate", "predict", "validation", "iteration", "NumPy"],
)
def test_images_that_cannot_be_read_are_named_in_one_line(use):
    model = TapeModel(networks.build("mlp"))
    model.compile(loss=SumSquaredError())
    with pytest.raises(DataError, match=r"^a shard is not on this machine\. Received: no train-0"):
        use(model, broken_stream())
