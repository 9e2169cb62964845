"""Keras and TensorFlow still have each private name that is used, and it still works as needed.

If a new version moves a name, a test here fails with that name.
"""

import ast
import contextlib
import inspect
import io
import pathlib
import re
import threading
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel, _keras
from mnist_keras.checkpoint import model_variables

FILE = "mnist_keras/_keras.py"
SOURCE = (pathlib.Path(__file__).parent.parent / FILE).read_text(encoding="utf-8")
KERAS, TENSORFLOW = f"Keras {keras.__version__}", f"TensorFlow {tf.__version__}"
CANARIES = {KERAS: {}, TENSORFLOW: {}}

X = np.random.default_rng(0).random((8, 3), dtype=np.float32)
Y = np.random.default_rng(1).random((8, 2), dtype=np.float32)
WEIGHT = np.ones(2, np.float32)
METHODS = {"update_state", "result"}
GRADIENT = np.array([1, 2], np.float32)


def canary(name, *arguments, library=KERAS):
    """Make a function the canary of a name in the file's table; it gets the arguments."""

    def register(function):
        CANARIES[library][name] = function, arguments
        return function

    return register


def check(library, name):
    function, arguments = CANARIES[library][name]
    try:
        function(*arguments)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        pytest.fail(f"{library} moved {name}: see {FILE}. {reason}")


@canary("Layer._flatten_layers")
def flattens_nested_layers():
    leaf = keras.layers.Dense(1)
    nested = keras.Sequential([leaf])
    model = keras.Sequential([nested])
    assert _keras.flatten_layers(model) == [model, nested, leaf]
    assert [_keras.has_sublayers(layer) for layer in (model, leaf)] == [True, False]


@canary("Layer._call_has_training_arg")
def tells_whether_a_call_takes_training():
    class With(keras.layers.Layer):
        def call(self, x, training=None):
            return x

    class Without(keras.layers.Layer):
        def call(self, x):
            return x

    assert [_keras.takes_training_argument(kind()) for kind in (With, Without)] == [True, False]


@canary("backend.get_keras_mask")
@canary("backend.set_keras_mask")
def masks_go_with_tensors():
    words = np.array([[1, 2, 0]])
    mask = _keras.mask_of(keras.layers.Embedding(3, 2, mask_zero=True)(words))
    np.testing.assert_array_equal(mask, words != 0)
    values = tf.constant([[[1.0], [3.0], [8.0]]])
    assert _keras.mask_of(values) is None
    _keras.set_mask(values, mask)
    assert float(keras.layers.GlobalAveragePooling1D()(values)[0, 0]) == 2.0


@canary("backend.random.dropout")
def layers_draw_by_the_replaced_dropout():
    layers = [
        keras.layers.Dropout(0.25),
        keras.layers.SpatialDropout1D(0.25),
        keras.layers.GRU(2, dropout=0.25),
    ]
    calls = []

    def replacement(dropout, inputs, rate, noise_shape=None, seed=None):
        calls.append((rate, dropout(inputs, rate, noise_shape=noise_shape, seed=seed).shape))
        return inputs

    x = np.ones((2, 3, 4), np.float32)
    with _keras.replaced_dropout(replacement):
        same = layers[0](x, training=True)
        for layer in layers[1:]:
            layer(x, training=True)
    np.testing.assert_array_equal(same, x)
    assert len(calls) >= len(layers)
    assert {rate for rate, _ in calls} == {0.25}
    assert calls[0] == (0.25, x.shape)
    calls.clear()
    layers[0](x, training=True)
    assert calls == []


@contextlib.contextmanager
def no_global_generators():
    """Within the context no library has a global generator; new ones are dropped at its end."""
    of_keras = _keras.global_state.GLOBAL_STATE_TRACKER
    with (
        mock.patch.object(of_keras, "global_seed_generator", None, create=True),
        mock.patch.object(_keras.stateful_random_ops, "global_generator", None),
    ):
        yield


@canary("backend.common.global_state")
@canary("random.seed_generator")
def keras_draws_from_the_global_generator():
    name = "keras.random without a seed"
    with no_global_generators():
        assert name not in _keras.global_generators()
        _keras.make_global_generators([name])
        generator = _keras.global_generators()[name]
        state = np.array(generator.state)
        drawn = np.array(keras.random.uniform((3,)))
        generator.state.assign(state)
        np.testing.assert_array_equal(keras.random.uniform((3,)), drawn)


