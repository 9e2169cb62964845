"""The training state of a model in memory, to undo what is done to the model in this process."""

from typing import Any

from mnist_keras import _keras
from mnist_keras.checkpoint import model_variables, random_state, training_state
from mnist_keras.checkpoint.step_graph import StepGraph
from mnist_keras.checkpoint.training_state import Position, TrainingState

_FUNCTIONS = ("train_function", "test_function")
_ATTRIBUTES = ("steps_trained", "step_records", "examples_in_epoch")  # Of a TapeModel.
_LATE = "global"  # The global generators are made in their first draw, and dropped again.


class Snapshot:
    """Undoes a ``fit``: afterwards the model trains as if it had not been.

    It puts back, to the bit, what a checkpoint holds of the model, and the random generators of the
    process. Graphs are put back too: the ``fit`` traces its own ones, because the random operations
    in a graph keep a state that cannot be read. The data are not put back.

    Create it before ``fit`` makes its functions, and call `take` before the first batch.

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
        self._state: TrainingState | None = None
        self._set(dict.fromkeys(_FUNCTIONS))

    def take(self, step: StepGraph | None) -> None:
        """Copy the variables, once they exist.

        Args:
            step: the graph of the training step, or None.
        """
        if not self._was_built:
            self._random = random_state.capture()  # A layer may draw when it is built.
        self._generators = set(_keras.global_generators())
        self._step = step
        position = Position(step=0, epoch=0, step_in_epoch=0)
        self._state = training_state.capture(self._model, [], position, step=step)

    def new_variables(self) -> list[str]:
        """The paths of the model's variables that were made since `take`; they stay as they are."""
        if self._state is None:
            return []
        known = {entry["key"] for entry in self._state.description["variables"]}
        return [
            path
            for group, members in model_variables.groups(self._model, self._step).items()
            for number, (path, _) in enumerate(members)
            if group != _LATE and f"{group}/{number:04d}" not in known
        ]

    def restore(self) -> None:
        """Put everything back; only what was changed so far, if `take` was not called."""
        self._set(self._functions)
        if self._state is not None:
            _keras.drop_global_generators(_keras.global_generators().keys() - self._generators)
            training_state.assign_variables(self._state, self._model, step=self._step)
            training_state.restore_metrics(self._state, self._model)
            self._set(self._attributes)
        has_drawn = not _same_seeds(random_state.capture(), self._random)
        random_state.restore(self._random)
        if has_drawn:
            _keras.restart_eager_operations()

    def _set(self, attributes):
        for name, value in attributes.items():
            setattr(self._model, name, value)


def _same_seeds(one, other):
    """Whether no seed of an eager operation was drawn between two states."""
    return random_state.same(one.get("tensorflow"), other.get("tensorflow"))
