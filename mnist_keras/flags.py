"""The command line's flags, and the one place that turns them into a RunConfig."""

import os

from absl import flags

from mnist_keras import config as config_module
from mnist_keras.config import RunConfig
from mnist_keras.errors import UsageError
from mnist_keras.run_directory import RunDirectory, newest_run

_DEFAULTS = {name: field.default for name, field in RunConfig.__dataclass_fields__.items()}


def define():
    """Define the flags; once in a process."""
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
    _whole("epochs", "Passes over the training images, in all; more of them extend a finished run.")
    _switch("shuffle", "Another order each epoch, a pure function of (--seed, epoch).")
    _whole("seed", "Seed of the initial weights and of the order.")
    _whole(
        "validation_examples",
        "How many of the last training images are held out; the best checkpoint is chosen on them.",
    )
    _whole("log_every_steps", "Steps from one printed and logged step to the next.")
    _whole("checkpoint_every_steps", "Steps from one checkpoint to the next. Default: one epoch.")
    _whole("keep_checkpoints", "How many of the newest checkpoints are kept; the best besides.")
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
        _parse_once([argv[0], f"--flagfile={run.recipe}", *argv[1:], f"--run_name={run.name}"])
    return _to_config()


def _parse_once(argv):
    try:
        words = flags.FLAGS(argv)[1:]
    except SystemExit:
        raise SystemExit(0) from None  # The help flags leave with 1.
    except flags.UnrecognizedFlagError as error:
        raise UsageError(
            f"unknown flag. Received: --{error.flagname}. Expected: a flag of --help."
        ) from None
    except flags.Error as error:
        raise UsageError(_one_line(error)) from None
    if words:
        raise UsageError(f"words that are no flags. Received: {' '.join(words)}. Expected: none.")


def _run_to_evaluate():
    if flags.FLAGS.run_name is None:
        return newest_run(flags.FLAGS.logdir)
    run = RunDirectory(os.path.join(flags.FLAGS.logdir, flags.FLAGS.run_name))
    if run.stored_recipe() is None:
        raise UsageError(f"there is no such run. Received: {run.path}. Expected: a run's name.")
    return run


def _to_config():
    values = {name: flags.FLAGS[name].value for name in _DEFAULTS}
    if values["data_dir"] is None:
        values["data_dir"] = os.environ.get("MNIST_KERAS_DATA_DIR") or None
    steps = values["steps_per_execution"]
    if steps.isdecimal():
        values["steps_per_execution"] = int(steps)
    return RunConfig(**values)


def _one_line(error):
    return " ".join(str(error).split())


def _choice(name, values, text):
    flags.DEFINE_enum(name, _DEFAULTS[name], values, text)


def _text(name, text):
    flags.DEFINE_string(name, _DEFAULTS[name], text)


def _whole(name, text):
    flags.DEFINE_integer(name, _DEFAULTS[name], text)


def _number(name, text):
    flags.DEFINE_float(name, _DEFAULTS[name], text)


def _switch(name, text):
    flags.DEFINE_boolean(name, _DEFAULTS[name], text)