@canary("Optimizer._learning_rate")
def optimizers_hold_their_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert _keras.learning_rate_of(keras.optimizers.SGD(schedule)) is schedule
    assert isinstance(_keras.learning_rate_of(keras.optimizers.SGD(0.1)), keras.Variable)


@canary("models.functional.Functional")
def functional_models_are_functional():
    def arguments():
        inputs = keras.Input((3,))
        return {"inputs": inputs, "outputs": keras.layers.Dense(2)(inputs)}

    for model in (keras.Model(**arguments()), TapeModel(**arguments())):
        assert isinstance(model, _keras.Functional)
        assert tuple(model.input.shape) == (None, 3)
    assert not isinstance(keras.Sequential([keras.layers.Dense(2)]), _keras.Functional)


def adam():
    """An optimizer whose first two updates call every strategy-dependent method."""
    return keras.optimizers.AdamW(
        0.1, use_ema=True, ema_overwrite_frequency=1, gradient_accumulation_steps=2
    )


def updated(optimizer):
    weight = keras.Variable(WEIGHT)
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant(GRADIENT), weight)])
    return weight.numpy()


@canary("Optimizer._apply_weight_decay", "_apply_weight_decay")
@canary(
    "Optimizer._backend_increment_gradient_accumulators", "_backend_increment_gradient_accumulators"
)
@canary("Optimizer._backend_update_step", "_backend_update_step")
@canary(
    "Optimizer._overwrite_model_variables_with_average_value",
    "_overwrite_model_variables_with_average_value",
)
def an_update_is_made_without_the_strategy(name):
    aware, base = (kind for kind in keras.optimizers.Optimizer.__mro__ if name in vars(kind))
    assert base is _keras.BaseOptimizer
    optimizer = adam()
    with (
        mock.patch.object(aware, name, side_effect=AssertionError("it is not patched")),
        mock.patch.object(base, name, autospec=True, side_effect=getattr(base, name)) as without,
        _keras.updates_without_strategy(optimizer, sum_gradients=list),
    ):
        updated(optimizer)
    assert without.called


@canary("optimizers.base_optimizer.BaseOptimizer")
def an_update_without_the_strategy_is_the_same():
    optimizer = adam()
    with _keras.updates_without_strategy(optimizer, sum_gradients=list):
        np.testing.assert_array_equal(updated(optimizer), updated(adam()))


@canary("Optimizer.apply")
def gradients_are_summed_before_they_are_scaled_and_clipped():
    seen = []

    def double(gradients):
        seen.extend(gradients)
        return [2 * gradient for gradient in gradients]

    inner = keras.optimizers.SGD(1.0, clipnorm=1.0)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0)
    weight = keras.Variable(WEIGHT)
    with _keras.updates_without_strategy(optimizer, sum_gradients=double):
        optimizer.apply_gradients([(tf.constant([0.25, 0.0]), weight)])
    np.testing.assert_array_equal(seen, [[0.25, 0.0]])
    np.testing.assert_array_equal(weight, [0.75, 1.0])
    optimizer.apply_gradients([(tf.constant([0.25, 0.0]), weight)])
    assert len(seen) == 1


class Rows(_keras.DataAdapter):
    """Four batches of two rows, in order."""

    num_batches, batch_size, has_partial_batch, partial_batch_size = 4, 2, False, None

    def __init__(self):
        self.passes = 0

    def on_epoch_begin(self):
        self.passes += 1

    def get_tf_dataset(self):
        return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)


@canary("trainers.data_adapters.data_adapter.DataAdapter")
def fit_takes_a_data_adapter_and_keeps_its_order():
    class Sees(keras.Model):
        def train_step(self, data):
            seen.append(data[0].numpy())
            return {"zero": tf.constant(0.0)}

    seen, rows, model = [], Rows(), Sees()
    model.compile(run_eagerly=True)
    model.fit(rows, epochs=2, verbose=0)
    np.testing.assert_array_equal(np.concatenate(seen), [*X, *X])
    assert rows.passes == 2


