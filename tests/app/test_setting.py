import dataclasses
import doctest

import pytest

from mnist_keras.app import setting as module
from mnist_keras.app.config import RunConfig
from mnist_keras.app.setting import Decides, Group, setting, settings

PLACE = {"group": Group.DATA, "decides": Decides.COMPUTATION}


def names(condition):
    return {name for name, it in settings(RunConfig).items() if condition(it)}


def test_every_run_setting_declares_what_it_affects():
    undecided = [
        field.name
        for field in dataclasses.fields(RunConfig)
        if not isinstance(getattr(field.metadata.get("setting"), "decides", None), Decides)
    ]
    assert undecided == []


def test_every_run_setting_has_help_and_a_group():
    assert names(lambda it: not it.help.endswith(".") or it.group not in Group) == set()


def test_every_numeric_run_setting_has_a_unit_and_a_range():
    def has_no_range(it):
        return it.is_number and (not it.unit or it.at_least is it.above is None)

    assert names(has_no_range) == set()


def test_an_undeclared_field_is_refused():
    @dataclasses.dataclass
    class Config:
        noise: float = 0.0

    with pytest.raises(TypeError, match="noise does not say what it decides"):
        settings(Config)


@pytest.mark.parametrize("missing", ["help", "group", "decides"])
def test_a_declaration_without_help_group_or_class_is_refused(missing):
    declared = {"help": "Noise.", **PLACE}
    del declared[missing]
    with pytest.raises(TypeError, match=missing):
        setting(0.0, unit="fraction", **declared)


@pytest.mark.parametrize(
    ("default", "declared", "message"),
    [
        (0.0, {"help": "", "unit": "fraction"}, "noise has no help"),
        (0.0, {"help": "Noise."}, "noise is a number without a unit"),
        (
            None,
            {"help": "Noise.", "unit": "fraction"},
            "noise does not say what happens without it: default_help",
        ),
    ],
)
def test_an_incomplete_declaration_is_refused(default, declared, message):
    @dataclasses.dataclass
    class Config:
        noise: float | None = setting(default, **declared, **PLACE)

    with pytest.raises(TypeError) as caught:
        settings(Config)
    assert str(caught.value) == message


def test_each_class_of_settings_contains_these_names():
    # The tests of resume_rules and compare cover the settings of these classes.
    tested_elsewhere = {Decides.COMPUTATION, Decides.LENGTH, Decides.DISPLAY}
    found = {
        decides: names(lambda it, decides=decides: it.decides is decides)
        for decides in Decides
        if decides not in tested_elsewhere
    }
    assert found == {
        Decides.RECORDS: {
            "log_every_steps",
            "checkpoint_every_steps",
            "checkpoint_every_minutes",
            "keep_checkpoints",
            "keep_best_checkpoints",
            "keep_every_steps",
        },
        Decides.SPEED: {"steps_per_execution", "distribution", "cpu_devices"},
        Decides.PLACES: {"data_dir", "logdir", "run_name"},
        Decides.COMMAND: {
            "mode",
            "overwrite",
            "debug",
            "json",
            "contact_sheet",
            "formats",
            "export_dir",
            "paths",
        },
    }


def test_workers_may_differ_in_places_and_messages_only():
    assert names(lambda it: not it.is_same_on_all_workers) == {
        "data_dir",
        "logdir",
        "run_name",
        "start_from",
        "contact_sheet",
        "export_dir",
        "debug",
        "paths",
    }


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(module).failed == 0
