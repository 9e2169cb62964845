"""The descriptions of the data sets that `mnist_keras.data.load` knows, all of MNIST's form."""

from mnist_keras.data.description import DatasetDescription

MNIST = DatasetDescription()
SYNTHETIC = DatasetDescription()
FASHION_MNIST = DatasetDescription(
    # github.com/zalandoresearch/fashion-mnist, README.md.
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
)
KMNIST = DatasetDescription(
    # codh.rois.ac.jp/kmnist, kmnist_classmap.csv; in Latin letters, which every font has.
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
)
_DESCRIPTIONS = {
    "auto": MNIST,  # MNIST or the synthetic digits, whose description is the same.
    "mnist": MNIST,
    "fashion_mnist": FASHION_MNIST,
    "kmnist": KMNIST,
    "synthetic": SYNTHETIC,
}


def describe(dataset: str) -> DatasetDescription:
    """The description of the data set with a name that `mnist_keras.data.load` takes.

    >>> describe("fashion_mnist").names[9], describe("mnist").names[9]
    ('Ankle boot', '9')
    """
    return _DESCRIPTIONS[dataset]
