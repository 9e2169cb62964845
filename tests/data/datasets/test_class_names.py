import doctest

from mnist_keras.app.config import DATASETS
from mnist_keras.data.datasets import class_names as module
from mnist_keras.data.datasets.class_names import class_names
from mnist_keras.data.stream import CLASSES


def test_each_class_of_a_data_set_has_a_name_of_its_own_or_none_has():
    found = {dataset: class_names(dataset) for dataset in DATASETS}
    assert {dataset for dataset, names in found.items() if names} == {"fashion_mnist", "kmnist"}
    assert all(len(set(names)) == CLASSES for names in found.values() if names)


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(module).failed == 0
