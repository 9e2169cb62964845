"""A profile has the requested steps and is where TensorBoard's profile page looks."""

import collections
import doctest

import pytest
from tensorboard.backend.event_processing import plugin_asset_util
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

from mnist_keras.callbacks import Checkpoint, Profiler
from mnist_keras.callbacks.tensorboard import profiler
from mnist_keras.errors import MnistKerasError, UsageError

pytestmark = pytest.mark.slow


def profiles(logdir):
    """{name: {step: number of its marks}} of the profiles that TensorBoard finds."""
    directory = plugin_asset_util.PluginDirectory(str(logdir), "profile")
    names = plugin_asset_util.ListAssets(str(logdir), "profile")
    found = {}
    for name in (name.strip("/") for name in names):
        (path,) = logdir.glob(f"{directory.removeprefix(f'{logdir}/')}/{name}/*.xplane.pb")
        found[name] = marked_steps(XSpace.FromString(path.read_bytes()))
    return found


def marked_steps(space):
    steps = collections.Counter()
    for plane in space.planes:
        stat_names = {number: stat.name for number, stat in plane.stat_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            if plane.event_metadata[event.metadata_id].name == "train":
                stats = {stat_names[stat.metadata_id]: stat.int64_value for stat in event.stats}
                steps[stats["step_num"]] += 1
    return dict(steps)


@pytest.mark.parametrize("kind", ["TapeModel", "keras.Model"])
def test_the_trace_has_exactly_the_requested_steps(kind, make_model, make_plain, stream, tmp_path):
    model = make_model(steps_per_execution=100) if kind == "TapeModel" else make_plain()
    callbacks = [Profiler(tmp_path, first=5, last=8)]  # An epoch has 7 steps.
    model.fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    assert profiles(tmp_path) == {"steps_5-8": {5: 1, 6: 1, 7: 1, 8: 1}}


def test_a_run_ending_early_keeps_its_profiled_steps(make_model, stream, tmp_path):
    make_model().fit(stream, verbose=0, callbacks=[Profiler(tmp_path, first=6, last=99)])
    assert profiles(tmp_path) == {"steps_6-6": {6: 1}}


def test_steps_never_reached_leave_no_profile(make_model, stream, tmp_path):
    make_model().fit(stream, verbose=0, callbacks=[Profiler(tmp_path, first=7, last=9)])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_profiles_the_rest_when_resumed(make_model, stream, crash, tmp_path):
    for crashes in ([crash(step=4, saved=True)], []):
        callbacks = [
            Profiler(tmp_path, first=2, last=5),
            Checkpoint(tmp_path / "checkpoints", every_steps=4),
            *crashes,
        ]
        try:
            make_model(steps_per_execution=3).fit(stream, verbose=0, callbacks=callbacks)
        except RuntimeError:
            assert profiles(tmp_path) == {"steps_2-3": {2: 1, 3: 1}}
    assert profiles(tmp_path) == {"steps_2-3": {2: 1, 3: 1}, "steps_4-5": {4: 1, 5: 1}}


def test_a_second_run_in_the_process_can_be_profiled_too(make_model, stream, tmp_path):
    for name in "ab":
        callbacks = [Profiler(tmp_path / name, first=1, last=1)]
        make_model().fit(stream, verbose=0, callbacks=callbacks)
        assert profiles(tmp_path / name) == {"steps_1-1": {1: 1}}


@pytest.mark.parametrize(
    ("first", "last"), [(-1, 3), (3, 2), (0.5, 2), (1, 2.5), (None, 3), ("1", "3"), (True, 3)]
)
def test_invalid_steps_are_refused(first, last, tmp_path):
    with pytest.raises(UsageError) as error:
        Profiler(tmp_path, first=first, last=last)
    assert str(error.value) == (
        f"the steps to profile are wrong. Received: {first!r} to {last!r}. "
        "Expected: two integers with 0 <= first <= last."
    )


def test_a_plain_model_of_several_steps_per_execution_is_refused(make_plain, stream, tmp_path):
    with pytest.raises(UsageError, match=r"does not report each step"):
        make_plain(steps_per_execution=2).fit(
            stream, verbose=0, callbacks=[Profiler(tmp_path, first=0, last=1)]
        )


def test_an_unwritable_profile_ends_training_with_a_one_line_error(make_model, stream, tmp_path):
    (tmp_path / "plugins").write_text("in the way")
    with pytest.raises(MnistKerasError) as error:
        make_model().fit(stream, verbose=0, callbacks=[Profiler(tmp_path, first=0, last=1)])
    assert str(error.value) == (
        "the profile cannot be written: Not a directory. "
        f"Received: {tmp_path}/plugins/profile/steps_0-1. Expected: a directory with space left."
    )


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(profiler).failed == 0
