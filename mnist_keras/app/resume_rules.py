"""Which settings a resume may change, and which epochs it may end with."""

from collections.abc import Mapping
from typing import Any

from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.app.setting import AUTO, Decides, Setting, settings
from mnist_keras.errors import UsageError


def training_recipe(config: RunConfig) -> dict[str, Any]:
    """{flag: value} of all settings that decide what a run computes.

    >>> list(training_recipe(RunConfig()))[:4]
    ['dataset', 'network', 'loss', 'optimizer']
    """
    kinds = (Decides.COMPUTATION, Decides.LENGTH)
    return {
        it.name: getattr(config, it.name)
        for it in settings(RunConfig).values()
        if it.decides in kinds
    }


def require_same_recipe(run: RunDirectory, config: RunConfig, stored: Mapping[str, str]) -> None:
    """Refuse to resume a run with settings that would compute something else.

    Args:
        run: the run to resume.
        config: the settings asked for.
        stored: the recipe that the run was started with, {flag: text}.

    Raises:
        UsageError: names the flags that differ.
    """
    asked = run.flags(config)
    differing = [
        it.name
        for it in settings(RunConfig).values()
        if _is_fixed(it, config) and not _agree(it, asked.get(it.name), stored.get(it.name))
    ]
    if differing:
        received = " ".join(_flag(name, asked.get(name)) for name in differing)
        expected = " ".join(_flag(name, stored.get(name)) for name in differing)
        raise UsageError(
            f"run {run.name} was started with other flags. Received: {received}. "
            f"Expected: {expected}, or another --run_name, or --overwrite to start it anew."
        )


def require_steps(run: RunDirectory, config: RunConfig, *, steps_per_epoch: int) -> None:
    """Refuse to end a run at a step that it has already passed.

    Raises:
        UsageError: names the smallest possible number of epochs.
    """
    last = config.epochs * steps_per_epoch
    # Only a step past the end is worth reading a checkpoint, to see whether it is one.
    done = run.newest_step() or 0 if max(run.steps_saved(), default=0) > last else 0
    if done > last:
        raise UsageError(
            f"run {run.name} is already past its end. Received: --epochs={config.epochs}. "
            f"Expected: at least {-(-done // steps_per_epoch)}, as {done} steps of "
            f"{steps_per_epoch} per epoch are done, or --overwrite to start it anew."
        )


def _is_fixed(setting: Setting, config: RunConfig) -> bool:
    if setting.decides is Decides.LENGTH:
        return config.schedule != "constant"  # The schedule's shape spans all epochs.
    return setting.decides is Decides.COMPUTATION


def _agree(setting: Setting, asked: str | None, stored: str | None) -> bool:
    # What "auto" was resolved to at the start stays for all resumes.
    return asked == stored or (setting.accepts_auto and AUTO in (asked, stored))


def _flag(name: str, value: str | None) -> str:
    return f"no --{name}" if value is None else f"--{name}={value}"
