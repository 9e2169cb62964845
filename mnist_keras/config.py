"""The recipe of a run: everything the command line can say, checked."""

import dataclasses
import math
import unicodedata

from mnist_keras.errors import UsageError

MODES = ("train", "evaluate", "predict", "export")
DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "synthetic")
NETWORKS = ("mlp", "cnn")
LOSSES = ("sum_squared_error", "categorical_crossentropy")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "one_device", "mirrored", "multi_worker")

_CHOICES = {
    "mode": MODES,
    "dataset": DATASETS,
    "network": NETWORKS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "dtype_policy": DTYPE_POLICIES,
    "distribution": DISTRIBUTIONS,
}
_LEAST = {
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "epochs": 1,
    "seed": 0,
    "validation_examples": 0,
    "log_every_steps": 1,
    "checkpoint_every_steps": 1,
    "keep_checkpoints": 1,
    "keep_best_checkpoints": 1,
    "keep_every_steps": 1,
}
_MOST = {"seed": 2**32 - 1}  # NumPy's seeds have 32 bits.
_NOT_YET = {
    "mode": ("predict", "export"),
    "distribution": ("mirrored", "multi_worker"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is to do; `mnist_keras.flags` says what each field means.

    ``learning_rate`` must be above 0 and finite; ``steps_per_execution`` is "auto" or a whole
    number; ``checkpoint_every_steps`` None means one epoch, ``data_dir`` None the cache or a
    download, ``run_name`` None a new one made of date and time; ``checkpoint_every_minutes``,
    ``keep_every_steps`` and ``start_from`` None mean never, none and a new network.

    Raises:
        UsageError: a value that no run can have, named with the flag it came from.

    Example:

    >>> RunConfig(epochs=3).batch_size
    200
    >>> RunConfig(epochs=0)
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: --epochs is too small. Received: 0. Expected: at least 1.
    """

    mode: str = "train"
    dataset: str = "auto"
    data_dir: str | None = None
    logdir: str = "logs"
    run_name: str | None = None
    overwrite: bool = False
    network: str = "mlp"
    loss: str = "sum_squared_error"
    optimizer: str = "sgd"
    learning_rate: float = 0.001
    schedule: str = "constant"
    batch_size: int = 200
    gradient_accumulation_steps: int = 1
    epochs: int = 30
    shuffle: bool = False
    seed: int = 0
    validation_examples: int = 0
    log_every_steps: int = 100
    checkpoint_every_steps: int | None = None
    checkpoint_every_minutes: float | None = None
    keep_checkpoints: int = 3
    keep_best_checkpoints: int = 1
    keep_every_steps: int | None = None
    start_from: str | None = None
    steps_per_execution: int | str = "auto"
    dtype_policy: str = "float32"
    distribution: str = "auto"
    debug: bool = False

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            _require(getattr(self, name) in choices, self, name, f"one of {', '.join(choices)}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(
                    f"--{name} is too small. Received: {value}. Expected: at least {least}."
                )
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value > most:
                raise UsageError(
                    f"--{name} is too large. Received: {value}. Expected: at most {most}."
                )
        rate = self.learning_rate
        _require(rate > 0 and math.isfinite(rate), self, "learning_rate", "a finite number above 0")
        minutes = self.checkpoint_every_minutes
        _require(
            minutes is None or minutes > 0, self, "checkpoint_every_minutes", "a number above 0"
        )
        steps = self.steps_per_execution
        _require(
            steps == "auto" or (isinstance(steps, int) and steps >= 1),
            self,
            "steps_per_execution",
            "auto or a whole number of at least 1",
        )
        for name in ("logdir", "data_dir", "start_from"):
            text = getattr(self, name)
            _require(text is None or _is_line(text), self, name, "the path of a directory")
        if self.run_name is not None:
            _check_run_name(self)
        for name, values in _NOT_YET.items():
            if getattr(self, name) in values:
                available = [v for v in _CHOICES[name] if v not in values]
                raise UsageError(
                    f"--{name}={getattr(self, name)} is not available in this version. "
                    f"Expected: one of {', '.join(available)}."
                )


def _require(holds, config, name, expected):
    if not holds:
        raise UsageError(
            f"--{name} is wrong. Received: {getattr(config, name)!r}. Expected: {expected}."
        )


def _is_line(text):
    """Whether a flag file can carry the text: it is UTF-8 and strips each line."""
    unfit = {"Cc", "Cs", "Zl", "Zp"}  # Control characters, bytes that are no UTF-8, ends of lines.
    return text.strip() == text != "" and unfit.isdisjoint(map(unicodedata.category, text))


def _check_run_name(config):
    name = config.run_name
    is_one_name = _is_line(name) and name not in (".", "..") and "/" not in name
    _require(is_one_name, config, "run_name", "the name of one directory, without a slash")
    length = len(name.encode())
    if length > 255:
        raise UsageError(
            f"--run_name is too long. Received: {length} bytes. Expected: at most 255."
        )
