"""The training state of a model in memory, to undo what is done to the model in this process."""

import contextlib
from typing import Any

from mnist_keras import _keras
from mnist_keras.checkpoint import model_variables, random_state, training_state
from mnist_keras.checkpoint.step_graph import StepGraph
from mnist_keras.checkpoint.training_state import Position

_FUNCTIONS = ("train_function", "test_function")
_ATTRIBUTES = ("steps_trained", "step_records", "examples_in_epoch")  # Of a TapeModel.


class Snapshot:
    """Undoes a ``fit``: afterwards the model trains as if it had not been.

    It puts back, to the bit, what a checkpoint holds of the model, and the random generators of the
    process. Graphs are put back too: the ``fit`` traces its own ones, because the random operations
    in a graph keep a state that cannot be read. The data are not put back.

    Create it before ``fit`` makes its functions, and call `take` or `take_at_first_step` before the
    first step.

    Args:
        model: a compiled keras.Model.
        random: the states of the random generators to put back, from
            `mnist_keras.checkpoint.random_state.capture`; None: the present ones.
    """

    def __init__(self, model: Any, *, random: dict[str, Any] | None = None) -> None:
        self._model = model
        self._random = random_state.capture() if random is None else random
        self._was_built = model.built
        self._functions = {name: getattr(model, name, None) for name in _FUNCTIONS}
        self._attributes = {n: getattr(model, n) for n in _ATTRIBUTES if hasattr(model, n)}
        self._generators: set[str] = set()
        self._step: StepGraph | None = None
        self._state: Any = None
        self._variables: dict[str, Any] = {}
        self._set(dict.fromkeys(_FUNCTIONS))

    def take(self, *, step: StepGraph | None = None) -> None:
        """Copy the variables, once they exist.

        Args:
            step: the graph of the training step, or None.
        """
        if not self._was_built:
            self._random = random_state.capture()  # A layer may draw when it is built.
        self._generators = set(_keras.global_generators())
        self._step = step
        self._variables = self._find()
        position = Position(step=0, epoch=0, step_in_epoch=0)
        self._state = training_state.capture(self._model, [], position, step=step)

    def take_at_first_step(self) -> None:
        """Copy the variables of a plain ``keras.Model`` just before its first step.

        Keras builds such a model in that step, and tells only the train function what a batch looks
        like. Call it after ``fit`` has made that function.
        """
        function = self._model.train_function

        def first_step(iterator):
            self._build(iterator.element_spec)
            self.take()
            self._model.train_function = function
            return function(iterator)

        self._model.train_function = first_step

    def _build(self, batch_spec):
        """Build what the first step would build."""
        model = self._model
        # A model without `call` has to be built by its program.
        with contextlib.suppress(Exception):
            _keras.build_symbolically(model, batch_spec)
        optimizer = getattr(model, "optimizer", None)
        if model.built and optimizer is not None and not optimizer.built:
            optimizer.build(model.trainable_variables)

    def new_variables(self) -> list[str]:
        """The paths of the variables that were made since `take`, which cannot be put back.

        Those of metrics can: ``fit`` begins with metrics in their first state.
        """
        known = {id(variable) for variable in self._variables.values()}
        found = model_variables.groups(self._model, self._step)
        return [
            path
            for group, members in found.items()
            for path, variable in members
            if group not in ("global", "metrics") and id(variable) not in known
        ]

    def restore(self) -> None:
        """Put everything back; if `take` was not called, what was changed so far."""
        self._set(self._functions)
        if self._state is not None:
            # A generator that did not exist is made anew by its next draw.
            _keras.drop_global_generators(_keras.global_generators().keys() - self._generators)
            for key, variable in self._variables.items():
                variable.assign(self._state.arrays[key])
            self._restore_metrics()
            self._set(self._attributes)
        has_drawn = not _same_seeds(random_state.capture(), self._random)
        random_state.restore(self._random)
        if has_drawn:
            _keras.restart_eager_operations()

    def _find(self):
        """{key: variable} of all variables but those of metrics."""
        found = model_variables.groups(self._model, self._step)
        del found["metrics"]
        return {key: variable for key, (_, variable) in training_state.keyed(found).items()}

    def _restore_metrics(self):
        count = len(self._model.metrics_variables)
        if all(training_state.key_of("metrics", n) in self._state.arrays for n in range(count)):
            training_state.restore_metrics(self._state, self._model)
        else:
            self._model.reset_metrics()

    def _set(self, attributes):
        for name, value in attributes.items():
            setattr(self._model, name, value)


def _same_seeds(one, other):
    """Whether no seed of an eager operation was drawn between two states."""
    return random_state.same(one.get("tensorflow"), other.get("tensorflow"))
