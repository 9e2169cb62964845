"""The checkpoints of a run: which are there, which is the newest whole one, which may go."""

import math
import re

from mnist_keras import triggers
from mnist_keras.checkpoint import storage

_NAME = re.compile(r"step-(\d{8,})")


class CheckpointDirectory:
    """Directories ``step-NNNNNNNN``, N being the number of updates done.

    Args:
        path: where they lie; made when the first one is saved.
        keep: how many of the newest are kept.
        keep_best: how many of the best by ``monitor`` are kept besides.
        keep_every_steps: those at multiples of it are kept for ever, besides; None: none are.
        monitor: the metric that says which are the best, or None.
        mode: "min" or "max".
        disk: a `mnist_keras.checkpoint.storage.Disk`.
    """

    def __init__(
        self, path, *, keep, keep_best=1, keep_every_steps=None, monitor=None, mode="min", disk=None
    ):
        self.path = path
        self._keep = keep
        self._keep_best = keep_best
        self._keeps_for_ever = (
            triggers.never if keep_every_steps is None else (triggers.every(keep_every_steps))
        )
        self._monitor = monitor
        self._sign = 1 if mode == "min" else -1
        self._disk = disk or storage.Disk()

    def steps(self):
        """The numbers of the checkpoints there, whole or not, ascending."""
        if not self.path.is_dir():
            return []
        matches = map(_NAME.fullmatch, storage.directory_names(self.path))
        return sorted(int(match[1]) for match in matches if match)

    def directory(self, step):
        """Where the checkpoint of a step lies."""
        return self.path / f"step-{step:08d}"

    def newest(self, notice):
        """Read the newest checkpoint that is whole.

        Args:
            notice: is told of each damaged one that is passed over.

        Returns:
            A `mnist_keras.checkpoint.storage.Stored`, or None.

        Raises:
            LaterFormatError: it was written by a later version of this package; to go on from the
                one before it would lose what that version has trained.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return storage.read_directory(self.directory(step))
            except storage.DamagedError as error:
                is_first = step == steps[0]
                remedy = "None is left" if is_first else "The checkpoint before it is used"
                notice(f"{error} {remedy}.")
        return None

    def improves(self, metrics):
        """Whether a checkpoint with these metrics would be among the best that are kept."""
        best = self._best()
        worst = best[-1][0] if len(best) == self._keep_best else math.inf
        return self._score(metrics) < worst

    def save(self, step, files, metrics):
        """Write a checkpoint, then remove those that need not be kept.

        Args:
            step: updates done.
            files: {name: bytes}.
            metrics: {name: float} at its step, in which the monitored one is looked for.

        Raises:
            OSError: the disk did not take it; the others are as they were.
        """
        storage.make_directories(self.path, disk=self._disk)
        storage.remove_leftovers(self.path)
        description = {"step": step, "metrics": metrics}
        storage.write_directory(self.directory(step), files, description, disk=self._disk)
        for old in self._dispensable(step):
            storage.remove_directory(self.directory(old), disk=self._disk)

    def _dispensable(self, saved_step):
        # Those of a later step are damaged, or another run's: none of this one's newest.
        steps = [step for step in self.steps() if step <= saved_step]
        kept = {*steps[-self._keep :], *(step for _, step in self._best())}
        return [step for step in steps if step not in kept and not self._keeps_for_ever(step)]

    def _best(self):
        """[(score, step), ...] of the best checkpoints, best first, the earlier one of equals."""
        if self._monitor is None:
            return []
        pairs = []
        for step in self.steps():
            try:
                metrics = storage.read_manifest(self.directory(step))["description"]["metrics"]
            except (storage.DamagedError, storage.LaterFormatError, KeyError):
                continue
            score = self._score(metrics)
            if score < math.inf:
                pairs.append((score, step))
        return sorted(pairs)[: self._keep_best]

    def _score(self, metrics):
        """Lower is better; nan, which is lower than nothing, where there is none."""
        return self._sign * metrics.get(self._monitor, math.nan)