@canary("Model._maybe_symbolic_build")
@canary("trainers.epoch_iterator.EpochIterator")
def fit_calls_the_overridden_build_before_any_callback():
    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("on_train_begin")

    class Recording(keras.Model):
        def train_step(self, data):
            return {"zero": tf.constant(0.0)}

        def test_step(self, data):
            return {"zero": tf.constant(0.0)}

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            calls.append((iterator, data_batch))

    calls, model, rows = [], Recording(), Rows()
    model.compile(run_eagerly=True)
    model.fit(rows, verbose=0, callbacks=[Recorder()], steps_per_epoch=3)
    (iterator, data_batch), after = calls
    assert (data_batch, after) == (None, "on_train_begin")
    assert (iterator.num_batches, iterator.data_adapter) == (3, rows)
    calls.clear()
    model.evaluate(X, Y, batch_size=3, verbose=0)
    ((iterator, _),) = calls
    assert iterator.num_batches == iterator.data_adapter.num_batches == 3
    shapes = [spec.shape for spec in iterator.data_adapter.get_tf_dataset().element_spec]
    assert shapes == [(None, 3), (None, 2)]
    calls.clear()
    model.test_on_batch(X, Y)
    ((iterator, data_batch),) = calls
    assert iterator is None
    assert [len(part) for part in data_batch if part is not None] == [8, 8]
    own, of_keras = (
        inspect.signature(kind._maybe_symbolic_build) for kind in (TapeModel, keras.Model)
    )
    assert own == of_keras


def epochs_of(*arguments, **fit_arguments):
    """The `EpochIterator` of a ``fit`` with these arguments."""

    class Built(Exception):
        pass

    class Stops(keras.Model):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            raise Built(iterator)

    model = Stops()
    model.compile()
    with pytest.raises(Built) as caught:
        model.fit(*arguments, **fit_arguments)
    return _keras.EpochIterator(*caught.value.args)


class Batches(keras.utils.PyDataset):
    """Four batches, counted when they are drawn."""

    drawn = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.drawn += 1
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def pairs():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)


@canary("trainers.data_adapters")
def the_kinds_of_data_are_told_apart():
    data = {
        "arrays": (X, Y),
        "tf.data": (pairs(),),
        "PyDataset": (Batches(),),
        "generator": ((batch for batch in [(X, Y)]),),
    }
    assert [epochs_of(*arguments).kind for arguments in data.values()] == list(data)


@canary("ArrayDataAdapter._num_samples")
@canary("ArrayDataAdapter._shuffle")
def the_shuffle_of_arrays_is_known_and_replaced():
    shuffles = (True, False, "batch")
    assert [epochs_of(X, Y, shuffle=s).shuffles_arrays for s in shuffles] == [True, False, False]
    epochs = epochs_of(X, Y, batch_size=3, shuffle=True)
    assert epochs.examples == len(X)
    epochs.rebuild(tf.distribute.get_strategy(), shuffle=lambda rows, seed=None: rows[::-1])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in epochs.dataset]), X[::-1])


@canary("ArrayDataAdapter._batch_size")
@canary("ArrayDataAdapter._inputs")
@canary("ArrayDataAdapter._partial_batch_size")
def the_order_of_shuffled_arrays_is_known():
    keras.utils.set_random_seed(1)
    for size in (2, 3):
        epochs = epochs_of(X, Y, batch_size=size, shuffle=True)
        drawn = np.concatenate([x for x, _ in epochs.dataset])
        np.testing.assert_array_equal(X[epochs.array_order()], drawn)
        np.testing.assert_array_equal(epochs.arrays[0], X)


@canary("PyDatasetAdapter.enqueuer")
@canary("PyDatasetAdapter.py_dataset")
def an_epoch_of_a_py_dataset_is_replayed_without_drawing():
    batches = Batches(workers=2)
    epochs = epochs_of(batches)
    assert epochs.source is batches
    assert epochs.adapter.enqueuer is not None
    drawn = batches.drawn
    epochs.replay_epoch(4)
    assert batches.drawn == drawn


@canary("GrainDatasetAdapter._dataset", "GrainDatasetAdapter", "dataset")
@canary("TorchDataLoaderAdapter._dataloader", "TorchDataLoaderAdapter", "dataloader")
def an_adapter_keeps_the_users_data(kind, argument):
    # Their libraries may be missing.
    adapter = getattr(_keras.data_adapters, kind)
    assert f"self._{argument} = {argument}\n" in inspect.getsource(adapter.__init__)


