"""The training state: everything that the next step depends on.

It consists of the weights and the states of seed generators, the optimizer (momenta, iterations,
loss scale, gradient accumulation, moving averages), the metrics in mid-epoch, the place in the
stream, and the state of every callback that has one.
"""

import collections
import contextlib
import dataclasses
import io
import json
import operator
import re

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.checkpoint import (
    backends,
    callback_state,
    file_bundle,
    model_variables,
    replica_metrics,
    storage,
    unused_optimizer,
)
from mnist_keras.checkpoint.nested import put_arrays, take_arrays
from mnist_keras.errors import MnistKerasError

ARRAYS = "state.npz"
DESCRIPTION = "state.json"
_GLOBAL = "global"
_OPTIMIZER = "optimizer/"
# The identity of data that the model is scored on; earlier versions have not saved it.
_SCORED_ON = "_sha256"
# Of a position and of a place in the data.
_COUNTS = ("step", "epoch", "step_in_epoch", "first_epoch", "made", "draws", "validations")
_WEIGHTS = ("model",)
_WITH_OPTIMIZERS = (_OPTIMIZER, "others/")
_ALL_BUT_METRICS = ("model", "optimizer", "others", "captured", "global")
_ALONE = (
    ", or load only the weights with mnist_keras.callbacks.load_weights(model, directory) and save "
    "to a new directory; several fits of one program need a directory each"
)
_ALL = (*_ALL_BUT_METRICS, "metrics")


class StateMismatchError(MnistKerasError):
    """A saved state does not match the model, the data or the callbacks."""


@dataclasses.dataclass(frozen=True)
class Position:
    """A place in the stream.

    Attributes:
        step: batches trained on in the run, which is the number of updates.
        epoch: the epoch of the next batch, from 0.
        step_in_epoch: batches already trained on in that epoch.

    >>> Position(step=7, epoch=1, step_in_epoch=3)
    Position(step=7, epoch=1, step_in_epoch=3)
    """

    step: int
    epoch: int
    step_in_epoch: int


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """A training state in host memory.

    Attributes:
        position: a `Position`.
        arrays: {key: array}. Keys are ``group/number`` for the model, and other keys for the arrays
            of callbacks and of the place in the data. The group "metrics_of_replicas" holds the
            metrics of each of several replicas.
        description: the key, path, shape and dtype of each variable, and the callbacks' states
            with their arrays replaced by keys.
    """

    position: Position
    arrays: dict
    description: dict

    def noting(self, **notes):
        """A copy of this state with further entries of the description.

        A state whose "data", the identity of its training data, is None can resume with any data.
        """
        return dataclasses.replace(self, description={**self.description, **notes})

    @property
    def place(self):
        """The place in the data that was given to `capture`, or None."""
        return put_arrays(self.description.get("place"), self.arrays)

    def to_files(self):
        """{file name: bytes}."""
        buffer = io.BytesIO()
        np.savez(buffer, **{key: _storable(array) for key, array in self.arrays.items()})
        description = {
            "position": dataclasses.asdict(self.position),
            "bfloat16": [key for key, array in self.arrays.items() if _is_bfloat16(array)],
            **self.description,
        }
        return {ARRAYS: buffer.getvalue(), DESCRIPTION: json.dumps(description).encode()}

    @classmethod
    def from_files(cls, files):
        """The state that `to_files` wrote.

        Raises:
            DamagedError: the files are not such a state.
        """
        try:
            description = json.loads(files[DESCRIPTION])
            arrays = file_bundle.unpack_arrays(files[ARRAYS])
            for key in description.pop("bfloat16"):
                arrays[key] = arrays[key].view(ml_dtypes.bfloat16)
            state = cls(Position(**description.pop("position")), arrays, description)
            _require_sound(state)
            return state
        except Exception as error:  # Files that another program made can raise any.
            raise storage.DamagedError(
                f"the checkpoint does not hold a training state. Received: {type(error).__name__}: "
                f"{' '.join(str(error).split())}. Expected: the files that were written."
            ) from error


