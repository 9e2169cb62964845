"""Records the place in the training data of a fit, saves it, and finds it again on resume.

The first method in this list that fits the data is used:

- A loader with ``state_dict`` and ``load_state_dict``, or a Grain iterator with ``get_state`` and
  ``set_state``: the loader's state after the last trained batch is restored.
- A tf.data pipeline whose iterator can be saved: the iterators of earlier epochs are created
  without drawing from them, which sets the seeds of shuffles. Then the last saved state of the last
  iterator is restored, and the batches that were drawn after it was saved are drawn again.
- Data that may remember earlier passes, such as a generator or a shuffle before a cache: all
  batches are drawn again from the beginning.
- All other data: the random generators are restored to their state at the start, the iterators and
  hooks of earlier epochs are repeated, and the batches of the current iterator are drawn again.

Batches that are drawn again are compared with the fingerprints of the earlier batches.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras._keras import EpochIterator, global_seed
from mnist_keras.checkpoint import fingerprint, iterator_state, random_state
from mnist_keras.checkpoint.data_identity import data_identity
from mnist_keras.checkpoint.loader_states import loader_states
from mnist_keras.checkpoint.saved_iterator import SavedIterator
from mnist_keras.checkpoint.training_state import StateMismatchError
from mnist_keras.checkpoint.unseeded_calls import unseeded_calls
from mnist_keras.console.progress_display import task_progress
from mnist_keras.data.array_batches import ArrayPass
from mnist_keras.data.cut_arrays import cut_arrays

_CHUNK_STEPS = 100  # between two updates of the progress display while batches are drawn again
_RECENT = 3  # fingerprints kept in addition to the first one
_TO_THE_END = 2**31 - 1


class StreamPosition:
    """The place in a `mnist_keras.data.stream.BatchStream`.

    The step number alone gives that place. This class only keeps the states of the random
    generators, because steps and callbacks may draw from them.

    Attributes:
        draws: batches of the current iterator that were trained on.
        wants_first: whether the next batch is the first batch of the training.
    """

    draws = 0
    wants_first = False
    _validations = 0
    _validations_to_replay = 0
    identity: dict[str, Any] | None = None

    def obstacles(self) -> list[str]:
        """The reasons, known at the start, why the same batches cannot be drawn again."""
        return []

    def advance(self, steps: int) -> None:
        """Add ``steps`` to the number of batches that were trained on."""
        self.draws += steps

    def note(self, draw: int, value: Any) -> None:
        """Keep the fingerprint of batch ``draw`` of the current iterator, counted from 0."""

    def report_to(self, report: Callable[[str], None]) -> None:
        """Call ``report(reason)`` for each reason that makes a resumed training inexact."""

    def begin_validation(self, epochs: EpochIterator) -> None:
        """Count a validation. The first call after a resume repeats the earlier validations.

        Args:
            epochs: Keras's iterator over the validation data.
        """
        for _ in range(self._validations_to_replay):
            epochs.replay_evaluation()
        self._validations_to_replay = 0
        self._validations += 1

    def capture(self) -> dict[str, Any]:
        """The place after the last trained batch, in types that a checkpoint can hold."""
        return {"now": random_state.capture(), "validations": self._validations}

    def resume(self, place: dict[str, Any], *, epoch: int, step_in_epoch: int) -> None:
        """Move to the place that `capture` returned.

        Args:
            place: the result of `capture`.
            epoch: the first epoch of this fit.
            step_in_epoch: steps of that epoch that are done.
        """
        self._validations = self._validations_to_replay = place["validations"]
        random_state.restore(place["now"])

    def detach(self) -> None:
        """Release the data; called at the end of the fit."""


class DataPosition(StreamPosition):
    """The place in training data of any other kind.

    Args:
        epochs: Keras's iterator over the epochs, a `mnist_keras._keras.EpochIterator`.
        strategy: the model's distribution strategy.
        first_epoch: the first epoch of the fit.
        began: the random generators' states before Keras opened the data, as
            `random_state.capture` returns them.
        cuts_arrays: whether the train function takes an `ArrayPass` as its iterator.
    """

    def __init__(
        self,
        epochs: EpochIterator,
        *,
        strategy: Any,
        first_epoch: int,
        began: Any,
        cuts_arrays: bool = False,
    ) -> None:
        self._epochs = epochs
        self._strategy = strategy
        self._first_epoch = first_epoch
        self._began = began
        self._owners: list[Any] = [] if epochs.source is None else [epochs.source]
        # TensorFlow keeps the function of `_shuffle` for ever, so it holds only this array.
        self._passes = np.zeros(1, np.int32)
        self.draws = 0
        self._newest: Any = None
        self._epoch_began: Any = None
        self._hooks: list[Any] = []
        self._replayed: list[Any] | None = None
        self._resuming: dict[str, Any] | None = None
        self._enters_again = False
        # {(number of the iterator, from 1; number of its batch, from 0): fingerprint}
        self._prints: dict[tuple[int, int], Any] = {}
        self._draws_whole_epochs = False
        self._shuffle_seed = 0
        self._saved = SavedIterator(
            can_save=epochs.kind == "tf.data"
            and isinstance(epochs.dataset, tf.data.Dataset)
            and not self._remembers_passes()
        )
        self._report: Callable[[str], None] = lambda reason: None
        self._source = loader_states(epochs)
        self._shuffles = epochs.shuffles_arrays and global_seed() is None
        if self._source is not None:
            epochs.rebuild(self._strategy, from_generator=self._source.from_generator)
        elif self._shuffles:
            self._shuffle_seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._is_cut = cuts_arrays and cut_arrays(epochs)
        if self._shuffles and not self._is_cut:
            epochs.rebuild(self._strategy, shuffle=self._shuffle)
        epochs.watch(on_iterator=self._on_iterator, around_hook=self._around_hook)

    @property
    def _made(self):
        """How many iterators over the data were made."""
        return int(self._passes[0])

    @_made.setter
    def _made(self, number):
        self._passes[0] = number

    def detach(self) -> None:
        self._epochs.unwatch()

    @functools.cached_property
    def identity(self) -> dict[str, Any]:  # type: ignore[override]  # Computed on first use.
        """Properties that must be equal in the data of a resumed training, {name: value}."""
        return data_identity(self._epochs, element_spec=self._epochs.dataset.element_spec)

    def obstacles(self) -> list[str]:
        pipeline, source = self._epochs.pipeline, self._epochs.source
        if pipeline is not None:
            return iterator_state.obstacles(pipeline)
        if self._epochs.kind == "PyDataset" and self._source is None:
            reasons = unseeded_calls(source, base=keras.utils.PyDataset)
            advice = "give it a seed, or keep one generator in an attribute"
            return [f"{reason}; {advice}" for reason in reasons]
        return []

    def note(self, draw: int, value: Any) -> None:
        self._prints[self._made, draw] = value
        recent = [place for place in self._prints if place != _FIRST]
        for place in recent[:-_RECENT]:
            del self._prints[place]

    @property
    def wants_first(self) -> bool:  # type: ignore[override]
        """Whether the next batch is the first batch of the training."""
        return (self._made, self.draws) == _FIRST

    def report_to(self, report: Callable[[str], None]) -> None:
        self._report = report

    def capture(self) -> dict[str, Any]:
        epochs = self._epochs
        place: dict[str, Any] = {
            "now": random_state.capture(*self._owners),
            "validations": self._validations,
            "began": self._began,
            "first_epoch": self._first_epoch,
            "made": self._made,
            "draws": self.draws,
            "num_batches": epochs.num_batches,
            "epoch_began": self._epoch_began,
            "hooks": _without_repeats(self._hooks),
            "shuffle_seed": self._shuffle_seed if self._shuffles else None,
            "prints": [[*where, int(value)] for where, value in self._prints.items()],
        }
        if self._source is not None:
            place["source"] = self._source.at(self.draws)
        else:
            state, draws = self._saved.at(self._newest, self.draws)
            if state is not None:
                place["tf_data"] = {"state": state, "draws": draws, "new": self._saved.new}
        return place

    def resume(self, place: dict[str, Any], *, epoch: int, step_in_epoch: int) -> None:
        epochs = self._epochs
        self._validations = self._validations_to_replay = place["validations"]
        self._began, self._first_epoch = place["began"], place["first_epoch"]
        hooks = _with_repeats(place["hooks"])
        self._compare_generators(hooks)
        self._hooks = hooks
        self._prints = {(int(made), int(draw)): int(v) for made, draw, v in place["prints"]}
        if place["shuffle_seed"] is not None and self._shuffles:
            self._shuffle_seed = int(place["shuffle_seed"])
            if not self._is_cut:
                epochs.rebuild(self._strategy, shuffle=self._shuffle)
        self._made, self._newest, self._epoch_began = 0, None, place["epoch_began"]
        self._replayed = self._hooks[1:]  # Keras has already called the first hook.
        whole = self._remembers_passes()
        for _ in range(self._first_epoch, epoch):
            self._draws_whole_epochs = whole
            epochs.replay_epoch(place["num_batches"])
        self._replayed, self._draws_whole_epochs = None, False
        goes_on_with = epochs.current if epochs.steps_per_epoch is not None else None
        self._resuming = place
        self._enters_again = step_in_epoch > 0
        if goes_on_with is not None and goes_on_with is self._newest:
            self._go_to(self._newest)
        elif step_in_epoch == 0:
            self._resuming = None
            random_state.restore(place["now"], *self._owners)

    def _compare_generators(self, hooks):
        """Compare the data's own generators at the first hook, which Keras has already called."""
        for now, before in zip(self._hooks[:1], hooks[:1], strict=False):
            if not random_state.same(now["held"], before["held"]):
                self._report(
                    "a random generator of the data began with another state before the "
                    f"interruption; {_SEED}"
                )

    def _remembers_passes(self):
        """Whether a pass over the data may depend on the draws of earlier passes."""
        if self._has_one_pass():
            return False
        pipeline = self._epochs.pipeline
        if pipeline is None:
            return self._epochs.kind == "generator"
        return iterator_state.keeps_state(pipeline) or iterator_state.needs_state(pipeline)

    def _has_one_pass(self):
        """Whether one iterator serves all epochs."""
        return self._epochs.steps_per_epoch is not None and self._epochs.num_batches is None

    def _on_iterator(self, iterator):
        self._made, self._newest, self.draws = self._made + 1, iterator, 0
        if self._is_cut and self._shuffles:
            # Without this object: it holds the pass.
            place = self._epochs.examples, self._shuffle_seed, self._made
            iterator.set_order(functools.partial(_order_of_pass, *place))
        if self._draws_whole_epochs:
            self._draws_whole_epochs = False  # Keras does not draw from an epoch's second iterator.
            self._draw_again(iterator, self._epochs.num_batches or _TO_THE_END, done=0)
        if self._source is not None:
            self._source.begin()
        # The iterator that serves all epochs may be made while earlier epochs are repeated.
        if self._replayed is None or self._has_one_pass():
            self._saved.begin(iterator)
        if self._replayed is None and self._resuming is not None:
            self._go_to(iterator)

    def _around_hook(self, name, hook):
        """Call a hook of the data; first restore the random generators, or record their states."""
        if self._replayed is not None:
            if self._replayed:
                random_state.restore(self._replayed.pop(0), *self._owners)
        elif self._enters_again and name == "on_epoch_begin":
            return self._enter_again(hook)
        else:
            state = random_state.capture(*self._owners)
            if name == "on_epoch_begin":
                self._epoch_began = state
            if self._has_hooks():
                self._hooks.append(_shared(state, self._hooks))
        return hook()

    def _enter_again(self, hook):
        """Begin the interrupted epoch with the random generators as they were at its start."""
        self._enters_again = False
        now = random_state.capture(*self._owners)
        random_state.restore(self._epoch_began, *self._owners)
        result = hook()
        if self._resuming is None:  # The place was found before.
            random_state.restore(now, *self._owners)
        return result

    def _has_hooks(self):
        """Whether the data has epoch hooks, which may draw random numbers."""
        if self._epochs.kind != "PyDataset":
            return False
        kind, base = type(self._epochs.source), keras.utils.PyDataset
        return (
            kind.on_epoch_begin is not base.on_epoch_begin
            or kind.on_epoch_end is not base.on_epoch_end
        )

    def _go_to(self, iterator):
        """Move an iterator to the saved place; batches that are drawn again are compared."""
        place, self._resuming = self._resuming or {}, None
        draws, saved = place["draws"], place.get("tf_data")
        if self._made != place["made"]:  # Fingerprints are those of a numbered pass.
            self._report(
                f"pass {place['made']} over the data is pass {self._made} now, so its order may "
                "differ; resume with the same program and the same version of Keras"
            )
        before, source = random_state.capture(*self._owners), place.get("source")
        now = place["now"]
        if saved is not None:
            done = self._restore(iterator, **saved)
        elif self._source is not None:
            source = _with_random(source, now)
            done = self._source.resume(source)
        else:
            done = 0
        if self._draw_again(iterator, draws, done=done) < draws:
            self._ended(draws)
        self.draws = draws
        if source is not None and source[2] is not None:
            random_state.restore({name: now[name] for name in now if name not in source[2]})
        elif draws == done or random_state.same(before, random_state.capture(*self._owners)):
            # The data did not draw from the generators, so only the draws of the steps matter.
            random_state.restore(now, *self._owners)

    def _restore(self, iterator, *, state, draws, new):
        """Restore the state of an iterator; returns the number of batches drawn until then."""
        if self._made == 1 and _FIRST in self._prints:
            # A pipeline that this process has drawn from begins with another order.
            self._restore_state(iterator, new)
            self._compare(next(iter(iterator), None), 0)
        self._restore_state(iterator, state)
        if not self._has_one_pass():
            # The state of an exhausted shuffle does not fix the seeds that come next.
            self._restore_state(iter(self._epochs.dataset), new)
        self._saved.set(bytes(state), draws)
        self._saved.new = bytes(new)
        return draws

    @staticmethod
    def _restore_state(iterator, state):
        try:
            iterator_state.restore(iterator, bytes(state))
        except tf.errors.OpError as error:
            raise StateMismatchError(
                "the position in the data does not match this tf.data pipeline. Received: "
                f"{type(error).__name__}. Expected: the pipeline of the checkpoint."
            ) from error

    def _draw_again(self, iterator, draws, *, done):
        """Draw the batches ``done`` to ``draws`` - 1 again; returns the number reached."""
        known = sorted(
            draw for made, draw in self._prints if made == self._made and done <= draw < draws
        )
        total = draws - done if draws < _TO_THE_END else None
        at = done
        with task_progress("batches drawn again", total) as show:
            for draw in (*known, draws):
                at += self._skip(iterator, draw - at, lambda n, at=at: show(at - done + n))
                if at < draw or draw == draws:
                    break
                self._compare(next(iterator), draw)
                at += 1
        return at

    def _compare(self, batch, draw):
        expected = self._prints[self._made, draw]
        found = None if batch is None else int(fingerprint.fingerprint(fingerprint.local(batch)))
        if found != expected:
            self._report(
                f"batch {draw} of pass {self._made} over the data has changed since the "
                f"checkpoint was written; {_ADVICE.get(self._epochs.kind, _SEED)}"
            )

    def _ended(self, draws):
        raise StateMismatchError(
            "the data end before the position of the checkpoint. "
            f"Received: fewer batches. Expected: at least {draws}."
        )

    @staticmethod
    def _skip(iterator, count, show):
        """Draw at most ``count`` batches; returns how many were drawn."""
        drawn = 0
        while drawn < count:
            chunk = min(_CHUNK_STEPS, count - drawn)
            if isinstance(iterator, ArrayPass):
                _, got = iterator.take(chunk)
            elif isinstance(iterator, tf.data.Iterator):
                got = int(_drop(iterator, tf.constant(chunk)))
            else:
                got = sum(1 for _ in itertools.islice(iterator, chunk))
            drawn += got
            show(drawn)
            if got < chunk:
                break
        return drawn

    def _shuffle(self, indices, *arguments, **options):
        """Replaces ``tf.random.shuffle``: a seed and the epoch determine the order."""
        del arguments, options
        passes = self._passes
        number = tf.numpy_function(lambda: passes[0], [], tf.int32, stateful=True)
        return _shuffled(indices, self._shuffle_seed, tf.ensure_shape(number, []))


