"""The command line's flags, and the one place that turns them into a RunConfig."""

import contextlib
import io
import os
from typing import Any

from absl import flags

from mnist_keras.app import config as config_module
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory, newest_run
from mnist_keras.errors import UsageError

_DEFAULTS: dict[str, Any] = {
    name: field.default for name, field in RunConfig.__dataclass_fields__.items()
}
del _DEFAULTS["paths"]  # The words that are no flags.
_DEFAULTS["formats"] = ",".join(_DEFAULTS["formats"])
_EXPECTED: dict[str, str] = {}


def define():
    """Define the flags; once in a process."""
    if "log_dir" in flags.FLAGS:
        # absl's own, which does nothing here, would swallow a mistyped --logdir.
        flags.FLAGS.remove_flag_values(["log_dir"])
    _choice(
        "mode",
        config_module.MODES,
        "What to do. compare: print a table of the runs whose directories follow, as in "
        "--mode=compare logs/*; without any, of all in --logdir. predict: read the digits in the "
        "files that follow, photos (JPEG, PNG, HEIC) or IDX, as in --mode=predict photo.jpg. "
        "export: write the run's network in the --formats of other programs.",
    )
    _choice(
        "dataset",
        config_module.DATASETS,
        "What to train on. auto: MNIST from --data_dir, the cache or a download; where none can be "
        "had, the built-in synthetic digits.",
    )
    _text(
        "data_dir",
        "Directory of the IDX files (.gz or not) or of mnist.npz; nothing is downloaded then. "
        "Default: $MNIST_KERAS_DATA_DIR.",
    )
    _text("logdir", "Directory that holds the runs' directories.")
    _text(
        "run_name",
        "Name of the run's directory under --logdir. The same name again resumes the run. "
        "Default: date and time; for --mode=evaluate, predict and export the newest run.",
    )
    _switch("overwrite", "Begin the named run anew instead of resuming it.")
    _choice(
        "network",
        config_module.NETWORKS,
        "mlp: dense layers of 512, 256, 10 units; cnn: two convolutions; cnn_fast: half of it, for "
        "one epoch; deep_cnn: more of them with batch normalization, for accuracy.",
    )
    _choice("loss", config_module.LOSSES, "The loss of a batch; crossentropy is from logits.")
    _choice("optimizer", config_module.OPTIMIZERS, "How gradients become updates.")
    _number("learning_rate", "Step size, per update; where a schedule is used, its largest value.")
    _number("adam_beta_1", "adam, adamw: decay per step of the mean gradient. Default: 0.9.")
    _number("adam_beta_2", "adam, adamw: decay per step of the mean square. Default: 0.999.")
    _number(
        "weight_decay",
        "adamw: fraction of each weight, times the learning rate, taken off per step. "
        "Default: 0.004.",
    )
    _number(
        "average_decay",
        "Decay per step of a moving average of the weights, which is then validated, tested and "
        "saved as the model. Default: no average.",
    )
    _number(
        "label_smoothing",
        "categorical_crossentropy: fraction of each label that is spread over all classes.",
    )
    _choice(
        "schedule",
        config_module.SCHEDULES,
        "The learning rate's course over all epochs. one_cycle: a long rise, then a cosine down.",
    )
    _whole(
        "warmup_steps",
        "Steps in which the learning rate rises to its largest value. Default: 0; one_cycle: 30 % "
        "of all.",
    )
    _number("augment_shift", "Pixels by which each training image is moved at most.")
    _number("augment_rotation", "Degrees by which each training image is turned at most.")
    _number(
        "augment_scale",
        "Fraction by which each training image is made larger or smaller at most.",
    )
    _number("augment_shear", "Degrees by which each training image is slanted at most.")
    _number(
        "augment_elastic",
        "Pixels, standard deviation, by which the points of each training image are displaced.",
    )
    _whole("batch_size", "Examples in a batch.")
    _text(
        "batch_parts",
        "Parts that a batch is cut into, computed side by side on the processor's cores; auto: as "
        "many as pay on this machine.",
    )
    _whole(
        "gradient_accumulation_steps",
        "Steps whose gradients are averaged into one update of the weights.",
    )
    _whole("epochs", "Passes over the training images, in all; more of them extend a finished run.")
    _switch("shuffle", "Another order each epoch, a pure function of (--seed, epoch).")
    _whole("seed", "Seed of the initial weights and of the order.")
    _whole(
        "validation_examples",
        "How many of the last training images are held out; the best checkpoint is chosen on them.",
    )
    _whole("log_every_steps", "Steps from one printed and logged step to the next.")
    _whole("checkpoint_every_steps", "Steps from one checkpoint to the next. Default: one epoch.")
    _number(
        "checkpoint_every_minutes",
        "Minutes from one checkpoint to the next, besides those by steps. Default: none by time.",
    )
    _whole("keep_checkpoints", "How many of the newest checkpoints are kept; the best besides.")
    _whole(
        "keep_best_checkpoints",
        "How many of the best checkpoints are kept, by the loss on --validation_examples.",
    )
    _whole(
        "keep_every_steps",
        "The checkpoints at multiples of so many steps are kept for ever. Default: none are.",
    )
    _text(
        "start_from",
        "Directory of a run whose newest checkpoint this new run goes on from, at its own "
        "--learning_rate. Default: a new network.",
    )
    _text(
        "steps_per_execution",
        "Steps run by one call of the device: auto, or a whole number. No value changes any number "
        "that is logged, saved or printed.",
    )
    _switch("report", "Write report.html, a page of its own that shows what the run came to.")
    _switch("chart_layout", "TensorBoard: group the curves on the page of custom scalars.")
    _switch("run_text", "TensorBoard: the recipe, versions, machine and command as text.")
    _switch("hparams", "TensorBoard: the recipe beside the final metrics.")
    _switch("network_graph", "TensorBoard: the graph of the network.")
    _switch(
        "memory_usage", "TensorBoard: present and peak memory of the process, each epoch, in MiB."
    )
    _whole(
        "weight_norms_every_epochs",
        "TensorBoard: epochs from one norm and relative update of each layer to the next. 0: none.",
    )
    _whole(
        "pictures_every_epochs",
        "TensorBoard: epochs from one set of pictures to the next: mistakes, confusion matrix, "
        "input, first layer; and each class's precision and recall. The last epoch has them too, "
        "and the first one the input. 0: none.",
    )
    _whole(
        "histograms_every_epochs",
        "TensorBoard: epochs from one set of histograms of weights and gradients to the next. "
        "0: none.",
    )
    _whole(
        "pr_curves_every_epochs",
        "TensorBoard: epochs from one set of precision-recall curves to the next. 0: none.",
    )
    _switch("projector", "TensorBoard: images as points, by the last hidden layer.")
    _text(
        "profile_steps",
        "TensorBoard: the first and the last step to profile, as 100-120, counted over the whole "
        "run. Default: none.",
    )
    _choice("dtype_policy", config_module.DTYPE_POLICIES, "What the layers compute in.")
    _choice(
        "distribution",
        config_module.DISTRIBUTIONS,
        "Devices and machines that share each batch. mirrored: all GPUs of this machine; "
        "multi_worker: the machines that TF_CONFIG, MNIST_KERAS_WORKERS or Slurm name; auto: those "
        "there are. --batch_size counts the examples of all of them together.",
    )
    _whole(
        "cpu_devices",
        "auto, mirrored: without a GPU, as how many devices the processor counts, to try it out.",
    )
    _whole(
        "data_partitions",
        "Equal runs of the training images, and so of their shards, of which each batch takes an "
        "equal part. With as many workers, or a divisor of it, each worker's disk needs to hold "
        "its own runs alone: the first worker's the first ones.",
    )
    _switch("json", "--mode=predict, export: print a line of JSON for each file.")
    _text(
        "contact_sheet",
        "--mode=predict: PNG file to write, of the digits found on each photo and of what the "
        "network saw of them. Default: none.",
    )
    _text(
        "formats",
        f"--mode=export: what to write, separated by commas, of {','.join(config_module.FORMATS)}.",
    )
    _text(
        "export_dir",
        "--mode=export: directory to write to. Default: export in the run's directory.",
    )
    _switch("debug", "Show tracebacks and TensorFlow's own messages.")