@canary("EpochIterator._interrupted_warning")
def data_that_end_in_the_last_execution_are_reported():
    epochs = epochs_of(X, Y, batch_size=2, steps_per_epoch=9)
    epochs.steps_per_execution = 4
    with pytest.warns(UserWarning, match="ran out of data"):
        epochs.end_data(begin=8)
    with warnings.catch_warnings(action="error"):
        epochs.end_data(begin=4)  # Keras begins another execution and notices it.


@canary("EpochIterator._steps_seen")
def a_pass_ends_with_its_last_batch():
    for kind, steps in ((keras.Model, 1), (TapeModel, 1), (TapeModel, 4), (TapeModel, "auto")):
        seen = []

        class Watching(kind):
            def train_step(self, data, seen=seen):
                tf.numpy_function(
                    lambda value, seen=seen: seen.append(int(value)), [data[0][0, 0]], []
                )
                return {"zero": tf.constant(0.0)}

        model = Watching()
        model.compile(steps_per_execution=steps)
        x = np.arange(6.0)[:, None]
        options = {"batch_size": 1, "shuffle": False, "steps_per_epoch": 4, "epochs": 3}
        model.fit(x, x, verbose=0, **options)
        assert seen == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]


@canary("DistributedDataset._original_dataset", library=TENSORFLOW)
def a_distributed_data_set_keeps_its_pipeline():
    data = pairs()
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    distributed = strategy.experimental_distribute_dataset(data)
    assert epochs_of(distributed).pipeline is data


@canary("EpochIterator._distributed_dataset")
def a_fit_draws_from_the_data_set_of_its_epochs():
    epochs, data, calls = epochs_of(batch for batch in [(X, Y)]), pairs(), []

    def from_generator(generator, **arguments):
        calls.append(arguments)
        return data

    epochs.rebuild(tf.distribute.get_strategy(), from_generator=from_generator)
    assert len(calls) == 1
    assert epochs.dataset.element_spec == data.element_spec
    np.testing.assert_array_equal(np.concatenate([x for x, _ in epochs.dataset]), X)


@canary("EpochIterator._get_iterator")
def each_iterator_of_a_fit_and_each_hook_of_its_data_is_seen():
    class Watching(keras.Model):
        def train_step(self, data):
            return {"zero": tf.constant(0.0)}

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            watched.append(_keras.EpochIterator(iterator))
            watched[0].watch(on_iterator=iterators.append, around_hook=around_hook)

    def around_hook(name, hook):
        hooks.append(name)
        hook()

    watched, iterators, hooks, rows, model = [], [], [], Rows(), Watching()
    model.compile()
    model.fit(rows, epochs=2, verbose=0)
    watched[0].unwatch()
    assert len(iterators) >= 2
    assert hooks[-4:] == ["on_epoch_begin", "on_epoch_end"] * 2
    assert rows.passes == 2
    assert "on_epoch_begin" not in vars(rows)


@canary("EpochIterator._current_iterator")
@canary("EpochIterator._enumerate_iterator")
@canary("EpochIterator._num_batches")
def epochs_are_replayed_to_where_keras_was():
    rows = Rows()
    known = epochs_of(rows)
    known.replay_epoch(4)
    assert (rows.passes, known.num_batches) == (1, 4)
    endless = epochs_of(pairs().repeat(), steps_per_epoch=3)
    endless.replay_epoch(None)
    first = endless.current
    endless.replay_epoch(None)
    assert endless.current is first
    np.testing.assert_array_equal(next(first)[0], X[:2])
    unknown = epochs_of(pairs().filter(lambda *_: True))
    assert unknown.num_batches is None
    unknown.replay_epoch(4)
    assert (unknown.num_batches, unknown.current) == (4, None)