_FIRST = (1, 0)
_SEED = "give each source of randomness a seed, and resume with the same data"
_ADVICE = {
    "arrays": "resume with the same arrays, and call keras.utils.set_random_seed first",
    "tf.data": "give .shuffle(), maps and generators a seed, and resume with the same files",
    "torch": "draw in the loader's workers only from a seed and the example's index",
    "generator": "make the generator yield the same batches every time, for example with a seed",
}


@tf.function(autograph=False, reduce_retracing=True)
def _drop(iterator, count):
    """Draw at most ``count`` batches; returns how many were drawn."""

    def body(drawn, going):
        del going
        has_value = iterator.get_next_as_optional().has_value()
        return drawn + tf.cast(has_value, tf.int32), has_value

    drawn, _ = tf.while_loop(
        lambda drawn, going: going & (drawn < count), body, (tf.constant(0), tf.constant(True))
    )
    return drawn


def _order_of_pass(examples, seed, number):
    return _shuffled(tf.range(examples, dtype=tf.int64), seed, number)


def _shuffled(indices, seed, number):
    seeds = tf.stack([np.uint32(seed).view(np.int32), number])
    return tf.random.experimental.stateless_shuffle(indices, seeds)


def _with_random(source, now):
    """A loader's saved state; those of earlier versions lack the states of the generators."""
    if source is None or len(source) > 2:
        return source
    return [*source, {name: now[name] for name in ("torch", "held") if name in now}, None]


def _shared(state, states):
    """The last state of a list if it is equal, to save memory; else the given state."""
    return states[-1] if states and random_state.same(states[-1], state) else state


def _without_repeats(states):
    """{"states": the distinct states, "order": for each state its index among them}."""
    numbers: dict[int, int] = {}
    order = [numbers.setdefault(id(state), len(numbers)) for state in states]
    distinct = {id(state): state for state in states}
    return {"states": list(distinct.values()), "order": order}


def _with_repeats(saved):
    return [saved["states"][number] for number in saved["order"]]
