"""The command line's flags, which become a RunConfig."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from mnist_keras.app import flag_files, keras_settings
from mnist_keras.app.config import MODES_WITH_PATHS, RunConfig
from mnist_keras.app.help_text import default_text, help_text, range_text
from mnist_keras.app.run_directory import RunDirectory, newest_run
from mnist_keras.app.setting import Setting, integer, settings
from mnist_keras.console.terminal import OutputError, print_line
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path

_OF_ABSL = ("help", "?", "helpshort", "helpfull", "flagfile", "only_check_args")
_SETTINGS = {name: it for name, it in settings(RunConfig).items() if it.is_flag}


class _HelpFlag(flags.BooleanFlag):
    """Prints our help and ends the program; absl's help sorts the flags by name."""

    def parse(self, argument: Any) -> None:
        super().parse(argument)
        if self.value:
            _print_page(help_text(_SETTINGS.values()))
            raise SystemExit(0)


def define() -> None:
    """Define the flags; once in a process."""
    app.define_help_flags()
    for name in {"log_dir", "helpxml"} & {*flags.FLAGS}:
        # absl's log_dir, which does nothing here, would accept a mistyped --logdir.
        flags.FLAGS.remove_flag_values([name])
    for name, short_name in (("help", "?"), ("helpshort", None), ("helpfull", None)):
        help_flag = _HelpFlag(
            name, False, "Print this help.", short_name=short_name, allow_override=True
        )
        flags.DEFINE_flag(help_flag)
    for setting in _SETTINGS.values():
        _define(setting)


def parse(argv: Sequence[str]) -> RunConfig:
    """The settings that a command line asks for.

    For ``--mode=evaluate``, ``predict`` and ``export`` the flags that the run was started with
    replace those not given.

    Args:
        argv: the program's name and its arguments.

    Returns:
        A `RunConfig`.

    Raises:
        UsageError: an unknown flag, a wrong value, a flag file that cannot be read, arguments
            that are not flags, or settings of Keras with which this package cannot train.
        SystemExit: after the help was printed, with status 0.
    """
    given = flag_files.expand(argv[1:])
    words = _parse_once(given, typed=argv[1:])
    if words and flags.FLAGS.mode not in MODES_WITH_PATHS:
        raise UsageError(
            f"arguments that are not flags. Received: {' '.join(words)}. Expected: none."
        )
    if flags.FLAGS.mode in ("evaluate", "predict", "export"):
        run = _run_to_open()
        flags.FLAGS.unparse_flags()
        # The directory may have been moved or renamed since its recipe was written.
        place = [f"--logdir={run.path.parent}", f"--run_name={run.name}"]
        recipe = flag_files.expand([f"--flagfile={run.recipe}"])
        _parse_once([*recipe, *place, *given], typed=argv[1:])
    if flags.FLAGS.mode != "compare":  # It reads files alone.
        keras_settings.require_usable()
    values = {name: _value(setting, flags.FLAGS[name].value) for name, setting in _SETTINGS.items()}
    return RunConfig(**values, paths=tuple(map(local_path, words)))


def _parse_once(given: Sequence[str], *, typed: Sequence[str]) -> list[str]:
    """The words that are not flags, after the flags were set; flag files are expanded."""
    try:
        words = flags.FLAGS(["", *given])[1:]
    except SystemExit:
        raise SystemExit(0) from None  # absl's help flags exit with 1.
    except flags.Error as error:
        raise UsageError(_in_our_form(error, typed)) from None
    _refuse_flags_of_absl(given)
    return words


def _refuse_flags_of_absl(given: Sequence[str]) -> None:
    """Refuse what else absl defines, such as a debugger and a flag that hides mistyped flags."""
    present = {name for name in flags.FLAGS if flags.FLAGS[name].present}
    for word in itertools.takewhile("--".__ne__, given):
        if word.partition("=")[0] in ("--undefok", "-undefok"):
            present.add("undefok")
    for name in sorted(present.difference(_SETTINGS, _OF_ABSL)):
        raise UsageError(f"unknown flag. Received: --{name}. Expected: a flag of --help.")


def _in_our_form(error: Exception, typed: Sequence[str]) -> str:
    """What is wrong, what was received and what is expected; absl's messages lack the last."""
    cause = error.__context__
    if isinstance(error, flags.UnrecognizedFlagError):
        suggested = str(error).partition(". Did you mean: ")[2].removesuffix(" ?")
        expected = f"a flag of --help{suggested and f', perhaps --{suggested}'}"
        return f"unknown flag. Received: --{error.flagname}. Expected: {expected}."
    if isinstance(error, flags.IllegalFlagValueError) and cause is not None:
        name, _, value = str(error).removeprefix("flag --").partition("=")
        value = value.removesuffix(f": {cause}")
        expected = _expected(_SETTINGS[name]) if name in _SETTINGS else "a value as in --help"
        return f"--{name} is wrong. Received: {value!r}. Expected: {expected}."
    return f"{error}. Received: {' '.join(typed)}. Expected: flags as in --help."


def _run_to_open() -> RunDirectory:
    logdir = _value(_SETTINGS["logdir"], flags.FLAGS.logdir)
    if flags.FLAGS.run_name is None:
        return newest_run(logdir)
    run = RunDirectory(os.path.join(logdir, flags.FLAGS.run_name))
    if run.stored_recipe() is None:
        raise UsageError(f"there is no such run. Received: {run.path}. Expected: a run's name.")
    return run


def _define(setting: Setting) -> None:
    name, default = setting.name, setting.default
    text = f"{setting.help} ({range_text(setting)})" if range_text(setting) else setting.help
    if default is None:
        text = f"{text} Default: {default_text(setting)}."
    if bool in setting.types:
        flags.DEFINE_boolean(name, default, text)
    elif setting.choices and str in setting.types:
        flags.DEFINE_enum(name, default, setting.choices, text)
    elif float in setting.types:
        flags.DEFINE_float(name, default, text)
    elif int in setting.types and str not in setting.types:
        flags.DEFINE_integer(name, default, text)
    else:
        flags.DEFINE_string(name, None if default is None else setting.text(default), text)


def _expected(setting: Setting) -> str:
    """What absl takes for a value of the setting."""
    if setting.choices:
        return f"one of {', '.join(setting.choices)}"
    if bool in setting.types:
        return "true or false"
    return "an integer" if int in setting.types else "a number"


def _value(setting: Setting, value: Any) -> Any:
    """A setting's value, from its flag's value."""
    source = f"--{setting.name}"
    if value is None and setting.environment is not None:
        value, source = os.environ.get(setting.environment) or None, setting.environment
    if value is None:
        return None
    if setting.is_path:
        # The shell does not expand ~ after "=".
        return local_path(os.path.expanduser(value), flag=source)
    if tuple in setting.types:
        return tuple(value.split(","))
    if {int, str} <= set(setting.types):
        number = integer(value)
        return value if number is None else number
    return value


def _print_page(text: str) -> None:
    """Print a text; a reader that stops early, as in ``--help | head``, is not an error."""
    try:
        for line in text.splitlines():
            print_line(line)
    except OutputError as error:
        if not isinstance(error.__cause__, BrokenPipeError):
            raise
