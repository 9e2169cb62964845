"""The declaration of a setting: a dataclass field that carries all that is known about it.

Flags, `--help`, range checks, flags.txt, the comparison at a resume, HParams and ``--mode=compare``
are derived from it.
"""

import dataclasses
import enum
import functools
import re
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

_KEY = "setting"
_MOST_DIGITS = 18  # Python refuses to parse thousands, and no setting has more.
_LARGEST_INTEGER = 10**_MOST_DIGITS - 1
AUTO = "auto"


class Decides(enum.Enum):
    """What a setting has an effect on.

    Attributes:
        COMPUTATION: the numbers that a run computes. A resume refuses another value; HParams and
            the report show it.
        LENGTH: how long a run trains. A resume may extend it; HParams and the report show it.
        RECORDS: which steps are logged and which checkpoints are kept.
        DISPLAY: what the report and TensorBoard show besides; ``--mode=compare`` leaves it out.
        SPEED: on what and how fast a run computes, not what it computes.
        PLACES: where files are; ``--mode=compare`` leaves it out.
        COMMAND: what this one command does; flags.txt does not store it.
    """

    COMPUTATION = enum.auto()
    LENGTH = enum.auto()
    RECORDS = enum.auto()
    DISPLAY = enum.auto()
    SPEED = enum.auto()
    PLACES = enum.auto()
    COMMAND = enum.auto()


class Group(enum.Enum):
    """The groups of ``--help``, in the order in which it prints them, by their titles."""

    USUAL = "usual flags"
    DATA = "data"
    NETWORK = "network and loss"
    OPTIMIZER = "optimizer and schedule"
    AUGMENTATION = "augmentation"
    CHECKPOINTS = "checkpoints"
    REPORTS = "TensorBoard and report"
    DEVICES = "devices"
    MODES = "other modes"
    DIAGNOSTICS = "diagnostics"


class Form(NamedTuple):
    """What a text has to look like.

    Attributes:
        fits: whether a value does.
        expected: the same in words, for help and error messages.
        is_path: whether the text is the path of a file or directory.
    """

    fits: Callable[[Any], bool]
    expected: str
    is_path: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """All that is known about a setting.

    Attributes:
        name: its field's and, after ``--``, its flag's.
        types: of its values.
        default: its value where none is given.
        help: what it means, in a sentence or more.
        group: its place in ``--help``.
        decides: what it has an effect on.
        unit: of a number.
        default_help: what happens where nothing is given, if ``default`` is None.
        at_least, above, at_most, below: the range of a number. An integer has at most 18 digits.
        choices: the only values; of a tuple, the only items.
        form: what a text has to look like.
        max_bytes: of a text in UTF-8.
        only_with: (setting, its values): without one of them this setting has no meaning.
        environment: the variable that holds the value where no flag is given.
        own_on_each_worker: whether workers that train together may have different values.
        in_every_recipe: whether every version has stored it: a flags.txt without it is damaged.
        is_flag: whether the command line has a flag for it.
    """

    name: str = ""
    types: tuple[type, ...] = ()
    default: Any
    help: str
    group: Group
    decides: Decides
    unit: str | None = None
    default_help: str | None = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    form: Form | None = None
    max_bytes: int | None = None
    only_with: tuple[str, tuple[str, ...]] | None = None
    environment: str | None = None
    own_on_each_worker: bool = False
    in_every_recipe: bool = False
    is_flag: bool = True

    @property
    def is_number(self) -> bool:
        """Whether it has numbers among its values."""
        return int in self.types or float in self.types

    @property
    def is_integer(self) -> bool:
        """Whether each of its values is an integer, None, or "auto" if it accepts that."""
        return int in self.types and float not in self.types

    @property
    def largest(self) -> float | None:
        """The largest number that it accepts; None: any number, or see ``below``."""
        return _LARGEST_INTEGER if self.is_integer and self.at_most is None else self.at_most

    @property
    def is_path(self) -> bool:
        """Whether its value is the path of a file or directory."""
        return self.form is not None and self.form.is_path

    @property
    def accepts_auto(self) -> bool:
        """Whether "auto" leaves the choice of the value to the program."""
        return AUTO in self.choices or {int, str} <= set(self.types)

    @property
    def is_stored(self) -> bool:
        """Whether flags.txt holds it."""
        return self.decides is not Decides.COMMAND

    @property
    def is_same_on_all_workers(self) -> bool:
        """Whether workers that train together must agree on it."""
        is_own = self.own_on_each_worker or self.is_path or self.decides is Decides.PLACES
        return self.is_flag and not is_own

    def text(self, value: Any) -> str:
        """A value as it is written on the command line."""
        if isinstance(value, bool):
            return str(value).lower()
        return ",".join(value) if isinstance(value, tuple) else str(value)


def integer(text: str) -> int | None:
    """The number that a text is, in at most 18 digits without a sign; None for other texts.

    >>> integer("60"), integer("auto"), integer("9" * 5000)
    (60, None, None)
    """
    return int(text) if re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", text) else None


def setting(default: Any, **declared: Any) -> Any:
    """A dataclass field that declares a setting.

    Args:
        default: its value where none is given.
        **declared: the other attributes of `Setting`; ``help``, ``group`` and ``decides`` at least.

    Example:

    >>> @dataclasses.dataclass
    ... class Config:
    ...     epochs: int = setting(
    ...         30, help="Passes.", unit="epochs", group=Group.USUAL, decides=Decides.LENGTH
    ...     )
    >>> settings(Config)["epochs"].unit
    'epochs'
    """
    return dataclasses.field(default=default, metadata={_KEY: Setting(default=default, **declared)})


@functools.cache
def settings(config_class: type) -> dict[str, Setting]:
    """{name: Setting} of a dataclass's fields, in their order.

    Raises:
        TypeError: a field is not declared with `setting`, has no help, is a number without a unit,
            or does not say what the default None means.
    """
    annotations = typing.get_type_hints(config_class)
    found = {}
    for field in dataclasses.fields(config_class):
        declared = field.metadata.get(_KEY)
        if declared is None:
            raise TypeError(f"{field.name} does not say what it decides: declare it with setting()")
        found[field.name] = dataclasses.replace(
            declared, name=field.name, types=_types(annotations[field.name])
        )
        _require_complete(found[field.name])
    return found


def _types(annotation: Any) -> tuple[type, ...]:
    is_union = isinstance(annotation, types.UnionType)
    parts = typing.get_args(annotation) if is_union else (annotation,)
    return tuple(typing.get_origin(part) or part for part in parts)


def _require_complete(declared: Setting) -> None:
    if not declared.help:
        raise TypeError(f"{declared.name} has no help")
    if declared.is_number and not declared.unit:
        raise TypeError(f"{declared.name} is a number without a unit")
    if declared.default is None and not declared.default_help:
        raise TypeError(f"{declared.name} does not say what happens without it: default_help")