def parse(argv):
    """The recipe that a command line asks for.

    For ``--mode=evaluate``, ``predict`` and ``export`` the flags that the run was begun with stand
    in for those not given.

    Args:
        argv: the program's name and its arguments.

    Returns:
        A `RunConfig`.

    Raises:
        UsageError: an unknown flag, a wrong value, a flag file that cannot be read, or words that
            are no flags.
        SystemExit: after the help was printed, with status 0.
    """
    words = _parse_once(argv)
    if words and flags.FLAGS.mode not in config_module.MODES_WITH_PATHS:
        raise UsageError(f"words that are no flags. Received: {' '.join(words)}. Expected: none.")
    if flags.FLAGS.mode in ("evaluate", "predict", "export"):
        run = _run_to_open()
        flags.FLAGS.unparse_flags()
        # The directory may have been moved or renamed since its recipe was written.
        place = [f"--logdir={run.path.parent}", f"--run_name={run.name}"]
        _parse_once([argv[0], f"--flagfile={run.recipe}", *place, *argv[1:]])
    return _to_config(paths=tuple(words))


def _parse_once(argv):
    warnings = io.StringIO()
    try:
        with contextlib.redirect_stderr(warnings):
            words = flags.FLAGS(argv)[1:]
    except SystemExit:
        raise SystemExit(0) from None  # The help flags leave with 1.
    except (flags.Error, UnicodeDecodeError) as error:
        raise UsageError(_in_our_form(error, argv)) from None
    if warnings.getvalue():
        raise UsageError(
            f"a flag file includes itself. Received: {_flag_files(argv)}. "
            "Expected: each flag file once."
        )
    return words