def compiled(model=None, **arguments):
    model = model or keras.Sequential([keras.layers.Dense(2)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", "metrics": ["mae"], **arguments})
    return model


@canary("Model._symbolic_build")
def a_model_is_built_without_a_step():
    model = compiled()
    assert not model.built
    _keras.build_symbolically(model, (tf.TensorSpec((None, 3)), tf.TensorSpec((None, 2))))
    assert [tuple(weight.shape) for weight in model.weights] == [(3, 2), (2,)]
    assert model.optimizer.built
    assert _keras.compiled_loss(model).built
    assert _keras.compiled_metrics(model).built
    assert int(model.optimizer.iterations) == 0


@canary("Metric._direction")
def a_metric_knows_whether_higher_values_are_better():
    own = keras.metrics.MeanMetricWrapper(lambda y, y_pred: y_pred, name="own")
    model = compiled(metrics=["accuracy", keras.metrics.MeanSquaredError(name="error"), own])
    model.train_on_batch(X, Y)
    directions = _keras.metric_directions(model)
    assert directions == {"accuracy": "up", "error": "down", "own": None, "loss": None}
    early = keras.callbacks.EarlyStopping("accuracy")
    early.set_model(model)
    early._set_monitor_op()
    assert early.monitor_op is keras.ops.greater


@canary("Model._compile_loss")
def the_compiled_loss_is_built_and_has_the_outputs_losses():
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(2, name=name)(inputs) for name in "ab"}
    model = compiled(keras.Model(inputs, outputs), loss={"a": "mse", "b": "mae"}, metrics=None)
    assert not _keras.compiled_loss(model).built
    model.train_on_batch(X, {"a": Y, "b": Y})
    assert _keras.compiled_loss(model).built
    assert [metric.name for metric in _keras.compiled_loss(model).metrics] == ["a_loss", "b_loss"]
    assert _keras.compiled_loss(compiled(loss=None)) is None


@canary("Model._compile_metrics")
def the_compiled_metrics_are_built_by_a_step():
    model = compiled()
    assert not _keras.compiled_metrics(model).built
    model.train_on_batch(X, Y)
    assert _keras.compiled_metrics(model).built
    assert _keras.compiled_metrics(compiled(metrics=None)) is None


@canary("Model._loss_tracker")
def the_loss_of_the_epoch_is_that_of_the_tracker():
    class Constant(keras.Model):
        def train_step(self, data):
            _keras.loss_tracker(self).update_state(3.0, sample_weight=2)
            return self.get_metrics_result()

    model = compiled(Constant(), metrics=None)
    assert model.fit(X, Y, verbose=0).history == {"loss": [3.0]}
    assert float(_keras.loss_tracker(model).count) == 2


@canary("Model._distribute_strategy")
def a_model_knows_the_strategy_it_was_made_in():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = keras.Sequential()
    assert _keras.strategy_of(model) is strategy
    assert _keras.strategy_of(keras.Sequential()) is None


@canary("Model._unpickle_model")
def a_model_is_unpickled_by_its_class():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    function, *arguments = model.__reduce__()
    assert function == _keras.unpickler_of(keras.Sequential)
    # The class given here may differ from the model's class.
    copy = _keras.unpickler_of(TapeModel)(*arguments[0])
    np.testing.assert_array_equal(copy(X), model(X))


@canary("backend.IS_THREAD_SAFE")
def callbacks_are_called_in_the_calling_thread():
    class Recorder(keras.callbacks.Callback):
        async_safe = True

        def on_train_batch_end(self, batch, logs=None):
            threads.append(threading.current_thread())

    threads = []
    callback_list = keras.callbacks.CallbackList([Recorder()])
    callback_list.on_train_begin()
    callback_list.on_train_batch_end(0)
    callback_list.on_train_end()
    assert threads == [threading.current_thread()]


class Asking(keras.callbacks.Callback):
    """Keeps what `_keras` finds about the running fit."""

    def on_train_begin(self, logs=None):
        self.found = _keras.calling_list(), _keras.running_epochs()
        _keras.set_initial_epoch(self.model, 2)


@canary("Model._initial_epoch")
@canary("CallbackList.on_train_begin.self")
@canary("Model.fit.epoch_iterator")
def a_callback_finds_its_fit_and_sets_the_first_epoch():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    asking = Asking()
    history = model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[asking])
    callbacks, epochs = asking.found
    assert asking in callbacks.callbacks
    assert (epochs.kind, epochs.examples, epochs.num_batches) == ("arrays", 8, 2)
    assert history.epoch == [2]
    assert (_keras.calling_list(), _keras.running_epochs()) == (None, None)


