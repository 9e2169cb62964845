"""Kill a real training at random times: ``python -m tests.faults.kills --kills=50 --seed=0``.

Each recipe is trained once without interruption, then again with interruptions: a process is
ended by SIGKILL, SIGTERM or SIGINT, or by two signals in a row, at a random time from its start
to after its end, and restarted by the same command until the run is finished. The files of a run
are then compared with those of the uninterrupted run, byte for byte and point for point.
"""

import argparse
import contextlib
import hashlib
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

ROOT = pathlib.Path(__file__).parent.parent.parent
CHECKPOINT_EVERY_STEPS = 40
RECIPES = {
    "mlp, 1 step per execution": "--steps_per_execution=1 --validation_examples=40000",
    "mlp, 100 steps per execution": "--steps_per_execution=100",
    "cnn": (
        "--network=cnn --optimizer=adam --loss=categorical_crossentropy --schedule=cosine "
        "--shuffle --dtype_policy=mixed_bfloat16 --gradient_accumulation_steps=3 "
        "--steps_per_execution=100 --validation_examples=54000 --batch_size=50"
    ),
    "cnn, loss scaling": (
        "--network=cnn --optimizer=momentum --shuffle --dtype_policy=mixed_float16 "
        "--steps_per_execution=1 --validation_examples=56000 --batch_size=50"
    ),
}
STOPS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def start(recipe, logdir, data_dir):
    """Start a training process."""
    command = [sys.executable, str(ROOT / "main.py"), "--epochs=3", "--run_name=run"]
    command += [f"--checkpoint_every_steps={CHECKPOINT_EVERY_STEPS}", "--log_every_steps=10"]
    command += [f"--logdir={logdir}", f"--data_dir={data_dir}", *RECIPES[recipe].split()]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def outcome(run):
    """All results of a run except times: {name: digest or value}."""
    summary = json.loads((run / "summary.json").read_bytes())
    del summary["seconds"], summary["images_per_second"]
    result = {"summary": summary, "model": digest(run / "model.keras")}
    for which, directory in last_and_best(run / "checkpoints").items():
        state = json.loads((directory / "state.json").read_bytes())
        callbacks = [entry for entry in state["callbacks"] if entry[0] != "Stopwatch"]
        result[which] = directory.name, digest(directory / "state.npz"), callbacks
    for part in ("train", "validation"):
        if not (run / part).exists():
            continue
        accumulator = EventAccumulator(str(run / part), size_guidance={"tensors": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["tensors"]:
            points = [
                (e.step, make_ndarray(e.tensor_proto).item()) for e in accumulator.Tensors(tag)
            ]
            if tag == "examples_per_second":
                points = [step for step, _ in points]
            result[f"{part} {tag}"] = points
    return result


def last_and_best(checkpoints):
    """The directories of the last checkpoint and the one with the lowest validation loss."""
    losses = {}
    for directory in sorted(checkpoints.iterdir()):
        metrics = json.loads((directory / "manifest.json").read_bytes())["description"]["metrics"]
        losses[directory] = metrics.get("val_loss", float("inf"))
    return {"last checkpoint": max(losses), "best checkpoint": min(losses, key=losses.get)}


def digest(path):
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def newest(run):
    """The number of updates of the newest checkpoint."""
    names = (re.fullmatch(r"step-(\d+)", p.name) for p in run.glob("checkpoints/step-*"))
    return max((int(name[1]) for name in names if name), default=0)


class Fire:
    """Sends random signals and counts their effects."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.kills = {}
        self.statuses = {}
        self.most_repeated = 0

    def interrupt(self, process, run, longest_s):
        """End a process after a random time; returns whether it ended by itself before."""
        signums = self._random.choices(list(STOPS), weights=[3, 1, 1])
        if self._random.random() < 0.25:
            signums.append(self._random.choice(list(STOPS)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._random.uniform(0, longest_s))
        if process.poll() is not None:
            return True
        for signum in signums:
            process.send_signal(signum)
            time.sleep(self._random.uniform(0, 0.05))
        printed, said = process.communicate()
        names = "+".join(signal.Signals(signum).name for signum in signums)
        self.kills[names] = self.kills.get(names, 0) + 1
        self.statuses.setdefault(names, set()).add(process.returncode)
        assert "Traceback" not in said, said
        seen = [tuple(map(int, found)) for found in re.findall(r"^(\d+) (\d+) loss", printed, re.M)]
        self._count_repeated(seen, run)
        return False

    def _count_repeated(self, seen, run):
        if seen:
            steps = json.loads((run / "steps_per_epoch").read_text())
            last = seen[-1][0] * steps + seen[-1][1] + 1
            self.most_repeated = max(self.most_repeated, last - newest(run))


def main():
    """Kill as often as requested, evenly over the recipes; exit status 1 if results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data_dir", default=str(ROOT.parent / "shared" / "mnist"))
    arguments = parser.parse_args()
    differing = finished = 0
    fire = Fire(arguments.seed)
    for number, recipe in enumerate(RECIPES, start=1):
        with tempfile.TemporaryDirectory() as directory:
            whole, victim = pathlib.Path(directory, "whole"), pathlib.Path(directory, "victim")
            began = time.monotonic()
            process = start(recipe, whole, arguments.data_dir)
            said = process.communicate()[1]
            assert process.returncode == 0, said
            longest_s = 0.8 * (time.monotonic() - began)
            expected = outcome(whole / "run")
            steps = expected["summary"]["steps"] // 3
            while sum(fire.kills.values()) < arguments.kills * number / len(RECIPES):
                (victim / "run").mkdir(parents=True)
                (victim / "run" / "steps_per_epoch").write_text(str(steps))
                while not (victim / "run" / "summary.json").exists():
                    process = start(recipe, victim, arguments.data_dir)
                    if fire.interrupt(process, victim / "run", longest_s):
                        assert process.returncode == 0, process.communicate()[1]
                found = outcome(victim / "run")
                different = [k for k in {**expected, **found} if found.get(k) != expected.get(k)]
                finished, differing = finished + 1, differing + bool(different)
                kills = sum(fire.kills.values())
                print(f"{recipe}: {kills} kills, differs in {different or 'nothing'}", flush=True)
                shutil.rmtree(victim)
    print(f"{finished} runs finished under fire, {differing} of them not as without it")
    print(f"kills: {fire.kills}; statuses: {fire.statuses}")
    print(f"most steps repeated after a kill: {fire.most_repeated}, a checkpoint every 40")
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
