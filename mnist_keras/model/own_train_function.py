"""A train function of the program's own, called step by step in ``fit`` of a `TapeModel`."""

import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.step_observer import EPOCH_MEAN, flat, is_loss
from mnist_keras.checkpoint import fingerprint
from mnist_keras.checkpoint.step_graph import StepGraph
from mnist_keras.checkpoint.watched_iterator import watch
from mnist_keras.distributed import replicas
from mnist_keras.errors import UsageError
from mnist_keras.model.multi_step import MultiStepFunction, StepRecords

_IS_HIDDEN = (
    "the train function is the program's own and its graph is not seen, so random operations in it "
    "may begin again; override train_step instead, or make the train function a tf.function"
)
_PLACE = (
    "the train function is the program's own, and it is not seen that each step draws one batch, "
    "so the place in the data is not known; draw one for each step, with steps_per_execution=1"
)
# What may hold the function of the steps, besides the model.
_HOLDERS = (
    types.FunctionType,
    types.MethodType,
    functools.partial,
    tf.types.experimental.PolymorphicFunction,
    MultiStepFunction,
)


class OwnTrainFunction:
    """Stands in for a train function of the program's own while ``fit`` runs.

    It calls the function once for each execution, counts the steps and notes the place in the
    data. The function may call the one that `TapeModel` makes; then each step is recorded as
    without it. Otherwise the logs are all that is known of a step.

    Args:
        model: a `TapeModel`.
        function: takes the iterator over the batches, runs ``steps_per_execution`` steps and
            returns the logs of the last one.

    Attributes:
        function: the same.
        fingerprints, examples: as for `MultiStepFunction`; None if the batches were not seen.
        draws: how many batches the last execution drew.
    """

    def __init__(self, model: Any, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.fingerprints: Any = None
        self.examples: Any = None
        self.draws = 0
        self._model = model
        found = (part for part in _parts(function, model) if isinstance(part, MultiStepFunction))
        self._ours: MultiStepFunction | None = next(found, None)
        self._iterator: Any = None
        self._end_watch: Callable[[], None] = lambda: None
        # Of the present execution: what ours is asked for and did, and the batches drawn in Python.
        self._asked: dict[str, Any] = {}
        self._ran_inside = 0
        self._seen: list[Any] = []
        self._sees_draws = self._ran_ours = self._has_run = False
        self._is_lost = False  # The place in the data.
        self._step_graphs: dict[Any, StepGraph] = {}  # To look at one takes as long as many steps.

    @property
    def counts_examples(self) -> bool:
        """As for `MultiStepFunction`."""
        return self._ours is None or self._ours.counts_examples

    def __call__(self, iterator: Any) -> Any:
        """Run the next execution, as Keras asks for it."""
        return self._model.fit_callbacks.run_window(iterator, self.run)

    def trace(self, batch_spec: Any, *, builds: bool) -> StepGraph | None:
        """Trace a step without running it.

        A Python function is not traced: it may count its calls.

        Args:
            batch_spec, builds: as for `MultiStepFunction.trace`.

        Returns:
            The graph of a step, or of an execution; None if it is not known.
        """
        if self._ours is not None:
            return self._ours.trace(batch_spec, builds=builds)
        is_graph = isinstance(self.function, tf.types.experimental.PolymorphicFunction)
        if not is_graph or _keras.strategy_of(self._model) is not None:
            return None
        spec = tf.data.IteratorSpec(batch_spec)
        return StepGraph(self.function.get_concrete_function(spec), takes_iterator=True)  # type: ignore[attr-defined]

    def run(
        self, iterator: Any, begin: int, end: int, *, due: Any, prints: Any, stream: Any
    ) -> tuple[int, Any]:
        """Run the steps of the epoch from ``begin`` up to, but not including, ``end``.

        The arguments and the result are those of `MultiStepFunction.run`.

        Raises:
            UsageError: the steps are not a whole execution.
        """
        if self._ours is None:
            self._require_whole_execution(begin, end, due)
        if iterator is not self._iterator:
            self._take(iterator, skipped=0 if stream is None else begin)
        model, first, count = self._model, self._model.steps_trained, end - begin
        self._asked = {"count": count, "due": due, "prints": prints}
        self._ran_inside, self._seen = 0, []
        self.fingerprints = self.examples = None
        has_rate = any(due) and model.optimizer is not None
        rate = {"learning_rate": _number(model.optimizer.learning_rate)} if has_rate else {}
        try:
            logs = self.function(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):  # Keras takes both for the end.
            return 0, {}
        finally:
            self._asked = {}
        if self._ran_inside:
            ran, is_known = min(self._ran_inside, count), True
            self.draws = self._ran_inside + len(self._seen)
            if self.draws != ran:
                self.fingerprints = None  # They are those of the last batches only.
        else:
            self._sees_draws |= bool(self._seen)
            is_known = self._sees_draws
            self.draws = len(self._seen) if is_known else count
            ran = min(count, max(self.draws, 1))
            self._note_batch(prints)
            if self.examples is None:
                model.examples_in_epoch = None
            model.step_records = _LogRecords.of(logs, step=first + ran - 1, others=rate)
        self._ran_ours |= bool(self._ran_inside)
        self._is_lost |= stream is not None and is_known and self.draws != ran
        self._has_run = True
        model.steps_trained = first + ran
        return ran, logs

    def run_inside(self, run: Callable[..., Any], iterator: Any) -> tuple[int, Any]:
        """Run the steps of the present execution by ours, which the program's function calls.

        Args:
            run: `MultiStepFunction.run`.
            iterator: what the function gives it.
        """
        first, seen = self._model.steps_trained, len(self._seen)
        asked = dict(self._asked)
        ran, logs = run(iterator, 0, asked.pop("count", self._model.steps_per_execution), **asked)
        ours = run.__self__  # type: ignore[attr-defined]
        self.fingerprints, self.examples = ours.fingerprints, ours.examples
        # The execution counts once, however often the function calls ours.
        self._model.steps_trained = first
        self._ran_inside += ran
        del self._seen[seen:]
        return ran, logs

    def obstacles(self) -> list[str]:
        """Why a resume may not be exact, as far as it is known after the first step."""
        if not self._has_run:
            return []
        graphs = list(self._graphs())
        reasons = [reason for graph in graphs for reason in graph.obstacles]
        if not self._ran_ours and not any(map(self._trains, graphs)):
            reasons.append(_IS_HIDDEN)
        is_placed = self._ran_ours or self._sees_draws or self._draws_once(graphs)
        if self._is_lost or not is_placed:
            reasons.append(_PLACE)
        return reasons

    @property
    def runs_python(self) -> bool:
        """Whether each step runs Python code of the program."""
        return not isinstance(self.function, tf.types.experimental.PolymorphicFunction)

    def end(self) -> None:
        """Leave the data as they were."""
        self._end_watch()
        self._iterator, self._end_watch = None, lambda: None

    def _require_whole_execution(self, begin, end, due):
        steps, in_epoch = self._model.steps_per_execution, self._model.fit_callbacks.steps_per_epoch
        is_whole = begin % steps == 0 and (end % steps == 0 or end == in_epoch)
        if steps > 1 and (not is_whole or any(due)):
            raise UsageError(
                "a train function of the program's own runs whole executions only. Received: steps "
                f"{begin} to {end} of the epoch, asked for by a callback or a checkpoint; "
                f"steps_per_execution={steps}. Expected: steps_per_execution=1, or callbacks that "
                "ask for no step within an execution."
            )

    def _take(self, iterator, *, skipped):
        """Begin with a new iterator; only the graph of ours finds a step's place in a stream."""
        self.end()
        for _ in itertools.islice(iterator, skipped):
            pass
        if isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
            self._end_watch = watch(iterator, lambda batch: self._seen.append(batch))
        self._iterator = iterator

    def _note_batch(self, prints):
        if len(self._seen) != 1 or self._model.steps_per_execution != 1:
            return
        batch = fingerprint.local(self._seen[0])
        if any(prints):
            self.fingerprints = [fingerprint.fingerprint(batch)]
        if _keras.strategy_of(self._model) is None:
            self.examples = tf.reshape(replicas.examples_if_known(batch), (1,))

    def _graphs(self) -> Iterator[StepGraph]:
        """The graphs that were traced of the function and of what it holds."""
        model = self._model
        if self._ours is not None and self._ran_ours:
            graph = self._ours.trace(model.fit_callbacks.fit.batch_spec, builds=False)
            if graph is not None:
                yield graph
        for part in _parts(self.function, model):
            for concrete in _keras.traced(part):
                if concrete not in self._step_graphs:
                    takes_iterator = _takes_iterator(concrete)
                    graph = StepGraph(concrete, takes_iterator=takes_iterator)
                    self._step_graphs[concrete] = graph
                yield self._step_graphs[concrete]

    def _trains(self, graph):
        """Whether a graph uses the model's weights."""
        local = self._model.distribute_strategy.experimental_local_results
        weights = {id(w) for v in self._model.trainable_variables for w in local(v.value)}
        return any(id(variable) in weights for variable in graph.variables)

    def _draws_once(self, graphs):
        """Whether each execution is known to be one step, for which a graph draws one batch."""
        drawing = [graph for graph in graphs if graph.takes_iterator]
        return (
            self._model.steps_per_execution == 1
            and bool(drawing)
            and all(graph.draws_once for graph in drawing)
        )


class _LogRecords(StepRecords):
    """What the logs tell of a step; its losses may be means over the epoch so far."""

    @classmethod
    def of(cls, logs: Any, *, step: int, others: dict[str, Any]) -> "_LogRecords":
        losses = {f"{name}{EPOCH_MEAN}": v for name, v in flat(logs).items() if is_loss(name)}
        return cls(step, {**losses, **others}, tuple(losses))

    @functools.cached_property
    def _on_host(self):
        return {name: _number(value).reshape(1) for name, value in self.values.items()}


def _number(value):
    return np.mean(keras.ops.convert_to_numpy(value), dtype=np.float32)


def _takes_iterator(concrete):
    arguments, _ = concrete.structured_input_signature
    return any("IteratorSpec" in type(argument).__name__ for argument in arguments)


def _parts(function: Any, model: Any) -> Iterator[Any]:
    """A function, and the functions that it holds in closures, arguments and attributes."""
    waiting, seen = [function], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if callable(part) and part is not model:
            yield part
        held: list[Any] = []
        if isinstance(part, functools.partial):
            held = [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, types.MethodType):
            held = [part.__func__, part.__self__]
        elif isinstance(part, types.FunctionType):
            held = [*inspect.getclosurevars(part).nonlocals.values(), inspect.unwrap(part)]
        elif isinstance(part, tf.types.experimental.PolymorphicFunction):
            held = [inspect.unwrap(part)]
        elif not isinstance(part, MultiStepFunction):
            held = list(vars(part).values())
        waiting.extend(one for one in held if one is model or isinstance(one, _HOLDERS))
