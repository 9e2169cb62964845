import doctest
import re

import pytest
from tensorboard.plugins.custom_scalar import layout_pb2

from mnist_keras.callbacks import StepLogger
from mnist_keras.callbacks.tensorboard import chart_layout
from mnist_keras.callbacks.tensorboard.chart_layout import ChartLayout, layout
from mnist_keras.callbacks.tensorboard.class_scores import ClassScores
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.memory_usage import MemoryUsage
from mnist_keras.callbacks.tensorboard.weight_norms import WeightNorms
from mnist_keras.data import batches

pytestmark = pytest.mark.slow

TAG = "custom_scalars__config__"


def charts(layout):
    """{category: {chart: its pattern}}."""
    return {
        category.title: {chart.title: chart.multiline.tag[0] for chart in category.chart}
        for category in layout.category
    }


def test_it_is_written_once_after_the_first_epoch(make_model, stream, tmp_path, summaries_of):
    model = make_model()
    for end in (2, 3):
        callbacks = [ChartLayout(tmp_path)]
        model.fit(stream, epochs=end, initial_epoch=end - 2, verbose=0, callbacks=callbacks)
    ((step, (plugin, array)),) = summaries_of(tmp_path)[TAG].items()
    assert (step, plugin) == (7, "custom_scalars")
    assert layout_pb2.Layout.FromString(array.item()) == layout(["accuracy", "loss"])


def test_every_metric_has_one_chart_for_training_and_validation(
    make_model, stream, held_out, tmp_path, points_of, summaries_of
):
    make_model().fit(
        stream,
        validation_data=batches(*held_out, batch_size=10),
        verbose=0,
        callbacks=[
            StepLogger(tmp_path, echo=False),
            WeightNorms(tmp_path),
            MemoryUsage(tmp_path),
            ClassScores(tmp_path, Exam(*held_out)),
            ChartLayout(tmp_path),
        ],
    )
    found = layout_pb2.Layout.FromString(summaries_of(tmp_path)[TAG][7][1].item())
    patterns = [p for category in charts(found).values() for p in category.values()]
    drawn = {
        subdirectory: {tag: [p for p in patterns if re.match(p, tag)] for tag in tags}
        for subdirectory, tags in {
            name: [
                t
                for t, v in summaries_of(tmp_path / name).items()
                if v.popitem()[1][0] == "scalars"
            ]
            for name in (".", "train", "validation")
        }.items()
    }
    assert {len(p) for tags in drawn.values() for p in tags.values()} == {1}
    assert drawn["validation"] == {
        "epoch_loss": ["^epoch_loss$"],
        "epoch_accuracy": ["^epoch_accuracy$"],
    }
    assert drawn["train"].items() >= drawn["validation"].items()
    assert {p for tags in drawn.values() for (p,) in tags.values()} == set(patterns)


def test_the_example_is_true():
    assert doctest.testmod(chart_layout).failed == 0