@canary("Progbar._last_update")
@canary("Progbar._prev_total_width")
@canary("ProgbarLogger.on_epoch_end")
def a_bar_tells_when_it_was_drawn_and_how_wide_it_is():
    logger, ends = keras.callbacks.ProgbarLogger(), []
    _keras.after(logger, "on_epoch_end", lambda: ends.append(_keras.drawn_at(logger.progbar)))
    logger.set_params({"verbose": 1, "epochs": 1, "steps": 2})
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        logger.on_epoch_begin(0)
        assert (_keras.drawn_at(logger.progbar), _keras.width_of_bar(logger.progbar)) == (0, 0)
        logger.on_train_batch_end(0, {"loss": 1.0})
        drawn, shown = _keras.drawn_at(logger.progbar), printed.getvalue()
        assert _keras.width_of_bar(logger.progbar) == len(re.sub(r"\x1b\[\d*m|\s$|\r", "", shown))
        logger.on_epoch_end(0, {"loss": 1.0})
    assert 0 < drawn < ends[0]
    assert "\n" not in shown
    assert printed.getvalue().endswith("\n")


@canary("ModelCheckpoint._batches_seen_since_last_saving", "_batches_seen_since_last_saving", 2)
@canary("ModelCheckpoint._last_batch_seen", "_last_batch_seen", 1)
def a_model_checkpoint_counts_batches(name, expected):
    checkpoint = keras.callbacks.ModelCheckpoint("unused.keras", save_freq=3)
    for batch in range(2):
        checkpoint.on_train_batch_end(batch)
    assert name in _keras.CALLBACK_STATE[keras.callbacks.ModelCheckpoint]
    assert getattr(checkpoint, name) == expected


@canary("BatchNormalization.synchronized")
def batch_normalization_is_synchronized_when_it_is_called():
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Sequential([layer])])
    summed = []

    def step():
        context = tf.distribute.get_replica_context()
        with mock.patch.object(
            context, "all_reduce", side_effect=lambda _, x: summed.append(x) or x
        ):
            model(X, training=True)

    for _ in range(2):
        with _keras.synchronized_normalization(model):
            step()
        assert not layer.synchronized
        assert summed
        summed.clear()
        step()
        assert summed == []


@canary("Layer.call")
def a_layer_calls_the_replacement_of_its_call():
    layer = keras.layers.ReLU()
    x = np.array([[-1.0, 2.0]])

    def twice(call, inputs):
        return 2 * call(inputs)

    with _keras.replaced_call(layer, twice):
        np.testing.assert_array_equal(layer(x), [[0.0, 4.0]])
        np.testing.assert_array_equal(keras.Sequential([layer])(x), [[0.0, 4.0]])
    np.testing.assert_array_equal(layer(x), [[0.0, 2.0]])


@canary("Metric.update_state")
def losses_of_outputs_go_through_the_replaced_update():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(2, name=name)(inputs) for name in "ab"]
    model = compiled(keras.Model(inputs, outputs), loss=["mse", "mse"], metrics=None)
    model.train_on_batch(X, [Y, Y])
    model.reset_metrics()

    def constant(update_state, values, sample_weight=None):
        return update_state(5.0)

    with _keras.replaced_update_state(_keras.compiled_loss(model).metrics, constant):
        model.test_step((X, (Y, Y)))
    assert [float(m.result()) for m in _keras.compiled_loss(model).metrics] == [5.0, 5.0]


@canary("Metric.result")
def hooks_see_each_call_of_compiled_metrics():
    model = compiled(keras.Sequential([keras.layers.Dense(2)]), loss="mse", metrics=["mae"])
    model.train_on_batch(X, Y)
    calls = []

    def note(owner, method, *args, **kwargs):
        calls.append((owner.name, method.__name__))
        return method(*args, **kwargs)

    metrics = model_variables.metrics(model)
    hooks = [lambda name=name: _keras.hooked(metrics, name, note) for name in METHODS]
    with hooks[0](), hooks[1](), hooks[0]():
        model.test_step((X, Y))
    expected = {(name, method) for name in ("loss", "mae") for method in METHODS}
    assert set(calls) >= expected
    assert len(calls) == len(set(calls))
    model.test_step((X, Y))
    assert len(calls) == len(set(calls))
    assert not any(METHODS & vars(metric).keys() for metric in metrics)


