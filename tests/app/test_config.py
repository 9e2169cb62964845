import dataclasses
import doctest

import pytest

from mnist_keras.app import checks, config
from mnist_keras.app.config import RunConfig
from mnist_keras.errors import UsageError

DIRECTORY = "the path of a directory"
NAME = "the name of one directory, without a slash"
RATE = "a number above 0, at most 1e+38"
LARGEST = 10**18 - 1
STEPS = f"auto or an integer from 1 to {LARGEST}"

REFUSED = [
    ({"batch_size": -1}, "--batch_size is too small. Received: -1. Expected: at least 1."),
    ({"batch_size": 0}, "--batch_size is too small. Received: 0. Expected: at least 1."),
    ({"epochs": 0}, "--epochs is too small. Received: 0. Expected: at least 1."),
    *(
        ({name: value}, f"--{name} is too large. Received: {value}. Expected: at most {most}.")
        for name, value, most in (
            ("batch_size", 10**18, LARGEST),
            ("log_every_steps", 10**18, LARGEST),
            ("keep_every_steps", 10**30, LARGEST),
            ("validation_examples", 10**18, LARGEST),
            ("epochs", 10**9 + 1, 10**9),
            ("cpu_devices", 100_000, 128),
        )
    ),
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
    (
        {"early_stopping_patience": -1},
        "--early_stopping_patience is too small. Received: -1. Expected: at least 0.",
    ),
    (
        {"early_stopping_patience": 3},
        "--early_stopping_patience has no loss to watch. Received: --early_stopping_patience=3 "
        "without --validation_examples. Expected: --validation_examples of at least 1.",
    ),
    ({"seed": -1}, "--seed is too small. Received: -1. Expected: at least 0."),
    (
        {"seed": 2**32},
        "--seed is too large. Received: 4294967296. Expected: at most 4294967295.",
    ),
    *(
        ({"learning_rate": rate}, f"--learning_rate is wrong. Received: {rate}. Expected: {RATE}.")
        for rate in (0.0, -0.1, float("nan"), float("inf"), 1e39)
    ),
    *(
        (
            {"steps_per_execution": steps},
            f"--steps_per_execution is wrong. Received: {steps!r}. Expected: {STEPS}.",
        )
        for steps in (0, -1, "abc", "", "1.5", 10**18)
    ),
    *(
        (
            {f"{what}_every_epochs": -1},
            f"--{what}_every_epochs is too small. Received: -1. Expected: at least 0.",
        )
        for what in ("weight_norms", "pictures", "histograms", "pr_curves")
    ),
    *(
        (
            {"profile_steps": steps},
            f"--profile_steps is wrong. Received: {steps!r}. "
            "Expected: FIRST-LAST, two integers with FIRST <= LAST.",
        )
        for steps in ("", "5", "5-", "-5", "7-5", "5-7-9", "a-b", "5 - 7", "5-7\n", "٣-٤")
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
        (
            {"batch_parts": parts},
            f"--batch_parts is wrong. Received: {parts!r}. "
            "Expected: auto or an integer from 1 to 256.",
        )
        for parts in (0, "abc", "2.5", 257)
    ),
    ({"warmup_steps": -1}, "--warmup_steps is too small. Received: -1. Expected: at least 0."),
    *(
        (
            {"optimizer": "adamw", "loss": "categorical_crossentropy", name: value},
            f"--{name} is wrong. Received: {value}. Expected: {expected}.",
        )
        for names, values, expected in (
            (
                ("weight_decay",),
                (-0.1, float("nan"), float("inf"), 1e39),
                "a number from 0 to 1e+38",
            ),
            (
                ("augment_shift", "augment_elastic"),
                (-0.1, float("nan"), float("inf"), 20.5),
                "a number from 0 to 20",
            ),
            (("augment_rotation",), (-0.1, float("nan"), 360.5), "a number from 0 to 360"),
            (
                ("adam_beta_1", "adam_beta_2", "average_decay", "label_smoothing", "augment_scale"),
                (-0.1, float("nan"), 1.0),
                "a number from 0 to below 1",
            ),
            (("augment_shear",), (-0.1, float("nan"), 60.5), "a number from 0 to 60"),
        )
        for name in names
        for value in values
    ),
    *(
        (
            {"optimizer": optimizer, name: value},
            f"--{name} does not go with this optimizer. Received: --optimizer={optimizer}. "
            f"Expected: {expected}.",
        )
        for optimizer, name, value, expected in (
            ("sgd", "adam_beta_1", 0.9, "--optimizer=adam or --optimizer=adamw"),
            ("rmsprop", "adam_beta_2", 0.0, "--optimizer=adam or --optimizer=adamw"),
            ("adam", "weight_decay", 0.0, "--optimizer=adamw"),
        )
    ),
    (
        {"label_smoothing": 0.1},
        "--label_smoothing does not go with this loss. Received: --loss=sum_squared_error. "
        "Expected: --loss=categorical_crossentropy.",
    ),
    *(
        ({name: path}, f"--{name} is wrong. Received: {path!r}. Expected: {DIRECTORY}.")
        for name in ("logdir", "data_dir", "export_dir")
        for path in ("", " ", "logs ", "a\nb", "\udcff")
    ),
    (
        {"dataset": "emnist"},
        "--dataset is wrong. Received: 'emnist'. "
        "Expected: one of auto, mnist, fashion_mnist, kmnist, synthetic.",
    ),
    *(
        (
            {"formats": formats},
            f"--formats is wrong. Received: {text!r}. "
            "Expected: some of saved_model,litert,litert_int8,onnx, each once.",
        )
        for formats, text in [
            ((), ""),
            (("",), ""),
            (("onnx", "pickle"), "onnx,pickle"),
            (("onnx", "litert", "onnx"), "onnx,litert,onnx"),
        ]
    ),
    *(
        (
            {"sinks": sinks},
            f"--sinks is wrong. Received: {text!r}. "
            "Expected: some of csv,jsonl,mlflow,wandb,aim, each once.",
        )
        for sinks, text in [
            ((), ""),
            (("csv", "tensorboard"), "csv,tensorboard"),
            (("csv", "csv"), "csv,csv"),
        ]
    ),
    (
        {"mode": "predict"},
        "--mode=predict has nothing to read. Received: no file. "
        "Expected: --mode=predict FILES, photos or IDX files.",
    ),
    (
        {"contact_sheet": "sheet.jpg"},
        "--contact_sheet is wrong. Received: 'sheet.jpg'. Expected: the path of a .png file.",
    ),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_an_invalid_value_is_refused_with_the_flags_name(values, message):
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
        {"steps_per_execution": 10**9, "batch_parts": 256},
        {"optimizer": "adam", "adam_beta_1": 0.0, "adam_beta_2": 0.0},
        {"optimizer": "adamw", "weight_decay": 0.0, "average_decay": 0.0, "warmup_steps": 0},
        {"augment_shift": 20.0, "augment_rotation": 360.0, "augment_scale": 0.99},
        {"learning_rate": 1e-30},
    ],
)
def test_unusual_but_valid_values_are_accepted(values):
    assert dataclasses.asdict(RunConfig(**values)).items() >= values.items()


