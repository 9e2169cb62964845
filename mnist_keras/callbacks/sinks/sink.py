"""The base class of all sinks: what `StepLogger` calls."""

from collections.abc import Iterable, Mapping

_EPOCH = "epoch_"


class Sink:
    """A place that gets the values of a run's steps; all methods do nothing by default.

    An exception from a sink never ends the training: `StepLogger` prints it in one line on stderr.
    A slow method makes the training wait. Among several workers only the chief calls its sinks.

    Example: your own sink. A resumed run repeats the steps since its last checkpoint, so `begin`
    takes them back.

    >>> class Memory(Sink):
    ...     def __init__(self):
    ...         self.values = {}
    ...     def begin(self, step):
    ...         self.values = {at: values for at, values in self.values.items() if at < step}
    ...     def write(self, step, values):
    ...         self.values.setdefault(step, {}).update(values)
    >>> memory = Memory()
    >>> memory.begin(0)
    >>> memory.write(0, {"loss": 2.5})
    >>> memory.write(100, {"loss": 0.5})
    >>> memory.begin(100)
    >>> memory.values
    {0: {'loss': 2.5}}
    """

    def keep_earlier(self) -> None:
        """Keep what an earlier training wrote; called before `begin` if the fit begins anew."""

    def begin(self, step: int) -> None:
        """Open; called before the first step of each fit, after a checkpoint was restored.

        Args:
            step: the fit's first step. Values of this and later steps that an interrupted session
                wrote will be written again, except those that `outlasts` describes.
        """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step, in ascending steps.

        Args:
            step: the number of the batch, over all epochs; at the end of an epoch the number of
                updates done.
            values: {name: value}. The names are TensorBoard's tags. At the end of an epoch they
                are ``epoch_NAME`` for each NAME in Keras's logs, such as ``epoch_val_loss``, and
                ``epoch_NAME/INDEX`` for the entries of an array.
        """

    def flush(self) -> None:
        """Make everything written so far durable.

        Called from another thread, before a checkpoint is written: a run that resumes from it does
        not repeat the earlier steps.
        """

    def fail(self, *, interrupted: bool) -> None:
        """Note that the training ended by an exception; called before `close`.

        Args:
            interrupted: whether it was a signal, such as Ctrl-C, and not an error.
        """

    def close(self) -> None:
        """Write what is left and release everything; called at the end of each fit."""


def outlasts(names: Iterable[str]) -> bool:
    """Whether a run that resumes at exactly their step does not write these values again.

    Those at the end of an epoch describe the weights after so many updates, all others the batch
    with that number.

    >>> outlasts(["epoch_loss", "epoch_val_loss"]), outlasts(["loss"])
    (True, False)
    """
    return all(name.startswith(_EPOCH) for name in names)
