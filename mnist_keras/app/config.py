"""The recipe of a run: everything the command line can say, checked."""

import dataclasses
import math
import re
import unicodedata

from mnist_keras.errors import UsageError

MODES = ("train", "evaluate", "predict", "export", "compare")
MODES_WITH_PATHS = ("predict", "compare")  # These take words that are no flags.
DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "synthetic")
NETWORKS = ("mlp", "cnn", "cnn_fast", "deep_cnn")
LOSSES = ("sum_squared_error", "categorical_crossentropy")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine", "one_cycle")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "one_device", "mirrored", "multi_worker")
FORMATS = ("saved_model", "litert", "litert_int8", "onnx")

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
    "warmup_steps": 0,
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
    "cpu_devices": 1,
    "data_partitions": 1,
    "weight_norms_every_epochs": 0,
    "pictures_every_epochs": 0,
    "histograms_every_epochs": 0,
    "pr_curves_every_epochs": 0,
}
_MOST = {"seed": 2**32 - 1}  # NumPy's seeds have 32 bits.
_BELOW = {
    "adam_beta_1": 1,
    "adam_beta_2": 1,
    "weight_decay": math.inf,
    "average_decay": 1,
    "label_smoothing": 1,
    "augment_shift": math.inf,
    "augment_rotation": math.inf,
    "augment_scale": 1,
    "augment_shear": 90,
    "augment_elastic": math.inf,
}
_GOES_WITH = {
    "adam_beta_1": ("optimizer", ("adam", "adamw")),
    "adam_beta_2": ("optimizer", ("adam", "adamw")),
    "weight_decay": ("optimizer", ("adamw",)),
    "label_smoothing": ("loss", ("categorical_crossentropy",)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is to do; `mnist_keras.app.flags` says what each field means.

    ``learning_rate`` must be above 0 and finite; ``steps_per_execution`` and ``batch_parts`` are
    "auto" or a whole number; ``checkpoint_every_steps`` None means one epoch, ``data_dir`` None the
    cache or a download, ``run_name`` None a new one made of date and time;
    ``checkpoint_every_minutes``, ``keep_every_steps`` and ``start_from`` None mean never, none and
    a new network; ``warmup_steps`` None the schedule's own share, ``adam_beta_1``, ``adam_beta_2``
    and ``weight_decay`` None Keras's own, ``average_decay`` None no average; ``export_dir`` None
    the run's own; ``paths`` are the words of the command line that are no flags.

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
    adam_beta_1: float | None = None
    adam_beta_2: float | None = None
    weight_decay: float | None = None
    average_decay: float | None = None
    label_smoothing: float = 0.0
    schedule: str = "constant"
    warmup_steps: int | None = None
    augment_shift: float = 0.0
    augment_rotation: float = 0.0
    augment_scale: float = 0.0
    augment_shear: float = 0.0
    augment_elastic: float = 0.0
    batch_size: int = 200
    batch_parts: int | str = "auto"
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
    report: bool = True
    chart_layout: bool = True
    run_text: bool = True
    hparams: bool = True
    network_graph: bool = True
    memory_usage: bool = True
    weight_norms_every_epochs: int = 5
    pictures_every_epochs: int = 30
    histograms_every_epochs: int = 0
    pr_curves_every_epochs: int = 0
    projector: bool = False
    profile_steps: str | None = None
    dtype_policy: str = "float32"
    distribution: str = "auto"
    cpu_devices: int = 1
    data_partitions: int = 1
    json: bool = False
    contact_sheet: str | None = None
    formats: tuple = FORMATS
    export_dir: str | None = None
    debug: bool = False
    paths: tuple = ()

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
        for name in ("steps_per_execution", "batch_parts"):
            count = getattr(self, name)
            _require(
                count == "auto" or (isinstance(count, int) and count >= 1),
                self,
                name,
                "auto or a whole number of at least 1",
            )
        for name, bound in _BELOW.items():
            value = getattr(self, name)
            finite, end = ("finite ", "") if bound == math.inf else ("", f" to below {bound}")
            expected = f"a {finite}number from 0{end}"
            _require(value is None or 0 <= value < bound, self, name, expected)
        for name, (other, choices) in _GOES_WITH.items():
            is_given = getattr(self, name) != getattr(type(self), name)
            if is_given and getattr(self, other) not in choices:
                raise UsageError(
                    f"--{name} does not go with this {other}. "
                    f"Received: --{other}={getattr(self, other)}. "
                    f"Expected: {' or '.join(f'--{other}={choice}' for choice in choices)}."
                )
        for name in ("logdir", "data_dir", "start_from", "export_dir"):
            text = getattr(self, name)
            _require(text is None or _is_line(text), self, name, "the path of a directory")
        steps = self.profile_steps
        _require(
            steps is None or _is_range(steps),
            self,
            "profile_steps",
            "FIRST-LAST, two whole numbers, the first not above the last",
        )
        if self.run_name is not None:
            _check_run_name(self)
        sheet = self.contact_sheet
        _require(
            sheet is None or sheet.lower().endswith(".png"),
            self,
            "contact_sheet",
            "the path of a .png file",
        )
        formats = self.formats
        if not formats or len(set(formats)) < len(formats) or not set(formats) <= set(FORMATS):
            raise UsageError(
                f"--formats is wrong. Received: {','.join(formats)!r}. "
                f"Expected: some of {','.join(FORMATS)}, each once."
            )
        if self.mode == "predict" and not self.paths:
            raise UsageError(
                "--mode=predict has nothing to read. Received: no file. "
                "Expected: --mode=predict FILES, photos or IDX files."
            )


def _require(holds, config, name, expected):
    if not holds:
        raise UsageError(
            f"--{name} is wrong. Received: {getattr(config, name)!r}. Expected: {expected}."
        )


def _is_range(text):
    match = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", text)
    return match is not None and int(match[1]) <= int(match[2])


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