def _require_sound(state):
    """Refuse arrays that are not those of the description, and positions before the beginning."""
    for entry in state.description["variables"]:
        array, is_metric = state.arrays[entry["key"]], entry["key"].startswith("metrics/")
        # The total of a metric over several replicas may have another type.
        if list(array.shape) != entry["shape"] or not (
            is_metric or array.dtype.name == entry["dtype"]
        ):
            raise ValueError(f"{tuple(array.shape)} {array.dtype} for {_line(entry)}")
    place = state.place or {}
    counts = [dataclasses.asdict(state.position), *place.get("workers", [place])]
    for name, count in ((name, it[name]) for it in counts for name in _COUNTS if name in it):
        if type(count) is not int or not 0 <= count < 1 << 63:
            raise ValueError(f"{name} {count}")


def capture(model, callbacks, position, *, step=None, place=None, notes=None, attributes=None):
    """Copy the state of a model, its callbacks and its data to host memory.

    Args:
        model: a built keras.Model.
        callbacks: the list of callbacks, in the order of fit.
        position: the `Position` of the state.
        step: the `mnist_keras.checkpoint.step_graph.StepGraph` of its training, or None.
        place: the place in the data, from
            `mnist_keras.checkpoint.data_position.DataPosition.capture`; None: it is not saved.
        notes: further entries of the description, in types that JSON can represent.
        attributes: the `CallbackAttributes` of the user's callbacks, or None.
    """
    backends.synchronize(model)
    sums = replica_metrics.read(model)
    rows_of = {key_of("metrics", number): rows for number, rows in sums.items()}
    arrays = {_sums_key(number): rows for number, rows in sums.items()}
    variables = []
    groups = model_variables.groups(model, step)
    groups["optimizer"] = unused_optimizer.without_slots(groups["optimizer"], model, step)
    found = keyed(groups)
    for key, (path, variable) in found.items():
        rows = rows_of.get(key)
        arrays[key] = _copy(variable) if rows is None else replica_metrics.total(variable, rows)
        variables.append({"key": key, **_describe(path, variable)})
    states, callback_arrays = callback_state.capture(callbacks)
    arrays |= callback_arrays
    description = {
        "variables": variables,
        "callbacks": states,
        "data": None,
        "attributes": [],
        "place": take_arrays(place, "place", arrays),
        **(notes or {}),
    }
    if attributes is not None:
        known = [variable for _, variable in found.values()]
        description["attributes"] = attributes.capture(arrays, known=known)
    return TrainingState(position, arrays, description)


def take_part_in_capture(model):
    """Join the collective calls of `capture`; other workers call this while the chief captures."""
    replica_metrics.read(model)


def restore(state, model, callbacks, *, step=None, data=None):
    """Restore a state without its metrics; `restore_metrics` does that, after ``fit`` resets them.

    Args:
        state: a `TrainingState`.
        model: a built keras.Model.
        callbacks: the list of callbacks, in the order of fit.
        step: as for `capture`.
        data: as for `TrainingState.of`.

    Raises:
        StateMismatchError: a variable or a callback's state is missing, left over, or differs in
            name, shape or dtype; or the data differs. Nothing was changed then.
    """
    _check_data(state, data)
    state, groups = _without_unused_slots(state, model_variables.groups(model, step), model)
    _check_variables(state, groups)
    callback_state.check(state.description["callbacks"], callbacks, StateMismatchError)
    _assign(state, groups, _ALL_BUT_METRICS)
    callback_state.restore(state.description["callbacks"], state.arrays, callbacks)


def restore_again(state, model, callbacks, *, step=None):
    """Restore what callbacks may have changed since `restore`, and the metrics.

    Args:
        state: a `TrainingState`.
        model: a built keras.Model.
        callbacks: the callbacks of `restore`; the states of this package's own ones stay.
        step: as for `capture`.
    """
    assign_variables(state, model, step=step)
    callback_state.restore_foreign(state.description["callbacks"], state.arrays, callbacks)
    restore_metrics(state, model)


def restore_attributes(state, attributes):
    """Restore the attributes of the user's callbacks.

    Args:
        state: a `TrainingState`.
        attributes: the `CallbackAttributes` of the present callbacks.

    Returns:
        The class names of callbacks that had a state and are missing now.
    """
    return attributes.restore(state.description.get("attributes", []), state.arrays)


def restore_attributes_again(state, attributes):
    """Undo what callbacks have changed in their attributes since `restore_attributes`."""
    attributes.restore_again(state.description.get("attributes", []), state.arrays)


def assign_variables(state, model, *, step=None):
    """Restore all variables of a state but the metrics: no data, no callback, no position.

    Raises:
        StateMismatchError: the model has other variables; nothing was changed.
    """
    state, groups = _without_unused_slots(state, model_variables.groups(model, step), model)
    _check_variables(state, groups, only=_ALL_BUT_METRICS)
    _assign(state, groups, _ALL_BUT_METRICS)


