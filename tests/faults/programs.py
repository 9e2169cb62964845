"""Interrupt programs on any data: ``python -m tests.faults.programs --pairs=50 --seed=0``.

Each pair of a program (tests/programs) and a pipeline (tests/pipelines) is trained once without
interruption, then again while it is ended at random steps and restarted until it finishes. All
variables, the History and the TensorBoard points are then compared to the bit. Its History is also
compared with that of the same program on a plain ``keras.Model``.

A pair depends only on --seed, its names and its turn, so a pair that fails in a long run
can be repeated: --program=NAME --pipeline=NAME --seed=SEED.
"""

import argparse
import collections
import dataclasses
import fnmatch
import gc
import importlib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

import numpy as np

from tests.faults import interrupted
from tests.faults.interrupted import Stop, Training
from tests.faults.leavings import differences
from tests.pipelines import PIPELINES

SAME = "same bits"
SAID = "said"
REFUSED = "refused"
DIFFERENT = "SILENTLY DIFFERENT"
CRASHED = "CRASHED"
NOT_REPRODUCIBLE = "not reproducible"
NOT_FOR_KERAS = "not for Keras"
KINDS = (SAME, SAID, REFUSED, DIFFERENT, CRASHED, NOT_REPRODUCIBLE, NOT_FOR_KERAS)
FAILURES = (DIFFERENT, CRASHED)
NOTICE = "resume is not exact: "
STEPS_PER_EXECUTION = (1, 4, "auto")
# Relative to the largest value of a History.
TOLERANCE = 1e-6
MOST_LINES = 6


@dataclasses.dataclass
class Result:
    """The result of a pair.

    Attributes:
        kind: one of `KINDS`.
        lines: its messages, or its differences.
        unlike_keras: differences of its History from a plain ``keras.Model``.
    """

    kind: str
    lines: list = dataclasses.field(default_factory=list)
    unlike_keras: list = dataclasses.field(default_factory=list)


class Pair:
    """A program on a pipeline, with all its random choices.

    Args:
        table: the module that contains the program.
        names: of the program and the pipeline.
        turn: the number of earlier pairs of the same two.
        options: of the command line.
    """

    def __init__(self, table, names, turn, options):
        self.program, self.pipeline = names
        self._of_processes = options.processes
        self.chance = random.Random(json.dumps([options.seed, *names, turn]))
        self.steps_per_execution = self.chance.choice(options.steps_per_execution)
        self.training = Training(
            table,
            *names,
            epochs=self.chance.choice((2, 3, 3)),
            steps_per_execution=self.steps_per_execution,
            checkpoint_every_steps=self.chance.choice((1, 2, 3, 4, 5, 7, None)),
        )
        self.stops = []

    def examine(self, directory):
        """Train it until it is finished; a `Result`."""
        pipeline = PIPELINES[self.pipeline]
        keras_model = self._alone(base="Model", steps_per_execution=1)
        if keras_model.kind != "finished":
            return Result(NOT_FOR_KERAS, keras_model.error.splitlines()[-1:])
        whole = self._train(directory / "whole")
        if whole.kind != "finished":
            return _failure(whole, "without interruption")
        unlike_keras = []
        if pipeline.is_seeded and pipeline.exact is True and pipeline.length_is_known:
            unlike_keras = self._unlike(keras_model, whole)
        ending, said = self._train_under_fire(directory / "victim", whole.steps)
        said = list(dict.fromkeys(_notices(whole) + said))
        if ending.kind != "finished":
            result = _failure(ending, "when it was started again")
        else:
            lines = _compare(ending, whole, is_seeded=pipeline.is_seeded)
            kind = (SAID if said else DIFFERENT) if lines else SAME
            if kind == SAME and said:
                kind, lines = SAID, ["all the same the bits are the same"]
            was_resumed = any("resumed after" in line for line in ending.lines)
            is_exact = pipeline.is_seeded and pipeline.exact is True
            if kind == DIFFERENT and (is_exact or not was_resumed):
                again = self._train(directory / "again")
                if _compare(again, whole, is_seeded=True):
                    kind = NOT_REPRODUCIBLE
            result = Result(kind, said + lines)
        result.unlike_keras = unlike_keras
        return result

    def __str__(self):
        every = self.training.checkpoint_every_steps or "epoch"
        stops = ", ".join(f"{stop.how} at {stop.step}" for stop in self.stops)
        return (
            f"{self.program} × {self.pipeline} [steps_per_execution={self.steps_per_execution}, "
            f"{self.training.epochs} epochs, a checkpoint every {every}, ended by: {stops or '-'}]"
        )

    def _alone(self, **changes):
        return interrupted.attempt(dataclasses.replace(self.training, **changes))

    def _train(self, directory, stop=None):
        training = dataclasses.replace(self.training, directory=directory)
        directory.mkdir(parents=True, exist_ok=True)
        if self._of_processes:
            return interrupted.attempt_in_a_process(training, stop)
        return interrupted.attempt(training, stop)

    def _train_under_fire(self, directory, steps):
        """(last `Ending`, notices of all processes)."""
        ways = interrupted.WAYS_OF_PROCESSES if self._of_processes else interrupted.WAYS
        # An end during an epoch needs more to be restored.
        ways = [name for name, (_, _, waits) in ways.items() for _ in range(1 if waits else 3)]
        said, last = [], 0
        for _ in range(self.chance.choice((1, 1, 2))):
            if last == steps:
                break
            # Late ones are harder: more history has to be restored.
            last = max(self.chance.randint(last + 1, steps) for _ in range(2))
            self.stops.append(Stop(last, self.chance.choice(ways)))
            ending = self._train(directory, self.stops[-1])
            said += _notices(ending)
            if ending.kind != "stopped":
                return ending, said
        ending = self._train(directory)
        return ending, said + _notices(ending)

    def _unlike(self, keras_model, whole):
        """Differences of the Histories with 1 and 4 steps per execution from Keras's."""
        lines = [
            f"with the callbacks, {self.steps_per_execution}: {line}"
            for line in unlike(whole.history, keras_model.history)
        ]
        for steps in {1, 4} - {self.steps_per_execution}:
            alone = self._alone(steps_per_execution=steps)
            if alone.kind != "finished":
                lines.append(f"{steps} steps per execution: {alone.error.splitlines()[-1]}")
            for line in unlike(alone.history, keras_model.history):
                lines.append(f"{steps} steps per execution: {line}")
        return lines


