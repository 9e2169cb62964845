"""Groups curves into charts, for TensorBoard's custom scalars dashboard."""

from collections.abc import Iterable

from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.plugins.custom_scalar.summary import pb

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import scalars
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback

_STEPS = {
    "loss of each batch": "^loss$",
    "learning rate": "^learning_rate$",
    "gradient norm": "^gradient_norm$",
}
_WEIGHTS = {"norms": "^weight_norm/", "update ratios": "^update_ratio/"}
_CLASSES = {"precision": "^precision/", "recall": "^recall/"}
_MACHINE = {"memory (MiB)": "^memory/", "examples per second": "^examples_per_second$"}


class ChartLayout(EventCallback):
    """Groups the curves: one chart per metric, for training and validation; other curves by kind.

    The layout is written once per run, after the first epoch, when the metrics are known.

    Args:
        logdir: the run's directory.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> logdir = tempfile.mkdtemp()
    >>> history = model.fit(x, y, verbose=0, callbacks=[ChartLayout(logdir)])
    """

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        if not self.has_logged(metadata.CONFIG_SUMMARY_TAG):
            metrics = dict.fromkeys(name.removeprefix("val_") for name in scalars(logs))
            self.log_summary(pb(layout(metrics)))


def layout(metrics: Iterable[str]) -> layout_pb2.Layout:
    """The ``Layout`` for these metrics; their names come without ``val_``.

    >>> [category.title for category in layout(["loss", "accuracy"]).category]
    ['training and validation', 'steps', 'weights', 'classes', 'machine']
    """
    charts = {
        "training and validation": {name: f"^epoch_{name}$" for name in metrics},
        "steps": _STEPS,
        "weights": _WEIGHTS,
        "classes": _CLASSES,
        "machine": _MACHINE,
    }
    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name, multiline=layout_pb2.MultilineChartContent(tag=[pattern])
                    )
                    for name, pattern in patterns.items()
                ],
            )
            for title, patterns in charts.items()
        ]
    )