def assign_weights(state, model):
    """Restore only the weights of a state.

    Raises:
        StateMismatchError: the model has other weights; nothing was changed.
    """
    groups = model_variables.groups(model)
    _check_variables(state, groups, only=_WEIGHTS)
    _assign(state, groups, _WEIGHTS)


def restore_metrics(state, model):
    """Restore the metrics; bit for bit if the number of replicas is the same."""
    strategy = getattr(model, "distribute_strategy", None)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        for number, variable in enumerate(model.metrics_variables):
            total, rows = (
                state.arrays[key_of("metrics", number)],
                state.arrays.get(_sums_key(number)),
            )
            replica_metrics.assign(variable, total=total, rows=rows)


def is_finite(state):
    """Whether all weights and optimizer variables of a state are finite."""
    return all(
        np.isfinite(array).all()
        for key, array in state.arrays.items()
        if key.startswith(("model/", "optimizer/")) and array.dtype.kind not in "iub"
    )


def key_of(group, number):
    """The key of a variable in the arrays of a state.

    Args:
        group: one of those of `mnist_keras.checkpoint.model_variables.groups`.
        number: the variable's number in it.

    >>> key_of("model", 3)
    'model/0003'
    """
    return f"{group}/{number:04d}"


def keyed(groups):
    """{key: (path, variable)} of variables in groups, by `key_of`.

    >>> keyed({"model": [("kernel", "a variable")]})
    {'model/0000': ('kernel', 'a variable')}
    """
    return {
        key_of(group, number): member
        for group, members in groups.items()
        for number, member in enumerate(members)
    }


def _sums_key(number):
    return key_of("metrics_of_replicas", number)


def _copy(variable):
    """A variable's numbers in host memory; Keras's conversion would copy them twice."""
    if not backends.is_tensorflow():
        return backends.host_array(variable)
    return np.asarray(tf.convert_to_tensor(model_variables.holder_of(variable)).numpy())


def _describe(path, variable):
    return {
        "path": path,
        "shape": list(variable.shape),
        "dtype": keras.backend.standardize_dtype(variable.dtype),
    }


def _check_data(state, data):
    saved = state.description["data"]
    if saved is None or data is None:
        return
    differing = [
        name
        for name in {**saved, **data}
        if saved.get(name) != data.get(name) and (name in saved or not name.endswith(_SCORED_ON))
    ]
    if differing:
        received, expected = (
            ", ".join(f"{name} {values.get(name)}" for name in differing)
            for values in (data, saved)
        )
        raise StateMismatchError(
            "the data differ from those of the checkpoint. "
            f"Received: {received}. Expected: {expected}."
        )


def _without_unused_slots(state, groups, model):
    """A state and the model's groups, without what only one has for an optimizer never applied."""
    entries = state.description["variables"]
    saved = [entry for entry in entries if entry["key"].startswith(_OPTIMIZER)]
    kept, members = unused_optimizer.agreeing(saved, state.arrays, groups["optimizer"], model)
    numbered = [(key_of("optimizer", number), entry) for number, entry in enumerate(kept)]
    others = [entry for entry in entries if not entry["key"].startswith(_OPTIMIZER)]
    arrays = {key: a for key, a in state.arrays.items() if not key.startswith(_OPTIMIZER)}
    arrays |= {key: state.arrays[entry["key"]] for key, entry in numbered}
    variables = [*others, *({**entry, "key": key} for key, entry in numbered)]
    state = dataclasses.replace(
        state, arrays=arrays, description={**state.description, "variables": variables}
    )
    return state, {**groups, "optimizer": members}


