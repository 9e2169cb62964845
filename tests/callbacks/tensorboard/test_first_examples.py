import doctest
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.callbacks.tensorboard import class_labels, first_examples, input_images
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.first_examples import first_examples as read
from mnist_keras.data import DatasetDescription, batches
from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import UsageError

COUNT, BATCH = 30, 8
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6), np.uint8)
LABELS = np.arange(COUNT) % 10
WEIGHTS = np.ones(COUNT, np.float32)
ONE_HOT = np.eye(10, dtype=np.float32)[LABELS]


class Batches(keras.utils.PyDataset):
    """Counts what is read, and fails where an epoch begins or ends."""

    def __init__(self, length=4):
        super().__init__()
        self.length, self.read = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.read.append(index)
        part = slice(index * BATCH, (index + 1) * BATCH)
        return IMAGES[part], LABELS[part], WEIGHTS[part]

    def on_epoch_begin(self):
        raise AssertionError("reading is no epoch")

    on_epoch_end = on_epoch_begin


def rows_of(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(BATCH)


def generated():
    for begin in range(0, COUNT, BATCH):
        yield IMAGES[begin : begin + BATCH], LABELS[begin : begin + BATCH]


DATA = {
    "arrays": lambda: (IMAGES, LABELS),
    "tensors": lambda: (tf.constant(IMAGES), tf.constant(LABELS)),
    "lists": lambda: (IMAGES.tolist(), LABELS.tolist()),
    "one-hot": lambda: (IMAGES, ONE_HOT),
    "a column of labels": lambda: (IMAGES, LABELS[:, None].astype(np.float32)),
    "shards": lambda: (Sharded([IMAGES[:7], IMAGES[7:]]), LABELS),
    "tf.data": lambda: (rows_of(IMAGES, LABELS),),
    "tf.data with weights": lambda: (rows_of(IMAGES, ONE_HOT, WEIGHTS),),
    "tf.data without an end": lambda: (rows_of(IMAGES, LABELS).repeat(),),
    "a PyDataset": lambda: (Batches(),),
    "a generator": lambda: (generated(),),
    "a data loader": lambda: (map(list, generated()),),
}


@pytest.mark.parametrize("most", [BATCH, 13, 30])
@pytest.mark.parametrize("form", DATA)
def test_all_that_evaluate_takes_gives_the_first_examples(form, most):
    exam = Exam(*DATA[form](), most=most)
    assert len(exam) == most
    np.testing.assert_array_equal(exam.images, IMAGES[:most])
    np.testing.assert_array_equal(exam.labels, LABELS[:most])
    given = np.concatenate([batch.numpy() for batch in exam.batches(keras.Sequential())])
    np.testing.assert_array_equal(given, IMAGES[:most])


def test_a_stream_gives_its_scaled_images_and_names():
    names = tuple("abcdefghij")
    description = DatasetDescription(image_shape=(6, 6), class_names=names)
    exam = Exam(batches(IMAGES, LABELS, batch_size=BATCH, description=description), most=13)
    np.testing.assert_allclose(exam.images, IMAGES[:13] / np.float32(255))
    np.testing.assert_array_equal(exam.labels, LABELS[:13])
    assert exam.class_names(10) == names
    assert Exam(IMAGES, LABELS, description=description).class_names(10) == names


def test_torch_tensors_are_read_as_arrays():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    data = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    exam = Exam(torch.utils.data.DataLoader(data, batch_size=BATCH), most=13)
    np.testing.assert_array_equal(exam.images, IMAGES[:13])
    np.testing.assert_array_equal(exam.labels, LABELS[:13])


def test_a_generator_may_fill_the_same_arrays_again():
    x, y = np.zeros((10, 6, 6), np.uint8), np.zeros(10, int)

    def refilled():
        for begin in range(0, COUNT, 10):
            x[:], y[:] = IMAGES[begin : begin + 10], LABELS[begin : begin + 10]
            yield x, y

    exam = Exam(refilled())
    np.testing.assert_array_equal(exam.images, IMAGES)
    np.testing.assert_array_equal(exam.labels, LABELS)


@pytest.mark.parametrize(("most", "read"), [(BATCH, [0]), (13, [0, 1]), (500, [0, 1, 2, 3])])
def test_no_batch_is_read_after_the_last_example(most, read):
    data = Batches()
    Exam(data, most=most)
    assert data.read == read


def test_an_error_names_the_shapes_of_images_that_are_drawn():
    with pytest.raises(UsageError) as error:
        Exam(np.zeros((5, 20)), np.arange(5)).pictures  # noqa: B018
    assert str(error.value) == (
        "the examples are not images. Received: float64 (5, 20). Expected: (n, height, width), or "
        "with a last axis of 1, 3 or 4 channels, or (n, channels, height, width) with 1 or 3 "
        "channels."
    )
    shown = Exam(np.zeros((5, 3, 8, 9)), np.arange(5)).pictures
    assert shown.shape == (5, 8, 9, 3)


TABLE = np.random.default_rng(1).random((COUNT, 5))


@pytest.mark.parametrize(
    "x", [{"a": TABLE, "b": IMAGES}, (TABLE, IMAGES), [TABLE, IMAGES]], ids=type
)
def test_several_inputs_keep_their_structure(x):
    forms = [(x, LABELS)] if isinstance(x, list) else [(x, LABELS), (rows_of(x, LABELS),)]
    for data in forms:
        exam = Exam(*data, most=13)
        np.testing.assert_array_equal(exam.images, IMAGES[:13])
        given = [*exam.batches(keras.Sequential())]
        for batch in given:
            keras.tree.assert_same_structure(batch, x)
        tables = np.concatenate([keras.tree.flatten(batch)[0] for batch in given])
        np.testing.assert_array_equal(tables, TABLE[:13])


def test_batches_of_different_lengths_are_given_as_they_are():
    texts = [np.arange(1, 2 + i % 7) for i in range(COUNT)]
    data = tf.data.Dataset.from_generator(
        lambda: zip(texts, LABELS, strict=True),
        output_signature=(tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.int64)),
    )
    padded = [x.shape for x, _ in data.padded_batch(5)]
    exam = Exam(data.padded_batch(5), most=13)
    shapes = [batch.shape for batch in exam.batches(keras.Sequential())]
    assert [*shapes[:2], shapes[2][1:]] == [*padded[:2], padded[2][1:]]
    assert shapes[2][0] == 3
    np.testing.assert_array_equal(exam.labels, LABELS[:13])
    assert exam.images is None
    with pytest.raises(UsageError, match=r"Received: int64 \(13, None\)\. "):
        _ = exam.pictures