def _failure(ending, when):
    kind = REFUSED if ending.kind == "refused" else CRASHED
    return Result(kind, [f"{when}: {ending.error.strip().splitlines()[-1]}", *_trace(ending)])


def _trace(ending):
    return ending.error.strip().splitlines()[-13:-1] if ending.kind == "crashed" else []


def _notices(ending):
    return [line for line in ending.lines if NOTICE in line]


def _compare(found, expected, *, is_seeded):
    """The differences of two finished trainings."""
    if is_seeded:
        parts = ["history", "points", "variables"] + ["metrics"] * (found.metrics is not None)
        return [
            f"{part}: {line}"
            for part in parts
            for line in differences(getattr(found, part), getattr(expected, part))
        ]
    lines = []
    for epoch, (ours, due) in enumerate(zip(found.examples, expected.examples, strict=True)):
        missed, repeated = (sum(rest.values()) for rest in (due - ours, ours - due))
        if missed or repeated:
            lines.append(f"epoch {epoch}: {missed} examples missed, {repeated} seen too often")
    return lines


def unlike(found, expected):
    """Differences of two Histories beyond rounding."""
    if list(found) != list(expected):
        return [f"it has {list(found)} for {list(expected)}"]
    lines = []
    for name, values in expected.items():
        ours, due = np.asarray(found[name], float), np.asarray(values, float)
        if ours.shape != due.shape:
            lines.append(f"{name} has the shape {ours.shape} for {due.shape}")
            continue
        largest = max(np.abs(due[np.isfinite(due)]).max(initial=0), 1e-3)
        if not np.allclose(ours, due, rtol=0, atol=TOLERANCE * largest, equal_nan=True):
            lines.append(f"{name} is {ours.tolist()} for {due.tolist()}")
    return lines