def _check_variables(state, groups, *, only=_ALL):
    saved = {
        entry["key"]: entry
        for entry in state.description["variables"]
        if entry["key"].partition("/")[0] in only
    }
    compared = {group: members for group, members in groups.items() if group in only}
    present = {key: {"key": key, **_describe(*member)} for key, member in keyed(compared).items()}
    agree = _are_same_weight if only == _WEIGHTS else operator.eq
    # A global generator exists only after its first draw, so either side may lack it.
    keys = {key for key in saved.keys() | present.keys() if not key.startswith(f"{_GLOBAL}/")}
    only_saved = [saved[key] for key in sorted(keys - present.keys())]
    only_present = [present[key] for key in sorted(keys - saved.keys())]
    differing = [
        (saved[key], present[key])
        for key in sorted(keys & saved.keys() & present.keys())
        if not agree(_comparable(saved[key]), _comparable(present[key]))
    ]
    if not (only_saved or only_present or differing):
        return
    if differing:
        wrong = "does not match the model"
        received, expected = map(_line, differing[0])
    elif only_saved:
        wrong, received = "has an extra variable", only_saved[0]["path"]
        expected = "none, the model has no such variable"
    else:
        wrong, received, expected = "lacks a variable", "none", only_present[0]["path"]
    raise StateMismatchError(
        f"the saved state {wrong}. Received: {received}. Expected: {expected}. "
        f"{_remedy(saved, present)}{_ALONE if only != _WEIGHTS else ''}."
    )


def _remedy(saved, present):
    """The probable cause of a mismatch, and what to do."""
    sides = ([_comparable(entry) for entry in side.values()] for side in (saved, present))
    ours, theirs = (collections.Counter(map(str, side)) for side in sides)
    groups = {
        key.partition("/")[0]
        for one, other, entries in ((ours, theirs, saved), (theirs, ours, present))
        for key, entry in entries.items()
        if one[str(_comparable(entry))] > other[str(_comparable(entry))]
    }
    has_weights, is_built = (
        any(key.startswith("model/") for key in side) for side in (saved, present)
    )
    if has_weights and not is_built:
        cause = "The model is not built: call it on a batch, or give it a keras.Input"
    elif not groups or (groups == {"optimizer"} and _sorted_alike(saved, present)):
        cause = "Layers were frozen or unfrozen: set trainable as before"
    elif "model" in groups:
        cause = "The model has different layers: build it as before"
    elif "optimizer" in groups:
        cause = "The model is compiled with a different optimizer: use the same one"
    elif groups == {"metrics"}:
        cause = "The model is compiled with different metrics: use the same ones"
    else:
        cause = "The model has different variables or optimizers: build it as before"
    return cause


def _sorted_alike(saved, present):
    """Whether the weights are the same but in another order."""
    sides = (
        [_comparable(entry) for key, entry in side.items() if key.startswith("model/")]
        for side in (saved, present)
    )
    ours, theirs = sides
    return ours != theirs and sorted(map(str, ours)) == sorted(map(str, theirs))


def _comparable(entry):
    # Keras numbers automatic names per process: dense, dense_1, dense_2. The names of optimizer
    # variables contain the weight's name: adam_1/dense_1_kernel_momentum.
    path = re.sub(r"_\d+(?=[/_]|$)", "", entry["path"])
    if entry["key"].startswith(_WITH_OPTIMIZERS):
        # Versions of Keras write an optimizer's class differently: SGD/iteration and sgd/iteration,
        # rmsprop/iteration and rm_sprop/iteration.
        *parents, name = path.split("/")
        classes = [it.lower().replace("_", "") for it in parents[-1:]]
        path = "/".join([*parents[:-1], *classes, name])
    return path, entry["shape"], entry["dtype"]


def _are_same_weight(saved, present):
    """Whether two weights agree; the network may be wrapped in one of the models alone."""
    (path, *saved), (other, *present) = saved, present
    is_inner = f"/{path}".endswith(f"/{other}") or f"/{other}".endswith(f"/{path}")
    return is_inner and saved == present


def _line(entry):
    return f"{entry['path']} {tuple(entry['shape'])} {entry['dtype']}"


def _assign(state, groups, names):
    groups = {group: groups[group] for group in names if group != _GLOBAL}
    for key, (_, variable) in keyed(groups).items():
        variable.assign(state.arrays[key])
    if _GLOBAL in names:
        _assign_global(state)


def _assign_global(state):
    """Restore the global generators. They exist after their first draw, so some are made here."""
    saved = {
        entry["path"]: state.arrays[entry["key"]]
        for entry in state.description["variables"]
        if entry["key"].startswith(f"{_GLOBAL}/")
    }
    _keras.make_global_generators(saved)
    for name, generator in _keras.global_generators().items():
        if name in saved:
            generator.state.assign(saved[name])


def _storable(array):
    """NumPy's file format does not support bfloat16; its bytes are stored as uint16."""
    return array.view(np.uint16) if _is_bfloat16(array) else array


def _is_bfloat16(array):
    return array.dtype == ml_dtypes.bfloat16
