"""Which values a setting can have, and the errors for those it cannot have."""

from typing import Any

from mnist_keras.app.setting import AUTO, Form, Setting
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path


def check_value(setting: Setting, value: Any) -> None:
    """Refuse a value that a setting cannot have.

    Raises:
        UsageError: names the flag, the value and what was expected.

    Example:

    >>> from mnist_keras.app.config import RunConfig
    >>> from mnist_keras.app.setting import settings
    >>> check_value(settings(RunConfig)["epochs"], 0)
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: --epochs is too small. Received: 0. Expected: at least 1.
    """
    if value is None and setting.default is None:
        return
    if setting.types[0] is int and str not in setting.types:
        _check_integer(setting, value)
        return
    form = _form(setting)
    if form is None:
        return
    if not form.fits(value):
        received = setting.text(value) if isinstance(value, tuple) else value
        raise UsageError(
            f"--{setting.name} is wrong. Received: {received!r}. Expected: {form.expected}."
        )
    if setting.is_path:
        local_path(value, flag=f"--{setting.name}")
    if setting.max_bytes is not None and len(value.encode()) > setting.max_bytes:
        raise UsageError(
            f"--{setting.name} is too long. Received: {len(value.encode())} bytes. "
            f"Expected: at most {setting.max_bytes}."
        )


def check_companion(setting: Setting, config: Any) -> None:
    """Refuse a setting that has no meaning with the value of another one.

    Args:
        setting: one with or without ``only_with``.
        config: the object that holds the values of all settings.

    Raises:
        UsageError: names both flags and the values that were expected.
    """
    if setting.only_with is None or getattr(config, setting.name) == setting.default:
        return
    other, choices = setting.only_with
    if getattr(config, other) not in choices:
        raise UsageError(
            f"--{setting.name} does not go with this {other}. "
            f"Received: --{other}={getattr(config, other)}. "
            f"Expected: {' or '.join(f'--{other}={choice}' for choice in choices)}."
        )


def _check_integer(setting: Setting, value: int) -> None:
    if setting.at_least is not None and value < setting.at_least:
        raise UsageError(
            f"--{setting.name} is too small. Received: {value}. "
            f"Expected: at least {setting.at_least}."
        )
    if setting.largest is not None and value > setting.largest:
        raise UsageError(
            f"--{setting.name} is too large. Received: {value}. "
            f"Expected: at most {setting.largest}."
        )


def _form(setting: Setting) -> Form | None:
    """What a value must look like; None: any value is possible."""
    choices = setting.choices
    if setting.form is not None:
        return setting.form
    if choices and tuple in setting.types:
        return Form(
            lambda items: 0 < len(items) == len(set(items)) == len(set(items) & set(choices)),
            f"some of {','.join(choices)}, each once",
        )
    if choices:
        return Form(lambda value: value in choices, f"one of {', '.join(choices)}")
    if float in setting.types:
        return Form(lambda value: _is_in_range(setting, value), _range_of_floats(setting))
    if setting.accepts_auto:
        return Form(
            lambda value: (
                value == AUTO or (isinstance(value, int) and _is_in_range(setting, value))
            ),
            f"auto or an integer from {setting.at_least} to {setting.largest}",
        )
    return None


def _is_in_range(setting: Setting, value: float) -> bool:
    # Positive conditions: NaN fulfils none.
    return (
        (setting.at_least is None or value >= setting.at_least)
        and (setting.above is None or value > setting.above)
        and (setting.largest is None or value <= setting.largest)
        and (setting.below is None or value < setting.below)
    )


def _range_of_floats(setting: Setting) -> str:
    begin = f"above {setting.above}" if setting.above is not None else f"from {setting.at_least}"
    if setting.at_most is not None:
        end = f" to {setting.at_most}" if setting.above is None else f", at most {setting.at_most}"
    else:
        end = "" if setting.below is None else f" to below {setting.below}"
    return f"a number {begin}{end}"