def test_images_of_different_sizes_are_not_drawn():
    sizes = itertools.cycle([(4, 4), (5, 6)])
    data = [(np.zeros((2, *next(sizes), 3)), np.zeros((2, i + 1))) for i in range(4)]
    exam = Exam(iter(data))
    assert [batch.shape[1:3] for batch in exam.batches(keras.Sequential())] == [(4, 4), (5, 6)] * 2
    with pytest.raises(UsageError, match=r"Received: float64 \(8, None, None, 3\)\. "):
        _ = exam.pictures
    with pytest.raises(
        UsageError, match=r"the targets are not classes. Received: float64 \(8, None\)"
    ):
        _ = exam.labels


def test_ragged_and_sparse_tensors_stay_what_they_are():
    ragged = tf.ragged.constant([[1] * (i % 4) for i in range(COUNT)])
    sparse = tf.sparse.from_dense(ONE_HOT)
    for data in (
        ({"r": ragged, "s": sparse}, LABELS),
        (rows_of({"r": ragged, "s": sparse}, LABELS),),
    ):
        given = [*Exam(*data, most=13).batches(keras.Sequential())]
        assert {type(batch["r"]) for batch in given} == {tf.RaggedTensor}
        assert {type(batch["s"]) for batch in given} == {tf.SparseTensor}
        lists = itertools.chain(*(batch["r"].to_list() for batch in given))
        assert [*lists] == ragged[:13].to_list()
        dense = np.concatenate([tf.sparse.to_dense(batch["s"]) for batch in given])
        np.testing.assert_array_equal(dense, ONE_HOT[:13])


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((28, 28), [1000, 1000, 500]), ((224, 224, 3), [32] * 3 + [4]), ((512,), [128, 72])],
)
def test_large_examples_are_given_in_small_batches(shape, sizes):
    x = np.broadcast_to(np.uint8(0), (sum(sizes), *shape))
    read_sizes = [len(batch[0]) for batch in read(x, np.zeros(sum(sizes)), most=5000).batches]
    assert read_sizes == sizes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES,), "the examples do not match their classes. Received: ndarray and NoneType. "),
        (
            (rows_of(IMAGES, LABELS), LABELS),
            "the examples do not match their classes. Received: _BatchDataset and ndarray. ",
        ),
        (
            (rows_of(IMAGES),),
            "the data set has no batches of examples with their classes. "
            "Received: uint8 (8, 6, 6). ",
        ),
        (
            (tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)),),
            "the data set has no batches of examples with their classes. "
            "Received: uint8 (6, 6), int64 (). ",
        ),
        (
            ((IMAGES, IMAGES[:7]), LABELS),
            "the examples do not match their classes. Received: 7 and 30 examples, 30 classes. ",
        ),
        (
            (rows_of(IMAGES, LABELS).take(0),),
            "the examples do not match their classes. Received: 0 examples, 0 classes. ",
        ),
    ],
)
def test_data_without_examples_or_classes_are_refused(data, message):
    with pytest.raises(UsageError) as error:
        Exam(*data)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("module", [class_labels, first_examples, input_images])
def test_the_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
