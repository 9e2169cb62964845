"""Reports each reason why a resumed training would not give the same bits."""

from collections.abc import Callable
from typing import Any

from mnist_keras.callbacks.base import Fit
from mnist_keras.checkpoint import backends, closures, model_variables
from mnist_keras.checkpoint.callback_attributes import CallbackAttributes
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
        tell: called with each line that all workers know; prints it on one of them.
        notice: called with each line that only this worker knows.
    """

    def __init__(
        self,
        *,
        is_required: bool,
        tell: Callable[[str], Any],
        notice: Callable[[str], Any],
    ) -> None:
        self._is_required = is_required
        self._tell = tell
        self._notice = notice
        self._reasons: list[str] = []
        self._numbers: dict[str, float] = {}

    @property
    def holds(self) -> bool:
        """Whether no reason against it is known."""
        return not self._reasons

    def report(self, reason: str) -> None:
        """Report once a reason that all workers know.

        Raises:
            NotExactError: exactness is required.
        """
        self._report(reason, self._tell)

    def report_own(self, reason: str) -> None:
        """Report once a reason that perhaps only this worker knows, such as its share of the data.

        Raises:
            NotExactError: exactness is required.
        """
        self._report(reason, self._notice)

    def learn_from_another_worker(self) -> None:
        """Note that another worker has printed a reason."""
        if self.holds:
            self._reasons.append("another worker has printed the reason")

    def _report(self, reason, print_line):
        if reason in self._reasons:
            return
        self._reasons.append(reason)
        line = f"resume is not exact: {reason}."
        if self._is_required:
            raise NotExactError(line)
        print_line(line)

    def look_for_obstacles(self, fit: Fit, model: Any) -> None:
        """Report the reasons that are known at the start of a fit."""
        self._numbers = closures.numbers(model) if closures.runs_python(model) else {}
        for name in model_variables.of_torch_modules(model):
            self.report(
                f"the model uses {name} of a torch module, which is not saved; use a Keras layer"
            )
        if fit.data is not None:
            fit.data.report_to(self.report_own)
            for reason in fit.data.obstacles():
                self.report(reason)
        if fit.step_graph is None:
            return
        for path in model_variables.unsaved(model, fit.step_graph):
            self.report(
                f"the training step uses the variable {path}, which only a closure or a global "
                "name holds; hold it in an attribute of the model"
            )
        for reason in fit.step_graph.obstacles:
            self.report(reason)

    def look_for_changes(self, fit: Fit, model: Any, attributes: CallbackAttributes) -> None:
        """Report what has changed and cannot be saved, and what the steps have shown.

        Args:
            fit: the running fit.
            model: the model; if its steps run Python code, they may change numbers.
            attributes: those of the user's callbacks.
        """
        for reason in fit.obstacles_of_steps():
            self.report(reason)
        for name in attributes.unsaved():
            self.report(
                f"the attribute {name} of a callback cannot be saved and restored; give the "
                "callback state_dict and load_state_dict"
            )
        if not closures.runs_python(model):
            return
        for name, number in closures.numbers(model).items():
            if number != self._numbers.get(name):
                self.report(
                    f"the attribute {name} of the model changes during training and is not saved; "
                    f"use a {'tf.Variable' if backends.is_tensorflow() else 'keras.Variable'}"
                )
