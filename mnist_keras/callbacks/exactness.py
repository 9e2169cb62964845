"""Reports each reason why a resumed training would not give the same bits."""

from collections.abc import Callable
from typing import Any

from mnist_keras.callbacks.base import Fit
from mnist_keras.checkpoint import closures, model_variables
from mnist_keras.errors import MnistKerasError


class NotExactError(MnistKerasError):
    """A resumed training would not give the same bits, and ``require_exact`` was set.

    Example:

    >>> NotExactError("resume is not exact: the generator has no seed.").exit_status
    1
    """


class Exactness:
    """What is known about the exactness of a resume.

    Args:
        is_required: whether to raise an error instead of printing a line.
        notice: called with each line.
    """

    def __init__(self, *, is_required: bool, notice: Callable[[str], Any]) -> None:
        self._is_required = is_required
        self._notice = notice
        self._reasons: list[str] = []
        self._numbers: dict[str, float] = {}

    @property
    def holds(self) -> bool:
        """Whether no reason against it is known."""
        return not self._reasons

    def report(self, reason: str) -> None:
        """Report a reason once.

        Raises:
            NotExactError: exactness is required.
        """
        if reason in self._reasons:
            return
        self._reasons.append(reason)
        line = f"resume is not exact: {reason}."
        if self._is_required:
            raise NotExactError(line)
        self._notice(line)

    def look_for_obstacles(self, fit: Fit, model: Any) -> None:
        """Report the reasons that are known at the start of a fit."""
        self._numbers = closures.numbers(model) if model.run_eagerly else {}
        if fit.data is not None:
            fit.data.report_to(self.report)
            for reason in fit.data.obstacles():
                self.report(f"{reason}; give it a seed, or use tf.random.stateless operations")
        if fit.step_graph is None:
            return
        for path in model_variables.unsaved(model, fit.step_graph):
            self.report(
                f"the training step uses the variable {path}, which only a closure or a global "
                "name holds; hold it in an attribute of the model"
            )
        for reason in fit.step_graph.obstacles:
            self.report(reason)

    def look_for_changes(self, model: Any) -> None:
        """Report the Python numbers of an eager model that its steps have changed."""
        if not model.run_eagerly:
            return
        for name, number in closures.numbers(model).items():
            if number != self._numbers.get(name):
                self.report(
                    f"the attribute {name} of the model changes during training and is not saved; "
                    "use a tf.Variable"
                )
