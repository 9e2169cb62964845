"""A small training that is interrupted and resumed, and everything it leaves."""

import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError
from mnist_keras.data import batches

STEPS_PER_EPOCH = 7


@pytest.fixture(scope="session")
def examples(digits):
    """(images, labels): 7 batches of 10, the last one short."""
    return digits[0][:65], digits[1][:65]


@pytest.fixture(scope="session")
def held_out(digits):
    return digits[0][100:120], digits[1][100:120]


@pytest.fixture
def stream(examples):
    return batches(*examples, batch_size=10, shuffle=True, seed=5)


@pytest.fixture
def make_plain():
    """A plain keras.Model like those of ``make_model``."""

    def make(*, optimizer="sgd", metrics=("accuracy",), steps_per_execution=1):
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
        model = keras.Sequential([keras.Input((28, 28)), *layers])
        model.compile(
            optimizer=keras.optimizers.get(optimizer),
            loss=SumSquaredError(),
            metrics=list(metrics),
            steps_per_execution=steps_per_execution,
        )
        return model

    return make


@pytest.fixture(scope="session")
def traced():
    """{steps per execution: (model, its first state)}, reused because tracing is slow."""
    return {}


@pytest.fixture
def model_of_a_session(make_model, traced):
    """The model of one session: new at the start of a run, otherwise in a wrong state.

    It has dropout and Adam. The session has to restore everything that it needs.
    """

    def make(*, begins, steps_per_execution=5):
        if steps_per_execution not in traced:
            model = make_model(
                optimizer="adam", dropout=0.5, steps_per_execution=steps_per_execution
            )
            model.optimizer.build(model.trainable_variables)
            first = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
            traced[steps_per_execution] = model, first
        model, first = traced[steps_per_execution]
        variables = [*model.variables, *model.optimizer.variables]
        generator = np.random.default_rng(0)
        for variable, array in zip(variables, first, strict=True):
            if variable.name == "learning_rate":
                variable.assign(array)  # Each session's program gives the same.
                continue
            disorder = generator.integers(1, 9, array.shape)
            variable.assign(array if begins else np.array(disorder, array.dtype))
        for variable in model.metrics_variables:
            variable.assign(np.full(variable.shape, 5.0))
        model.steps_trained = 0 if begins else 77
        return model

    return make


@pytest.fixture
def arrays_in():
    """arrays_in(directory): {checkpoint: {key: array}}."""

    def read(directory):
        return {
            path.parent.name: dict(np.load(path)) for path in sorted(directory.glob("*/state.npz"))
        }

    return read


@pytest.fixture
def steps_in():
    """steps_in(directory): the numbers of the checkpoints there."""

    def read(directory):
        return sorted(int(path.name.removeprefix("step-")) for path in directory.iterdir())

    return read
