"""The table of tests/test_parity.py: programs that must give the same with either base class.

A row is a function of a `Maker`, which makes its models. It returns everything that must be equal:
numbers, arrays and text in any nesting.
"""

import dataclasses

import keras
import numpy as np

ROWS = {}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        run: the program.
        group: what the row is about, a heading of docs/parity.md.
        keras_is_wrong: what keras.Model does instead, if the two differ on purpose.
        right: the name of the row with the result that keras.Model should give then, if any.
        same_for_keras: the name of the row that is the same program if the base is keras.Model.
    """

    run: object
    group: str
    keras_is_wrong: str | None = None
    right: str | None = None
    same_for_keras: str | None = None


def row(name, group, **attributes):
    """Add a function to the table."""

    def add(run):
        assert name not in ROWS, name
        ROWS[name] = Row(run, group, **attributes)
        return run

    return add


class Maker:
    """Makes the models of a row, from `keras.Model` or from `TapeModel`.

    Args:
        base: the class.
    """

    def __init__(self, base):
        self.base = base

    def wrapped(self, network):
        """The network itself, or a `TapeModel` around it."""
        return network if self.base is keras.Model else self.base(network)

    def functional(self, inputs, outputs):
        """A functional model."""
        return self.base(inputs, outputs)


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(22, 4)).astype("float32")
Y = RANDOM.normal(size=(22, 2)).astype("float32")
CLASSES = RANDOM.integers(0, 3, 22)
WEIGHTS = RANDOM.random(22).astype("float32")
WORDS = RANDOM.integers(0, 7, (22, 5))


def dense(outputs=2, **arguments):
    """A small network of dense layers."""
    hidden = keras.layers.Dense(3, activation="tanh")
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(outputs, **arguments)])


def sgd(**arguments):
    return keras.optimizers.SGD(0.1, momentum=0.9, **arguments)


def fitted(model, x=X, y=Y, *, optimizer=None, loss="mse", compiled=None, inputs=None, **arguments):
    """Compile and train; the history, all variables and, if inputs are given, predictions."""
    compiled = {"loss": loss, **(compiled or {})}
    model.compile(optimizer=optimizer or sgd(), **compiled)
    arguments = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, **arguments}
    if not isinstance(x, np.ndarray | list | dict | tuple):
        del arguments["batch_size"], arguments["shuffle"]
    history = model.fit(x, y, **arguments).history
    found = {"history": history, "state": state(model)}
    if inputs is not None:
        found["predict"] = model.predict(inputs, batch_size=8, verbose=0)
    return found


def state(model):
    """All variables of a model and of its optimizer."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v)) for v in variables]


def column(name, group, *, keras_is_wrong=None, right=None, **arguments):
    """Add a row that trains `dense` in a particular way; the arguments are new each time."""

    def run(make):
        made = {key: value() if callable(value) else value for key, value in arguments.items()}
        network = made.pop("network", None) or dense(made.pop("outputs", 2))
        model = make.wrapped(network)
        return fitted(model, **made)

    row(name, group, keras_is_wrong=keras_is_wrong, right=right)(run)
