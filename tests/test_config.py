import dataclasses
import doctest

import pytest

from mnist_keras import config
from mnist_keras.config import RunConfig
from mnist_keras.errors import UsageError

DIRECTORY = "the path of a directory"
NAME = "the name of one directory, without a slash"
STEPS = "auto or a whole number of at least 1"
RATE = "a finite number above 0"

REFUSED = [
    ({"batch_size": -1}, "--batch_size is too small. Received: -1. Expected: at least 1."),
    ({"batch_size": 0}, "--batch_size is too small. Received: 0. Expected: at least 1."),
    ({"epochs": 0}, "--epochs is too small. Received: 0. Expected: at least 1."),
    ({"log_every_steps": 0}, "--log_every_steps is too small. Received: 0. Expected: at least 1."),
    (
        {"checkpoint_every_steps": 0},
        "--checkpoint_every_steps is too small. Received: 0. Expected: at least 1.",
    ),
    (
        {"keep_checkpoints": 0},
        "--keep_checkpoints is too small. Received: 0. Expected: at least 1.",
    ),
    (
        {"keep_best_checkpoints": 0},
        "--keep_best_checkpoints is too small. Received: 0. Expected: at least 1.",
    ),
    (
        {"keep_every_steps": 0},
        "--keep_every_steps is too small. Received: 0. Expected: at least 1.",
    ),
    *(
        (
            {"checkpoint_every_minutes": minutes},
            f"--checkpoint_every_minutes is wrong. Received: {minutes}. "
            "Expected: a number above 0.",
        )
        for minutes in (0.0, -1.0, float("nan"))
    ),
    (
        {"validation_examples": -1},
        "--validation_examples is too small. Received: -1. Expected: at least 0.",
    ),
    ({"seed": -1}, "--seed is too small. Received: -1. Expected: at least 0."),
    (
        {"seed": 2**32},
        "--seed is too large. Received: 4294967296. Expected: at most 4294967295.",
    ),
    *(
        ({"learning_rate": rate}, f"--learning_rate is wrong. Received: {rate}. Expected: {RATE}.")
        for rate in (0.0, -0.1, float("nan"), float("inf"))
    ),
    *(
        (
            {"steps_per_execution": steps},
            f"--steps_per_execution is wrong. Received: {steps!r}. Expected: {STEPS}.",
        )
        for steps in (0, -1, "abc", "", "1.5")
    ),
    *(
        ({"run_name": name}, f"--run_name is wrong. Received: {name!r}. Expected: {NAME}.")
        for name in ("", ".", "..", "a/b", "/", " a", "a ", "a\nb", "a\x1b[2J", "\udcff", "a\0")
    ),
    (
        {"run_name": "x" * 256},
        "--run_name is too long. Received: 256 bytes. Expected: at most 255.",
    ),
    (
        {"run_name": "数" * 86},
        "--run_name is too long. Received: 258 bytes. Expected: at most 255.",
    ),
    *(
        ({name: path}, f"--{name} is wrong. Received: {path!r}. Expected: {DIRECTORY}.")
        for name in ("logdir", "data_dir")
        for path in ("", " ", "logs ", "a\nb", "\udcff")
    ),
    (
        {"dataset": "emnist"},
        "--dataset is wrong. Received: 'emnist'. "
        "Expected: one of auto, mnist, fashion_mnist, kmnist, synthetic.",
    ),
    (
        {"mode": "predict"},
        "--mode=predict is not available in this version. Expected: one of train, evaluate.",
    ),
    (
        {"distribution": "mirrored"},
        "--distribution=mirrored is not available in this version. "
        "Expected: one of auto, one_device.",
    ),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_a_value_that_no_run_can_have_is_refused_by_its_flags_name(values, message):
    with pytest.raises(UsageError) as caught:
        RunConfig(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "values",
    [
        {"run_name": "数字 一"},
        {"run_name": "x" * 255},
        {"run_name": "-"},
        {"logdir": "空 间/my logs", "data_dir": "/"},
        {"seed": 2**32 - 1, "epochs": 10**9, "batch_size": 10**9},
        {"steps_per_execution": 10**9},
        {"learning_rate": 1e-30},
    ],
)
def test_unusual_values_that_a_run_can_have_are_taken(values):
    assert dataclasses.asdict(RunConfig(**values)).items() >= values.items()


def test_a_recipe_cannot_be_changed_and_takes_no_value_by_position():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().epochs = 3
    with pytest.raises(TypeError):
        RunConfig("train")


def test_the_recipe_without_flags_is_the_tutorials():
    assert dataclasses.asdict(RunConfig()) == {
        "mode": "train",
        "dataset": "auto",
        "data_dir": None,
        "logdir": "logs",
        "run_name": None,
        "overwrite": False,
        "network": "mlp",
        "loss": "sum_squared_error",
        "optimizer": "sgd",
        "learning_rate": 0.001,
        "schedule": "constant",
        "batch_size": 200,
        "gradient_accumulation_steps": 1,
        "epochs": 30,
        "shuffle": False,
        "seed": 0,
        "validation_examples": 0,
        "log_every_steps": 100,
        "checkpoint_every_steps": None,
        "checkpoint_every_minutes": None,
        "keep_checkpoints": 3,
        "keep_best_checkpoints": 1,
        "keep_every_steps": None,
        "start_from": None,
        "steps_per_execution": "auto",
        "dtype_policy": "float32",
        "distribution": "auto",
        "debug": False,
    }


def test_the_example_is_true():
    assert doctest.testmod(config).failed == 0