@canary("Graph._get_function", library=TENSORFLOW)
@canary("AtomicFunction.graph", library=TENSORFLOW)
def the_graph_of_an_inner_function_is_found():
    inner = tf.function(lambda x: (x, x + 1))

    @tf.function
    def outer(x):
        found.append(_keras.graph_of_call(inner(x)[1].op))
        assert _keras.graph_of_call(tf.identity(x).op) is None
        return x

    found = []
    outer(tf.constant(1.0))
    assert [output.op.type for output in found[0].outputs] == ["Identity", "Identity"]
    assert "AddV2" in {operation.type for operation in found[0].get_operations()}


@canary("Function._list_all_concrete_functions", library=TENSORFLOW)
def a_train_function_shows_whether_it_draws():
    class Noisy(keras.Sequential):
        def call(self, x, training=None):
            return super().call(x) + tf.random.normal(())

    for kind, draws in ((keras.Sequential, False), (Noisy, True)):
        model = compiled(kind([keras.layers.Dense(2), keras.layers.Dropout(0.5)]), loss="mse")
        assert not _keras.draws_in_graph(model.make_train_function())
        model.fit(X, Y, verbose=0)
        assert _keras.draws_in_graph(model.train_function) == draws


@canary("IteratorSpec._element_spec", library=TENSORFLOW)
def a_train_function_shows_the_type_of_its_batches():
    model = compiled(keras.Sequential([keras.layers.Dense(2)]), loss="mse")
    assert _keras.traced_batches(model.make_train_function()) == []
    for x in (X, X.astype(np.uint8)):
        model.fit(x, Y, verbose=0)
    found = [(x.dtype, y.dtype) for x, y in _keras.traced_batches(model.train_function)]
    assert found == [(tf.float32, tf.float32), (tf.uint8, tf.float32)]


@canary("context().configure_coordination_service", library=TENSORFLOW)
@canary("CoordinatedJob", library=TENSORFLOW)
def the_time_limits_reach_tensorflow():
    from tensorflow.python.eager import context

    fresh = context.Context()
    with mock.patch.object(context, "context", return_value=fresh):
        _keras.configure_coordination(
            job="worker", task_count=3, register_timeout_s=7, heartbeat_timeout_s=2
        )
    found = fresh.coordination_service
    assert (found.service_type, found.service_leader) == (
        "standalone",
        "/job:worker/replica:0/task:0",
    )
    assert found.cluster_register_timeout_in_ms == 7000
    assert found.heartbeat_timeout_in_ms == 2000
    assert [(job.name, job.num_tasks) for job in found.coordinated_job_list] == [("worker", 3)]


@canary("context().report_error_to_cluster", library=TENSORFLOW)
def an_error_can_be_reported():
    from tensorflow.python.eager import context

    method = context.Context.report_error_to_cluster
    assert [*inspect.signature(method).parameters] == ["self", "error_code", "error_message"]
    with mock.patch.object(context.Context, "report_error_to_cluster", autospec=True) as report:
        _keras.report_error_to_cluster(10, "the disk is full")
    report.assert_called_once_with(context.context(), 10, "the disk is full")


@canary("context().global_seed", library=TENSORFLOW)
@canary("context()._rng", library=TENSORFLOW)
def eager_operations_draw_from_the_seeded_generator():
    from tensorflow.python.eager import context

    former = _keras.global_seed()
    tf.random.set_seed(7)
    try:
        assert _keras.global_seed() == 7
        tf.random.uniform([3])
        state = _keras.eager_random().getstate()
        drawn = tf.random.uniform([3]).numpy()
        tf.random.set_seed(7)  # This restarts operations that were seeded before.
        _keras.eager_random().setstate(state)
        np.testing.assert_array_equal(tf.random.uniform([3]), drawn)
    finally:
        context.set_global_seed(former)


@canary("context().clear_kernel_cache", library=TENSORFLOW)
def eager_operations_can_be_restarted():
    from tensorflow.python.eager import context

    former = _keras.global_seed()
    tf.random.set_seed(7)
    try:
        state = _keras.eager_random().getstate()
        drawn = tf.random.uniform([3]).numpy()
        _keras.eager_random().setstate(state)
        assert not np.array_equal(tf.random.uniform([3]), drawn)  # Or it would not be needed.
        _keras.eager_random().setstate(state)
        _keras.restart_eager_operations()
        np.testing.assert_array_equal(tf.random.uniform([3]), drawn)
    finally:
        context.set_global_seed(former)


