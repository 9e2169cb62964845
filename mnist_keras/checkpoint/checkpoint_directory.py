"""The checkpoints of a run: lists them, reads the newest undamaged one, removes old ones."""

import contextlib
import itertools
import math
import os
import pathlib
import re

from mnist_keras import triggers
from mnist_keras.checkpoint import donor, earlier, storage
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path

_NAME = re.compile(r"step-(\d{8,})")


class CheckpointDirectory:
    """A directory with one subdirectory ``step-NNNNNNNN`` per checkpoint; N: updates done.

    Args:
        path: the directory; created when the first checkpoint is saved.
        keep: how many of the newest checkpoints are kept.
        keep_best: how many of the best checkpoints by ``monitor`` are kept in addition.
        keep_every_steps: checkpoints at multiples of this step number are never removed; None: no
            such checkpoints.
        monitor: the metric that ranks the checkpoints, or None.
        mode: "min" or "max": whether lower or higher values of the metric are better; None: not
            known yet.
        disk: a `mnist_keras.checkpoint.storage.Disk`.
        notice: called with one line for each path that cannot be removed, once; None: not at all.

    Attributes:
        monitor, mode: the arguments; ``mode`` has to be set before checkpoints are ranked.
    """

    def __init__(
        self,
        path,
        *,
        keep,
        keep_best=1,
        keep_every_steps=None,
        monitor=None,
        mode="min",
        disk=None,
        notice=None,
    ):
        self.path = pathlib.Path(local_path(path))
        self._keep = keep
        self._keep_best = keep_best
        self._keeps_for_ever = (
            triggers.never if keep_every_steps is None else (triggers.every(keep_every_steps))
        )
        self.monitor = monitor
        self.mode = mode
        self._disk = disk or storage.Disk()
        self._notice = notice or (lambda line: None)
        self._not_removed: set[pathlib.Path] = set()

    def steps(self):
        """The step numbers of all checkpoints, damaged ones included, in ascending order.

        Raises:
            DamagedError: the directory is a link to one that is gone, as on a disk that is not
                mounted.
        """
        if not self.path.is_dir():
            link = storage.dangling_link(self.path)
            if link is not None:
                raise storage.DamagedError(
                    f"the directory of the checkpoints cannot be read. Received: {link}, a link to "
                    f"{os.readlink(link)}. Expected: a link to a directory."
                )
            return []
        names = storage.directory_names(self.path)
        steps = {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}
        return sorted(step for step in steps if self.directory(step).name in names)

    def directory(self, step):
        """The path of the checkpoint of a step."""
        return self.path / f"step-{step:08d}"

    def newest(self, notice, *, check=None):
        """Read the newest undamaged checkpoint.

        Args:
            notice: called with a message for each damaged checkpoint that is skipped.
            check: called with the {name: bytes} of a checkpoint; a DamagedError that it raises
                counts as damage.

        Returns:
            A `mnist_keras.checkpoint.storage.Stored`, or None.

        Raises:
            LaterFormatError: a later version of this package wrote it. To resume from an earlier
                checkpoint would lose the training of that version.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self._read(step, check)
            except storage.DamagedError as error:
                is_first = step == steps[0]
                remedy = "No checkpoint is left" if is_first else "The previous checkpoint is used"
                notice(f"{error} {remedy}.")
        return None

    def _read(self, step, check):
        stored = storage.read_directory(self.directory(step))
        if check is not None:
            try:
                check(stored.files)
            except storage.DamagedError as error:
                raise storage.DamagedError(f"{stored.path}: {error}") from error
        return stored

    def require_newest(self, notice, *, check=None):
        """Read the newest undamaged checkpoint, as `newest` does.

        Raises:
            UsageError: there is no checkpoint.
            DamagedError: all of them are damaged.
            LaterFormatError: as for `newest`.
        """
        stored = self.newest(notice, check=check)
        if stored is None and not self.steps():
            raise UsageError(
                f"there is no checkpoint. Received: {self.path}. "
                "Expected: a directory in which a Checkpoint has saved one."
            )
        if stored is None:
            raise storage.DamagedError(
                f"all checkpoints are damaged. Received: {self.path} with "
                f"{', '.join(self.directory(step).name for step in self.steps())}. "
                "Expected: at least one undamaged checkpoint."
            )
        return stored

    def newest_step(self):
        """The step of the newest undamaged checkpoint, or None.

        Raises:
            LaterFormatError: as for `newest`.
        """
        stored = self.newest(lambda line: None)
        return None if stored is None else stored.description["step"]

    def improves(self, metrics):
        """Whether a checkpoint with these metrics would be one of the best, which are kept."""
        best = self._best()
        worst = best[-1][0] if len(best) == self._keep_best else math.inf
        return self._score(metrics) < worst

    def save(self, step, files, metrics):
        """Write a checkpoint, then remove the checkpoints that are not to be kept.

        What cannot be removed, such as another user's files, is reported once and then left alone.

        Args:
            step: updates done.
            files: {name: bytes}.
            metrics: {name: float} at this step; the monitored metric is read from it.

        Raises:
            OSError: the write failed; the other checkpoints are unchanged.
        """
        storage.make_directories(self.path, disk=self._disk)
        self._remove_leftovers()
        description = {"step": step, "metrics": metrics}
        if self.monitor is not None:
            description |= {"monitor": self.monitor, "mode": self.mode}
        storage.write_directory(self.directory(step), files, description, disk=self._disk)
        self._remove_surplus(step)

    def tidy(self, newest_step):
        """Remove what a kill during `save` has left: old checkpoints and unfinished files.

        Args:
            newest_step: the step of the newest checkpoint; later ones stay.
        """
        self._remove_leftovers()
        self._remove_surplus(newest_step)

    def _remove_leftovers(self):
        for path, error in storage.remove_leftovers(self.path, is_own=_is_own).items():
            self._report(path, error)

    def _remove_surplus(self, newest_step):
        for path in map(self.directory, self._dispensable(newest_step)):
            if path in self._not_removed:
                continue
            try:
                storage.remove_directory(path, disk=self._disk)
            except OSError as error:
                if os.path.lexists(path):  # Otherwise it is a leftover of the next save.
                    self._report(path, error)

    def _report(self, path, error):
        if path in self._not_removed:
            return
        self._not_removed.add(path)
        self._notice(
            f"{path} cannot be removed and stays. Received: {error.strerror or error}. "
            "Expected: a directory in which this user may remove files."
        )

    def set_aside(self):
        """Move all checkpoints into a new subdirectory, ``earlier-N``, where they can be loaded.

        A crash leaves each of them complete in one of the two directories. The newest is moved
        last, so the newest in this directory stays the same until there is none.

        Returns:
            The path of the subdirectory; None if there is no checkpoint.

        Raises:
            OSError: a checkpoint cannot be moved.
        """
        storage.remove_leftovers(self.path, is_own=_is_own)
        steps = self.steps()
        if not steps:
            return None
        kept = earlier.new_directory(self.path)
        self._disk.make_directory(kept)
        for step in steps:
            self._disk.rename(self.directory(step), kept / self.directory(step).name)
        self._disk.sync_directory(kept)
        self._disk.sync_directory(self.path)
        return kept

    def _dispensable(self, saved_step):
        if self.monitor is not None and self.mode is None:
            return []  # The best are not known.
        # Later steps are damaged or from another run, and do not count as newest.
        steps = [step for step in self.steps() if step <= saved_step]
        newest = list(itertools.islice(filter(self._has_manifest, reversed(steps)), self._keep))
        if len(newest) < self._keep:
            return []
        best = {step for _, step in self._best()}
        older = [step for step in steps if step < newest[-1]]
        return [step for step in older if step not in best and not self._keeps_for_ever(step)]

    def _has_manifest(self, step):
        try:
            storage.read_manifest(self.directory(step))
        except storage.DamagedError:
            return False
        except storage.LaterFormatError:
            return True
        return True

    def ranked(self):
        """[(score, step), ...] of the checkpoints that have the metric, best first.

        A lower score is better; of equal ones the earlier checkpoint is first.
        """
        if self.monitor is None:
            return []
        scores = [(self._score(it["metrics"]), step) for step, it in self.descriptions().items()]
        return sorted(pair for pair in scores if pair[0] < math.inf)

    def descriptions(self):
        """{step: what `save` wrote about it}, of all checkpoints with a readable manifest."""
        found = {}
        for step in self.steps():
            with contextlib.suppress(storage.DamagedError, storage.LaterFormatError, KeyError):
                found[step] = storage.read_manifest(self.directory(step))["description"]
        return {step: it for step, it in found.items() if "metrics" in it}

    def _best(self):
        return self.ranked()[: self._keep_best]

    def _score(self, metrics):
        """Lower is better. nan without the metric, as nan is not lower than any number."""
        sign = 1 if self.mode == "min" else -1
        return sign * metrics.get(self.monitor, math.nan)


def _is_own(name):
    return name == donor.RECORD or _NAME.fullmatch(name) is not None