def pairs_of(options, programs):
    """The requested number of pairs: each one once in random order, then again."""
    pipelines = [PIPELINES[name] for name in matching(PIPELINES, options.pipeline, "pipeline")]
    for package in sorted({package for pipeline in pipelines for package in pipeline.needs}):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: its pipelines are left out")
            pipelines = [pipeline for pipeline in pipelines if package not in pipeline.needs]
    found = [
        (name, pipeline.name)
        for name in matching(programs, options.program, "program")
        for pipeline in pipelines
        if pipeline.fits(programs[name].arrays())
    ]
    if not found:
        sys.exit("no pipeline fits the program.")
    random.Random(options.seed).shuffle(found)
    for number in range(options.pairs or len(found)):
        names = found[number % len(found)]
        yield Pair(options.programs, names, number // len(found), options)


def matching(table, pattern, what):
    """The names that match a pattern; raises if there are none."""
    names = [name for name in table if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        expected = "\n  ".join(table)
        sys.exit(f"no {what} matches. Received: {pattern}. Expected: one of\n  {expected}")
    return names


def print_table(results):
    """Print the number of results of each kind, by pipeline and by program."""
    for attribute in ("pipeline", "program"):
        counts = collections.defaultdict(collections.Counter)
        for pair, result in results:
            counts[getattr(pair, attribute)][result.kind] += 1
            counts[getattr(pair, attribute)]["unlike Keras"] += bool(result.unlike_keras)
        kinds = [k for k in (*KINDS, "unlike Keras") if any(c[k] for c in counts.values())]
        width = max(map(len, counts))
        print()
        print("".join([f"{attribute:{width}}", *(f"  {kind}" for kind in kinds)]))
        order = [*PIPELINES] if attribute == "pipeline" else sorted(counts)
        for name in filter(counts.get, order):
            cells = (f"  {counts[name][kind] or '':>{len(kind)}}" for kind in kinds)
            print("".join([f"{name:{width}}", *cells]))
        totals = sum(counts.values(), collections.Counter())
        cells = (f"  {totals[kind]:>{len(kind)}}" for kind in kinds)
        print("".join([f"{'all':{width}}", *cells]))


def print_pairs(heading, pairs):
    """Print pairs with their names and random choices."""
    if pairs:
        print(f"\n{heading}: {len(pairs)}")
    for pair in pairs:
        print(f"- {pair}")


def print_result(pair, result, seconds):
    """Print a pair's result and, unless it is good, the first lines of each part."""
    print(f"{result.kind}: {pair} {seconds:.1f} s")
    print_lines(result.lines)
    print_lines([f"unlike keras.Model: {line}" for line in result.unlike_keras])


def print_lines(lines):
    for line in lines[:MOST_LINES]:
        print(f"    {line}")
    if len(lines) > MOST_LINES:
        print(f"    and {len(lines) - MOST_LINES} more")
    sys.stdout.flush()


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, help="how many; each possible pair once, if not given")
    parser.add_argument("--program", default="*", help="a name or a pattern with *")
    parser.add_argument("--pipeline", default="*", help="a name or a pattern with *")
    parser.add_argument("--programs", default="tests.programs", help="the module with PROGRAMS")
    parser.add_argument("--steps_per_execution", choices=tuple(map(str, STEPS_PER_EXECUTION)))
    parser.add_argument("--processes", action="store_true", help="real ones, ended by SIGKILL")
    options = parser.parse_args(arguments)
    if options.steps_per_execution is None:
        options.steps_per_execution = STEPS_PER_EXECUTION
    else:
        steps = options.steps_per_execution
        options.steps_per_execution = ("auto" if steps == "auto" else int(steps),)
    return options


def main():
    """Examine the pairs; exit status 1 if one crashed or differed without a notice."""
    options = parse()
    programs = importlib.import_module(options.programs).PROGRAMS
    print(f"--seed={options.seed}")
    gc.freeze()  # This makes garbage collection after each training faster.
    results = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["TMPDIR"] = tempfile.tempdir = name
        for pair in pairs_of(options, programs):
            began = time.monotonic()
            directory = pathlib.Path(name, "pair")
            result = pair.examine(directory)
            shutil.rmtree(directory, ignore_errors=True)
            results.append((pair, result))
            print_result(pair, result, time.monotonic() - began)
    print_table(results)
    print_pairs(DIFFERENT, [pair for pair, r in results if r.kind == DIFFERENT])
    print_pairs(CRASHED, [pair for pair, r in results if r.kind == CRASHED])
    print_pairs(
        "said or refused, though it can be exact",
        [
            pair
            for pair, r in results
            if r.kind in (SAID, REFUSED) and PIPELINES[pair.pipeline].exact is True
        ],
    )
    print_pairs("a History unlike that of keras.Model", [p for p, r in results if r.unlike_keras])
    sys.exit(any(r.kind in FAILURES or r.unlike_keras for _, r in results))


if __name__ == "__main__":
    main()