@canary("stateful_random_ops.get_global_generator", library=TENSORFLOW)
@canary("stateful_random_ops.global_generator", library=TENSORFLOW)
def the_global_generator_is_found_where_it_exists():
    name = "tf.random.get_global_generator()"
    with no_global_generators():
        assert name not in _keras.global_generators()
        _keras.make_global_generators([name, "keras.random without a seed"])
        assert _keras.global_generators()[name] is tf.random.get_global_generator()
        _keras.drop_global_generators({name})
        assert list(_keras.global_generators()) == ["keras.random without a seed"]
        _keras.drop_global_generators({"keras.random without a seed"})
        assert _keras.global_generators() == {}


@canary("Dataset._as_serialized_graph", library=TENSORFLOW)
@canary("ExternalStatePolicy", library=TENSORFLOW)
@canary("GraphDef", library=TENSORFLOW)
def the_graph_of_a_pipeline_has_the_functions_of_its_maps():
    noisy = tf.data.Dataset.range(3).map(lambda _: tf.random.uniform([]))
    graph = _keras.graph_of(noisy)
    assert isinstance(graph, tf.compat.v1.GraphDef)
    assert "MapDataset" in {node.op for node in graph.node}
    ops = {node.op for function in graph.library.function for node in function.node_def}
    assert "RandomUniform" in ops


@canary("Dataset._deterministic", library=TENSORFLOW)
@canary("Dataset._functions", library=TENSORFLOW)
@canary("Dataset._inputs", library=TENSORFLOW)
@canary("Dataset._seed", library=TENSORFLOW)
@canary("Dataset._seed2", library=TENSORFLOW)
@canary("Dataset._tensors", library=TENSORFLOW)
def the_objects_of_a_pipeline_describe_it():
    images = tf.data.Dataset.from_tensor_slices(X)
    shuffled = images.shuffle(8, seed=3)
    mapped = shuffled.map(tf.square, num_parallel_calls=2, deterministic=False)
    source, order, last = map(_keras.pipeline_part, (images, shuffled, mapped))
    assert (source.kind, source.num_bytes) == ("TensorSliceDataset", X.nbytes)
    assert (order.kind, order.inputs) == ("ShuffleDataset", [images])
    assert len(order.seeds) == 2
    assert 3 in order.seeds
    assert (last.kind, last.deterministic) == ("ParallelMapDataset", "false")
    assert "Square" in {node.op for node in last.functions[0].as_graph_def().node}


@canary("_noinline", library=TENSORFLOW)
def a_function_is_not_inlined():
    function = tf.function(lambda x: x + 1, experimental_attributes=_keras.NOT_INLINED)
    concrete = function.get_concrete_function(tf.TensorSpec([]))
    assert concrete.function_def.attr["_noinline"].b


@pytest.mark.parametrize("name", CANARIES[KERAS])
def test_keras_still_has(name):
    check(KERAS, name)


@pytest.mark.parametrize("name", CANARIES[TENSORFLOW])
def test_tensorflow_still_has(name):
    check(TENSORFLOW, name)


def test_a_name_moved_by_keras_is_reported(monkeypatch):
    monkeypatch.delattr(keras.layers.Layer, "_flatten_layers")
    expected = r"^Keras \d.* moved Layer\._flatten_layers: see mnist_keras/_keras\.py\."
    with pytest.raises(pytest.fail.Exception, match=expected):
        check(KERAS, "Layer._flatten_layers")


def table():
    """The names in the table of the file's docstring."""
    names = []
    docstring = ast.get_docstring(ast.parse(SOURCE))
    for entry in re.findall(r"^- ((?:``[^`]+``(?:,\s+)?)+):", docstring, re.MULTILINE):
        for name in re.findall("``([^`]+)``", entry):
            # ``A.x``, ``.y`` stands for A.x and A.y.
            names.append(names[-1].rpartition(".")[0] + name if name.startswith(".") else name)
    return names


def test_each_name_in_the_table_has_a_canary():
    assert sorted(table()) == sorted([*CANARIES[KERAS], *CANARIES[TENSORFLOW]])


def test_each_private_name_in_the_file_is_in_its_table():
    used = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            used.add(node.attr)
        elif isinstance(node, ast.Constant):
            used.add(node.value)
    private = {name for name in used if re.fullmatch("_[a-z]\\w*", str(name))}
    assert private <= {name.rpartition(".")[2] for name in table()}
