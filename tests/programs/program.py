"""The definition of a program, and the table of all programs."""

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Program:
    """A small version of a model that people train with `fit`.

    Attributes:
        name: its key in `PROGRAMS`.
        make: defines the class on a base class and returns the compiled model; steps_per_execution
            is not set. The model depends only on ``keras.utils.set_random_seed``.
        arrays: (x,), (x, y) or (x, y, sample_weight), 24 examples, the same at each call.
        batch_size: in examples.
        draws: where the random numbers of a step come from. "seed_generator": a Keras
            SeedGenerator of the model or of a layer; "keras_global": ``keras.random`` without a
            seed; "tf_global": ``tf.random`` without a seed; "stateless": ``tf.random.stateless_*``;
            "tf_generator": a ``tf.random.Generator``; "none" alone.
    """

    name: str
    make: Callable[[type[keras.Model]], keras.Model]
    arrays: Callable[[], tuple]
    batch_size: int = 4
    draws: frozenset[str] = dataclasses.field(kw_only=True)


PROGRAMS: dict[str, Program] = {}


def program(*draws, arrays):
    """Add a function that makes a model to the table, under the function's name."""

    def add(make):
        name = make.__name__
        assert name not in PROGRAMS, name
        PROGRAMS[name] = Program(name, make, arrays, draws=frozenset(draws))
        return make

    return add
