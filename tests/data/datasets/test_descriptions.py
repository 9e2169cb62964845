import doctest

from mnist_keras.app.config import DATASETS
from mnist_keras.data.datasets import descriptions as module
from mnist_keras.data.datasets.descriptions import describe


def test_every_data_set_has_a_description_with_distinct_names():
    names = {dataset: describe(dataset).names for dataset in DATASETS}
    assert {dataset: it for dataset, it in names.items() if it != tuple("0123456789")} == {
        "fashion_mnist": describe("fashion_mnist").class_names,
        "kmnist": describe("kmnist").class_names,
    }
    assert {len(set(it)) for it in names.values()} == {10}


def test_every_data_set_has_the_shape_of_mnist():
    forms = {(it.image_shape, it.classes, it.max_pixel) for it in map(describe, DATASETS)}
    assert forms == {((28, 28), 10, 255)}


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(module).failed == 0
