"""What the classes of a data set are called, where it is not by their numbers."""

_NAMES = {
    # github.com/zalandoresearch/fashion-mnist, README.md.
    "fashion_mnist": (
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
    ),
    # codh.rois.ac.jp/kmnist, kmnist_classmap.csv, in Latin letters, which every font has.
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}


def class_names(dataset: str) -> tuple[str, ...] | None:
    """A text for each class, in the order of their numbers; None: the numbers say it.

    >>> class_names("fashion_mnist")[9], class_names("mnist")
    ('Ankle boot', None)
    """
    return _NAMES.get(dataset)