def _in_our_form(error, argv):
    """What is wrong, what was received and what is expected; absl's messages lack the last."""
    cause = error.__context__
    if isinstance(error, UnicodeDecodeError):
        return f"a flag file is no text. Received: {_flag_files(argv)}. Expected: a flag a line."
    if isinstance(error, flags.CantOpenFlagFileError):
        return (
            f"a flag file cannot be read: {cause.strerror}. Received: {cause.filename!r}. "
            "Expected: a text file, a flag a line."
        )
    if isinstance(error, flags.UnrecognizedFlagError):
        suggested = str(error).partition(". Did you mean: ")[2].removesuffix(" ?")
        expected = f"a flag of --help{suggested and f', perhaps --{suggested}'}"
        return f"unknown flag. Received: --{error.flagname}. Expected: {expected}."
    if isinstance(error, flags.IllegalFlagValueError) and cause is not None:
        name, _, value = str(error).removeprefix("flag --").partition("=")
        value = value.removesuffix(f": {cause}")
        expected = _EXPECTED.get(name, "a value as in --helpfull")
        return f"--{name} is wrong. Received: {value!r}. Expected: {expected}."
    return f"{error}. Received: {' '.join(argv[1:])}. Expected: flags as in --help."


def _flag_files(argv):
    return " ".join(word for word in argv if "flagfile" in word)


def _run_to_open():
    logdir = os.path.expanduser(flags.FLAGS.logdir)
    if flags.FLAGS.run_name is None:
        return newest_run(logdir)
    run = RunDirectory(os.path.join(logdir, flags.FLAGS.run_name))
    if run.stored_recipe() is None:
        raise UsageError(f"there is no such run. Received: {run.path}. Expected: a run's name.")
    return run


def _to_config(*, paths):
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in _DEFAULTS}
    if values["data_dir"] is None:
        values["data_dir"] = os.environ.get("MNIST_KERAS_DATA_DIR") or None
    for name in ("data_dir", "logdir", "start_from", "contact_sheet", "export_dir"):
        # The shell expands no ~ behind a "=".
        values[name] = values[name] and os.path.expanduser(values[name])
    for name in ("steps_per_execution", "batch_parts"):
        if values[name].isdecimal():
            values[name] = int(values[name])
    values["formats"] = tuple(values["formats"].split(","))
    return RunConfig(**values, paths=paths)


def _choice(name, values, text):
    _EXPECTED[name] = f"one of {', '.join(values)}"
    flags.DEFINE_enum(name, _DEFAULTS[name], values, text)


def _text(name, text):
    flags.DEFINE_string(name, _DEFAULTS[name], text)


def _whole(name, text):
    _EXPECTED[name] = "a whole number"
    flags.DEFINE_integer(name, _DEFAULTS[name], text)


def _number(name, text):
    _EXPECTED[name] = "a number"
    flags.DEFINE_float(name, _DEFAULTS[name], text)


def _switch(name, text):
    _EXPECTED[name] = "true or false"
    flags.DEFINE_boolean(name, _DEFAULTS[name], text)
