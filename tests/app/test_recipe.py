import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError
from mnist_keras.app import networks, recipe
from mnist_keras.app.config import LOSSES, OPTIMIZERS, RunConfig
from mnist_keras.model import optimizers

IMAGES = np.random.default_rng(0).random((8, 28, 28), np.float32)
LABELS = np.eye(10, dtype=np.float32)[np.arange(8)]


def build(**values):
    return recipe.build_model(RunConfig(**{"batch_parts": 1, **values}), steps=40)


def test_seeding_then_building_gives_the_initial_weights():
    model = build(seed=11, optimizer="adam", loss="categorical_crossentropy")
    keras.utils.set_random_seed(11)
    expected = networks.build("mlp").get_weights()
    for ours, theirs in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(build(seed=12).get_weights()[0], expected[0])


def test_a_batch_is_split_into_the_requested_parts():
    assert build(batch_parts=2).batch_parts == 2


def test_gradients_are_accumulated_over_the_requested_steps():
    steps = [
        build(gradient_accumulation_steps=n).optimizer.gradient_accumulation_steps for n in (1, 3)
    ]
    assert steps == [None, 3]


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("sgd", optimizers.SGD, {"momentum": 0.0, "nesterov": False}),
        ("momentum", optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adam", keras.optimizers.Adam, {}),
        ("adamw", keras.optimizers.AdamW, {}),
        ("rmsprop", keras.optimizers.RMSprop, {}),
    ],
)
def test_each_optimizer_has_the_requested_settings_and_learning_rate(name, kind, settings):
    assert name in OPTIMIZERS
    optimizer = build(optimizer=name, learning_rate=0.5).optimizer
    assert type(optimizer) is kind
    assert optimizer.get_config().items() >= {"learning_rate": 0.5, **settings}.items()


def test_the_table_above_has_every_optimizer_flag_value():
    assert OPTIMIZERS == ("sgd", "momentum", "adam", "adamw", "rmsprop")


def test_a_schedule_covers_all_training_steps():
    optimizer = build(schedule="cosine", learning_rate=0.5).optimizer
    assert (
        optimizer.get_config()["learning_rate"]["config"].items()
        >= {
            "initial_learning_rate": 0.5,
            "decay_steps": 40,
        }.items()
    )


def test_a_schedule_warms_up_for_the_requested_steps():
    optimizer = build(schedule="one_cycle", warmup_steps=7).optimizer
    assert (
        optimizer.get_config()["learning_rate"]["config"].items()
        >= {
            "warmup_target": 0.001,
            "warmup_steps": 7,
            "decay_steps": 33,
        }.items()
    )


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_uses_the_requested_betas_or_its_defaults(name):
    asked = build(optimizer=name, adam_beta_1=0.7, adam_beta_2=0.0).optimizer
    own = build(optimizer=name).optimizer
    assert [(o.beta_1, o.beta_2) for o in (asked, own)] == [(0.7, 0.0), (0.9, 0.999)]


def test_adamw_uses_the_requested_weight_decay_or_its_default():
    decays = [build(optimizer="adamw", weight_decay=w).optimizer.weight_decay for w in (0.5, None)]
    assert decays == [0.5, 0.004]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_averages_weights_if_a_decay_is_given(name):
    asked = build(optimizer=name, average_decay=0.75).optimizer
    assert (asked.use_ema, asked.ema_momentum) == (True, 0.75)
    assert asked.ema_overwrite_frequency is None
    assert build(optimizer=name).optimizer.use_ema is False


@pytest.mark.slow
def test_label_smoothing_covers_all_classes():
    model = build(loss="categorical_crossentropy", label_smoothing=0.2)
    scores = model.predict(IMAGES, verbose=0)
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = -((0.8 * LABELS + 0.02) * np.log(probabilities)).sum(1).mean()
    np.testing.assert_allclose(model.evaluate(IMAGES, LABELS, verbose=0)[0], expected, rtol=1e-5)


def test_the_augmentation_has_the_requested_amounts():
    amounts = {
        "augment_shift": 1.0,
        "augment_rotation": 2.0,
        "augment_scale": 0.3,
        "augment_shear": 4.0,
        "augment_elastic": 5.0,
    }
    assert recipe.augmentation(RunConfig(**amounts)).identity == {
        "shift_pixels": 1.0,
        "rotation_degrees": 2.0,
        "scale": 0.3,
        "shear_degrees": 4.0,
        "elastic_pixels": 5.0,
    }
    for name in amounts:
        assert recipe.augmentation(RunConfig(**{name: 0.5})) is not None
    assert recipe.augmentation(RunConfig()) is None


def test_float16_training_scales_its_loss():
    optimizer = build(dtype_policy="mixed_float16").optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(
        build(dtype_policy="mixed_bfloat16").optimizer, keras.optimizers.LossScaleOptimizer
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_requested_loss_is_computed_from_the_networks_scores(name):
    model = build(loss=name)
    scores = model.predict(IMAGES, verbose=0)
    if name == "sum_squared_error":
        expected = SumSquaredError()(LABELS, scores)
    else:
        probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        expected = -np.log(probabilities[LABELS == 1]).mean()
    result = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    np.testing.assert_allclose(result["loss"], expected, rtol=1e-5)
    assert result["accuracy"] == pytest.approx((scores.argmax(1) == np.arange(8)).mean())


@pytest.mark.parametrize("steps", ["auto", 7])
def test_the_model_gets_the_steps_per_execution(steps):
    expected = {"auto": 100}.get(steps, steps)
    assert build(steps_per_execution=steps).steps_per_execution == expected
