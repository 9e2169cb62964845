"""What ``--help`` prints: the flags in groups, the usual ones first."""

import shutil
import textwrap
from collections.abc import Iterable

from mnist_keras.app.setting import AUTO, Group, Setting
from mnist_keras.console.terminal import command

_MOST_COLUMNS = 100
_INDENT = "  "


def help_text(settings: Iterable[Setting]) -> str:
    """The page of ``--help``, as wide as the terminal.

    Args:
        settings: in the order of their flags within each group.
    """
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    flags = [it for it in settings if it.is_flag]
    lines = [
        *_wrap(f"Train a network on MNIST, for example: {command('--flagfile=flags.txt')}", width),
        *_wrap(
            "Each flag is written --name=VALUE; a flag --[no]name is on as --name and off as "
            "--noname. --flagfile=FILE reads flags from a file, one a line. Of a flag that is "
            "given twice the last one counts. --only_check_args checks the flags and ends.",
            width,
        ),
    ]
    for group in Group:
        lines += ["", f"{group.value}:"]
        for it in flags:
            if it.group is group:
                lines += _lines_of(it, width)
    return "\n".join(lines)


def range_text(setting: Setting) -> str:
    """The unit and the possible values of a setting.

    >>> from mnist_keras.app.config import RunConfig
    >>> from mnist_keras.app.setting import settings
    >>> range_text(settings(RunConfig)["epochs"])
    'epochs, 1 to 1000000000'
    """
    parts = [setting.unit] if setting.unit else []
    if setting.choices:
        parts.append(
            f"{'some' if tuple in setting.types else 'one'} of {', '.join(setting.choices)}"
        )
    elif setting.is_number:
        auto = f"{AUTO} or " if setting.accepts_auto else ""
        parts.append(f"{auto}{_range_of_numbers(setting)}")
    elif setting.form is not None:
        parts.append(setting.form.expected)
    if setting.only_with is not None:
        other, values = setting.only_with
        parts.append(f"with --{other}={' or '.join(values)}")
    return ", ".join(parts)


def default_text(setting: Setting) -> str:
    """What happens if the flag is not given."""
    default = setting.default_help if setting.default is None else setting.text(setting.default)
    if setting.environment is not None:
        return f"${setting.environment}, otherwise {default}"
    return str(default)


def _lines_of(setting: Setting, width: int) -> list[str]:
    name = f"[no]{setting.name}" if bool in setting.types else setting.name
    details = "; ".join(filter(None, (range_text(setting), f"default: {default_text(setting)}")))
    first = _wrap(f"--{name}: {setting.help}", width, first=_INDENT, others=2 * _INDENT)
    return first + _wrap(f"({details})", width, first=2 * _INDENT, others=2 * _INDENT)


def _range_of_numbers(setting: Setting) -> str:
    if setting.above is not None:
        end = f", at most {setting.at_most}" if setting.at_most is not None else ""
        return f"above {setting.above}{end}"
    if setting.at_most is not None:
        return f"{setting.at_least} to {setting.at_most}"
    if setting.below is not None:
        return f"{setting.at_least} to below {setting.below}"
    return f"at least {setting.at_least}"


def _wrap(text: str, width: int, *, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