def test_a_recipe_is_immutable_and_takes_keywords_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().epochs = 3
    with pytest.raises(TypeError):
        RunConfig("train")


def test_the_default_recipe_is_the_tutorials():
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
        "adam_beta_1": None,
        "adam_beta_2": None,
        "weight_decay": None,
        "average_decay": None,
        "label_smoothing": 0.0,
        "schedule": "constant",
        "warmup_steps": None,
        "augment_shift": 0.0,
        "augment_rotation": 0.0,
        "augment_scale": 0.0,
        "augment_shear": 0.0,
        "augment_elastic": 0.0,
        "batch_size": 200,
        "batch_parts": "auto",
        "gradient_accumulation_steps": 1,
        "epochs": 30,
        "shuffle": False,
        "seed": 0,
        "validation_examples": 0,
        "early_stopping_patience": 0,
        "log_every_steps": 100,
        "checkpoint_every_steps": None,
        "checkpoint_every_minutes": None,
        "keep_checkpoints": 3,
        "keep_best_checkpoints": 1,
        "keep_every_steps": None,
        "start_from": None,
        "steps_per_execution": "auto",
        "report": True,
        "sinks": None,
        "chart_layout": True,
        "run_text": True,
        "hparams": True,
        "network_graph": True,
        "memory_usage": True,
        "weight_norms_every_epochs": 5,
        "pictures_every_epochs": 30,
        "histograms_every_epochs": 0,
        "pr_curves_every_epochs": 0,
        "projector": False,
        "profile_steps": None,
        "dtype_policy": "float32",
        "distribution": "auto",
        "cpu_devices": 1,
        "data_partitions": 1,
        "debug": False,
        "json": False,
        "contact_sheet": None,
        "formats": ("saved_model", "litert", "litert_int8", "onnx"),
        "export_dir": None,
        "paths": (),
    }


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(config).failed == doctest.testmod(checks).failed == 0
