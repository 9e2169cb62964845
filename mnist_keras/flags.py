"""The command line's flags, and the one place that turns them into a RunConfig."""

import contextlib
import io
import os

from absl import flags

from mnist_keras import config as config_module
from mnist_keras.config import RunConfig
from mnist_keras.errors import UsageError
from mnist_keras.run_directory import RunDirectory, newest_run

_DEFAULTS = {name: field.default for name, field in RunConfig.__dataclass_fields__.items()}
_EXPECTED = {}


def define():
    """Define the flags; once in a process."""
    if "log_dir" in flags.FLAGS:
        # absl's own, which does nothing here, would swallow a mistyped --logdir.
        flags.FLAGS.remove_flag_values(["log_dir"])
    _choice("mode", config_module.MODES, "What to do.")
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
        "Default: date and time; for --mode=evaluate the newest run.",
    )
    _switch("overwrite", "Begin the named run anew instead of resuming it.")
    _choice("network", config_module.NETWORKS, "mlp: dense layers of 512, 256, 10 units.")
    _choice("loss", config_module.LOSSES, "The loss of a batch; crossentropy is from logits.")
    _choice("optimizer", config_module.OPTIMIZERS, "How gradients become updates.")
    _number("learning_rate", "Step size, per update; where a schedule is used, its largest value.")
    _choice("schedule", config_module.SCHEDULES, "The learning rate's course over all epochs.")
    _whole("batch_size", "Examples in a batch.")
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
    _choice("dtype_policy", config_module.DTYPE_POLICIES, "What the layers compute in.")
    _choice("distribution", config_module.DISTRIBUTIONS, "Devices and machines to train on.")
    _switch("debug", "Show tracebacks and TensorFlow's own messages.")


def parse(argv):
    """The recipe that a command line asks for.

    For ``--mode=evaluate`` the flags that the run was begun with stand in for those not given.

    Args:
        argv: the program's name and its arguments.

    Returns:
        A `RunConfig`.

    Raises:
        UsageError: an unknown flag, a wrong value, a flag file that cannot be read, or words that
            are no flags.
        SystemExit: after the help was printed, with status 0.
    """
    _parse_once(argv)
    if flags.FLAGS.mode == "evaluate":
        run = _run_to_evaluate()
        flags.FLAGS.unparse_flags()
        # The directory may have been moved or renamed since its recipe was written.
        place = [f"--logdir={run.path.parent}", f"--run_name={run.name}"]
        _parse_once([argv[0], f"--flagfile={run.recipe}", *place, *argv[1:]])
    return _to_config()


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
    if words:
        raise UsageError(f"words that are no flags. Received: {' '.join(words)}. Expected: none.")


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


def _run_to_evaluate():
    logdir = os.path.expanduser(flags.FLAGS.logdir)
    if flags.FLAGS.run_name is None:
        return newest_run(logdir)
    run = RunDirectory(os.path.join(logdir, flags.FLAGS.run_name))
    if run.stored_recipe() is None:
        raise UsageError(f"there is no such run. Received: {run.path}. Expected: a run's name.")
    return run


def _to_config():
    values = {name: flags.FLAGS[name].value for name in _DEFAULTS}
    if values["data_dir"] is None:
        values["data_dir"] = os.environ.get("MNIST_KERAS_DATA_DIR") or None
    for name in ("data_dir", "logdir", "start_from"):
        # The shell expands no ~ behind a "=".
        values[name] = values[name] and os.path.expanduser(values[name])
    steps = values["steps_per_execution"]
    if steps.isdecimal():
        values["steps_per_execution"] = int(steps)
    return RunConfig(**values)


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
