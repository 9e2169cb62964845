"""Reports each reason why a resumed training would not give the same bits."""

from collections.abc import Callable
from typing import Any

from mnist_keras.callbacks.base import Fit
from mnist_keras.checkpoint import iterator_state
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

    def look_for_obstacles(self, fit: Fit) -> None:
        """Report the reasons that are known at the start of a fit."""
        if fit.data is not None:
            fit.data.report_to(self.report)
            for reason in fit.data.obstacles():
                self.report(f"{reason}; give it a seed, or use tf.random.stateless operations")
        operations = (
            [] if fit.step_graph is None else iterator_state.stateful_random_ops(fit.step_graph)
        )
        if operations:
            name, kind = operations[0]
            self.report(
                f"the training step draws with {kind} ({name}), whose state cannot be saved; draw "
                "with keras.random and seed=self.seed_generator, a keras.random.SeedGenerator that "
                "the model holds, or with a tf.random.Generator"
            )
