import doctest

import pytest

from mnist_keras.app import resume_rules
from mnist_keras.app.config import RunConfig
from mnist_keras.app.resume_rules import require_same_recipe, require_steps, training_recipe
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.errors import UsageError

# The flags.txt of the first version, with all its flags that affect results.
FIRST_VERSION = """\
--dataset=synthetic
--logdir=/elsewhere/logs
--run_name=first
--network=cnn
--loss=sum_squared_error
--optimizer=sgd
--learning_rate=0.01
--schedule=constant
--batch_size=50
--epochs=4
--shuffle=true
--seed=0
--validation_examples=0
--log_every_steps=10
--dtype_policy=float32
"""


@pytest.fixture
def run(tmp_path):
    """A run with a directory."""
    run = RunDirectory(tmp_path / "logs" / "a")
    run.path.mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("begun", "asked", "received", "expected"),
    [
        ({}, {"dataset": "kmnist"}, "--dataset=kmnist", "--dataset=mnist"),
        ({}, {"network": "cnn"}, "--network=cnn", "--network=mlp"),
        (
            {},
            {"loss": "categorical_crossentropy"},
            "--loss=categorical_crossentropy",
            "--loss=sum_squared_error",
        ),
        ({}, {"optimizer": "adam"}, "--optimizer=adam", "--optimizer=sgd"),
        ({}, {"learning_rate": 0.1}, "--learning_rate=0.1", "--learning_rate=0.001"),
        ({}, {"schedule": "cosine"}, "--schedule=cosine", "--schedule=constant"),
        (
            {},
            {"batch_size": 9, "seed": 1},
            "--batch_size=9 --seed=1",
            "--batch_size=200 --seed=0",
        ),
        ({}, {"shuffle": True}, "--shuffle=true", "--shuffle=false"),
        ({}, {"validation_examples": 9}, "--validation_examples=9", "--validation_examples=0"),
        ({}, {"dtype_policy": "mixed_bfloat16"}, "--dtype_policy=mixed_bfloat16", None),
        ({"schedule": "cosine"}, {"epochs": 31}, "--epochs=31", "--epochs=30"),
        ({}, {"warmup_steps": 9}, "--warmup_steps=9", "no --warmup_steps"),
        ({}, {"average_decay": 0.9}, "--average_decay=0.9", "no --average_decay"),
        (
            {"optimizer": "adamw"},
            {"adam_beta_1": 0.8, "adam_beta_2": 0.9, "weight_decay": 0.1},
            "--adam_beta_1=0.8 --adam_beta_2=0.9 --weight_decay=0.1",
            "no --adam_beta_1 no --adam_beta_2 no --weight_decay",
        ),
        (
            {"loss": "categorical_crossentropy"},
            {"label_smoothing": 0.1},
            "--label_smoothing=0.1",
            "--label_smoothing=0.0",
        ),
        *(
            ({}, {name: 0.5}, f"--{name}=0.5", f"--{name}=0.0")
            for name in (
                "augment_shift",
                "augment_rotation",
                "augment_scale",
                "augment_shear",
                "augment_elastic",
            )
        ),
        ({"batch_parts": 2}, {"batch_parts": 3}, "--batch_parts=3", "--batch_parts=2"),
    ],
)
def test_a_changed_flag_that_affects_results_is_refused_by_name(
    begun, asked, received, expected, run
):
    begun = {"dataset": "mnist", **begun}
    run.store_recipe(RunConfig(**begun))
    with pytest.raises(UsageError) as caught:
        require_same_recipe(run, RunConfig(**{**begun, **asked}), run.stored_recipe())
    expected = expected or "--dtype_policy=float32"
    assert str(caught.value) == (
        f"run a was started with other flags. Received: {received}. Expected: {expected}, "
        "or another --run_name, or --overwrite to start it anew."
    )


def test_flags_that_do_not_affect_results_may_change(run):
    run.store_recipe(RunConfig(dataset="synthetic"))
    others = {
        "dataset": "auto",
        "data_dir": "moved",
        "epochs": 31,
        "log_every_steps": 7,
        "checkpoint_every_steps": 7,
        "keep_checkpoints": 7,
        "checkpoint_every_minutes": 7.0,
        "keep_best_checkpoints": 7,
        "keep_every_steps": 7,
        "steps_per_execution": 7,
        "debug": True,
    }
    require_same_recipe(run, RunConfig(**others), run.stored_recipe())


def test_a_run_cannot_end_before_its_saved_step(run):
    CheckpointDirectory(run.checkpoints, keep=1).save(25, {}, {})
    require_steps(run, RunConfig(epochs=3), steps_per_epoch=10)
    with pytest.raises(UsageError) as caught:
        require_steps(run, RunConfig(epochs=2), steps_per_epoch=10)
    assert str(caught.value) == (
        "run a is already past its end. Received: --epochs=2. Expected: at least 3, "
        "as 25 steps of 10 per epoch are done, or --overwrite to start it anew."
    )


def test_an_empty_directory_past_the_end_does_not_count(run):
    CheckpointDirectory(run.checkpoints, keep=1).save(15, {}, {})
    (run.checkpoints / "step-00000099").mkdir()
    require_steps(run, RunConfig(epochs=2), steps_per_epoch=10)


def test_a_first_version_run_resumes_in_another_directory(run):
    run.recipe.write_text(FIRST_VERSION)
    asked = {"network": "cnn", "learning_rate": 0.01, "batch_size": 50, "shuffle": True}
    require_same_recipe(run, RunConfig(epochs=9, **asked), run.stored_recipe())


def test_the_training_recipe_holds_all_flags_that_affect_results():
    assert list(training_recipe(RunConfig())) == [
        "dataset",
        "network",
        "loss",
        "optimizer",
        "learning_rate",
        "adam_beta_1",
        "adam_beta_2",
        "weight_decay",
        "average_decay",
        "label_smoothing",
        "schedule",
        "warmup_steps",
        "augment_shift",
        "augment_rotation",
        "augment_scale",
        "augment_shear",
        "augment_elastic",
        "batch_size",
        "batch_parts",
        "gradient_accumulation_steps",
        "epochs",
        "shuffle",
        "seed",
        "validation_examples",
        "early_stopping_patience",
        "start_from",
        "dtype_policy",
        "data_partitions",
    ]


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(resume_rules).failed == 0
