import datetime
import doctest
import pathlib

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from mnist_keras.callbacks.tensorboard import hparams
from mnist_keras.callbacks.tensorboard.hparams import HParams, flat

START, END = metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG

RECIPE = {
    "rate": 0.5,
    "epochs": 3,
    "shuffle": True,
    "network": "mlp",
    "decay": None,
    "layers": [512, 10],
    "optimizer": {"name": "adam", "betas": (0.9, 0.99), "inner": {"eps": 1e-7}},
}
FLAT = {
    "rate": 0.5,
    "epochs": 3.0,
    "shuffle": True,
    "network": "mlp",
    "decay": "none",
    "layers": "[512, 10]",
    "optimizer.name": "adam",
    "optimizer.betas": "[0.9, 0.99]",
    "optimizer.inner.eps": 1e-7,
}


def read(directory):
    """({tag: steps}, {tag: the plugin's data})."""
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    tags = [tag for tag in accumulator.Tags()["tensors"] if tag.startswith("_hparams_")]
    steps = {tag: [event.step for event in accumulator.Tensors(tag)] for tag in tags}
    contents = {tag: accumulator.SummaryMetadata(tag).plugin_data.content for tag in tags}
    return steps, contents


@pytest.mark.slow
def test_the_recipe_is_written_once_and_the_end_later(make_model, stream, tmp_path):
    model = make_model()
    for end in (1, 3):
        callbacks = [HParams(tmp_path, RECIPE)]
        model.fit(stream, epochs=end, initial_epoch=end // 2, verbose=0, callbacks=callbacks)
        steps, contents = read(tmp_path)
        assert steps == {START: [0], END: [7 * end]}
    start = metadata.parse_session_start_info_plugin_data(contents[START])
    assert start.group_name == "", "TensorBoard then names the trial as it names the run"
    found = {}
    for name, value in start.hparams.items():
        found[name] = getattr(value, value.WhichOneof("kind"))
    assert found == FLAT
    end = metadata.parse_session_end_info_plugin_data(contents[END])
    assert end.status == api_pb2.STATUS_SUCCESS


def test_an_interrupted_training_has_no_end_record(make_model, stream, crash, tmp_path):
    callbacks = [HParams(tmp_path, RECIPE), crash(step=3)]
    with pytest.raises(RuntimeError, match="crash"):
        make_model().fit(stream, verbose=0, callbacks=callbacks)
    assert read(tmp_path)[0] == {START: [0]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([1, 2]), "[1, 2]"),
        (np.array(3), 3),
        ([], "[]"),
        ([None, {"a": (1,)}], '[null, {"a": [1]}]'),
        ([datetime.date(2024, 2, 29)], '["2024-02-29"]'),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (10**400, str(10**400)),
        (2**60, str(2**60)),
        (-(2**53), -(2**53)),
        (1e300, 1e300),
        ({1}, "{1}"),
        (b"a", "b'a'"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_all_values_are_converted_to_types_tensorboard_accepts(value, expected):
    (found,) = flat({"x": value}).values()
    assert (found, type(found)) == (expected, type(expected))


def test_an_empty_dict_gives_no_hyperparameters():
    assert flat({"a": {}, "b": {"c": {}}, 3: 4}) == {"3": 4}


def test_the_example_is_true():
    assert doctest.testmod(hparams).failed == 0
