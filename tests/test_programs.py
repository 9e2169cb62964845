"""The programs of tests/programs train on keras.Model; other tests rely on this."""

import keras
import numpy as np
import pytest

from tests.programs import PROGRAMS

pytestmark = pytest.mark.slow


class WeightsAfterFirstStep(keras.callbacks.Callback):
    """Keeps the weights after the first step, since some models have none before."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.weights = arrays(self.model.trainable_weights)


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_trains_to_finite_numbers(name):
    program = PROGRAMS[name]
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model = program.make(keras.Model)
    early = WeightsAfterFirstStep()
    data = dict(zip(("x", "y", "sample_weight"), program.arrays(), strict=False))
    history = model.fit(
        **data, batch_size=program.batch_size, shuffle=False, verbose=0, callbacks=[early]
    ).history
    late = arrays(model.trainable_weights)
    assert all(np.isfinite(values).all() for values in (*history.values(), *late))
    assert any((one != other).any() for one, other in zip(early.weights, late, strict=True))
