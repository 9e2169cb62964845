"""Compare how exactly trainings resume: ``python -m benchmarks.resuming``.

Each peer (`benchmarks.peers_resuming`) trains the same small network: 3 epochs, with a checkpoint
every 5 steps, or every epoch where its name says so. It trains once without interruption. Then it
is ended by SIGKILL in the second epoch and started again until it finishes, once for each of
--kills steps. The final weights and the optimizer's state are compared to the bit, and the examples
of each epoch are counted. Results of other peers in the file are kept, so --only runs a part.
"""

import collections
import contextlib
import importlib.metadata
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import measuring
from benchmarks.peers_resuming import BATCH_SIZE, EPOCHS, plan

MODULES = {
    "this_package": "this package",
    "keras_callbacks": "Keras",
    "lightning_trainer": "Lightning",
    "transformers_trainer": "transformers Trainer",
    "torch_loop": "torch loop",
    "grain_loop": "JAX loop, Grain and Orbax",
}
PACKAGES = (
    "lightning",
    "transformers",
    "accelerate",
    "torchdata",
    "grain",
    "orbax-checkpoint",
    "optax",
)
SECONDS = 300
# What a framework may say where a resumed training differs.
_NOTICE = re.compile(r"not exact|unreliable|not resumable|not reproducible", re.IGNORECASE)


class Process:
    """One process of a training.

    Attributes:
        status: the exit status.
        lines: what it printed, on stdout and stderr.
    """

    def __init__(self, *arguments):
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers_resuming.worker", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
                start_new_session=True,
            )
            try:
                self.status = process.wait(SECONDS)
            finally:
                # A killed process leaves the workers of its data.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            self.lines = output.read().strip().splitlines()


def contenders_of(module):
    """[[who, data]] of a module, and None; or an empty list and why it cannot run here."""
    process = Process(module)
    if process.status:
        return [], process.lines[-1]
    return json.loads(process.lines[-1]), None


def train(module, contender, directory, *, seed, kill_after=None):
    """Run one process of a training; a `Process`."""
    directory.mkdir(parents=True, exist_ok=True)
    return Process(module, json.dumps([contender, str(directory), seed, kill_after]))


def examine(module, contender, directory, *, seed, kills):
    """Train without interruption, and once for each kill.

    Returns:
        {"needed": steps, "kills": [`compare`'s result]}; or {"error": why it cannot run}.
    """
    per_epoch, stops = plan(seed, kills=kills)
    whole = train(module, contender, directory / "whole", seed=seed)
    if whole.status:
        return {"error": whole.lines[-1]}
    found = []
    for stop in stops:
        place = directory / str(stop)
        killed = train(module, contender, place, seed=seed, kill_after=stop)
        if killed.status != -signal.SIGKILL:
            raise RuntimeError(f"{contender} was not killed. Received: {killed.lines[-1:]}.")
        again = train(module, contender, place, seed=seed)
        if again.status:
            found.append({"killed_after": stop, "error": again.lines[-1]})
            continue
        said = [
            line.replace(f"{place}/", "").replace(f"{sys.prefix}/", "")
            for line in new_lines(again.lines, whole.lines)
        ]
        found.append(
            {"killed_after": stop, **compare(place, directory / "whole", per_epoch), "said": said}
        )
    result = {"needed": EPOCHS * per_epoch, "kills": found}
    if any(it.get("same_batches") and not it["same_bits"] for it in found):
        # Otherwise the difference might not come from the interruption.
        train(module, contender, directory / "twice", seed=seed)
        result["reproducible"] = leavings(directory / "twice") == leavings(directory / "whole")
    return result


def new_lines(found, known):
    """The lines of a resumed process that the uninterrupted one does not have; numbers aside.

    >>> new_lines(["step 7", "restored"], ["step 3"])
    ['restored']
    """

    def without_numbers(line):
        return re.sub(r"[\d.\s]+", "", line)

    known = set(map(without_numbers, known))
    return [line for line in dict.fromkeys(found) if without_numbers(line) not in known]


def compare(found, expected, per_epoch):
    """What a killed and resumed training has left, compared with an uninterrupted one."""
    ours, due = leavings(found), leavings(expected)
    lines = read_steps(found)
    steps, steps_due = history(lines), history(read_steps(expected))
    return {
        "same_bits": ours == due,
        "same_weights": _part(ours, "weights") == _part(due, "weights"),
        "same_batches": steps == steps_due,
        "steps_run": sum("epoch" in line for line in lines),
        "updates": len(steps),
        **seen(steps, examples=per_epoch * BATCH_SIZE),
    }


def leavings(directory):
    """{name: (type, shape, bytes)} of the weights and the optimizer's state."""
    with np.load(directory / "left.npz") as arrays:
        return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}


def _part(left, part):
    return {name: value for name, value in left.items() if name.startswith(f"{part}/")}


def read_steps(directory):
    """The lines that `benchmarks.peers_resuming.Job` has written."""
    return [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]


def history(lines):
    """The steps that are in the final weights: those after a restored state replace the lost ones.

    >>> history([{"from": 0}, {"epoch": 0}, {"epoch": 1}, {"from": 1}, {"epoch": 2}])
    [{'epoch': 0}, {'epoch': 2}]
    """
    steps = []
    for line in lines:
        if "from" in line:
            del steps[line["from"] :]
        else:
            steps.append(line)
    return steps


def seen(steps, *, examples):
    """How often the epochs saw their examples.

    Returns:
        {"twice": examples seen too often in an epoch, "never": examples that an epoch missed,
        "order_again": whether an epoch had the order of an earlier one}.

    >>> steps = [{"epoch": 0, "examples": [0, 1]}, {"epoch": 1, "examples": [1, 1]}]
    >>> seen(steps, examples=2)
    {'twice': 1, 'never': 1, 'order_again': False}
    """
    orders = collections.defaultdict(list)
    for step in steps:
        orders[step["epoch"]] += step["examples"]
    distinct = [len(set(order)) for order in orders.values()]
    return {
        "twice": sum(map(len, orders.values())) - sum(distinct),
        "never": len(orders) * examples - sum(distinct),
        "order_again": len(set(map(tuple, orders.values()))) < len(orders),
    }


def table(results):
    """The Markdown table of [{"who", "data", and the result of `examine`}].

    Data with the same outcome share a row.
    """
    rows = collections.defaultdict(list)
    for result in results:
        rows[(result["who"], *_outcome(result))].append(result)
    cells = [
        [
            who,
            same,
            _examples(order, group),
            says,
            _extra(group),
            "; ".join(it["data"] for it in group),
        ]
        for (who, same, order, says), group in rows.items()
    ]
    titles = [
        "resumed by",
        "same bits",
        "each example once per epoch",
        "says that it differs",
        "extra steps",
        "data",
    ]
    return measuring.table(titles, cells)


def _outcome(result):
    """(same bits, which examples it saw, whether it says so)."""
    if "error" in result:
        return "not run here", result["error"], "–"
    kills = result["kills"]
    errors = [it["error"] for it in kills if "error" in it]
    if errors:
        return "does not resume", errors[0], "yes, an error"
    same = sum(it["same_bits"] for it in kills)
    said = any(_NOTICE.search(line) for it in kills for line in it["said"])
    bits = {0: "no", len(kills): "**yes**"}.get(same, f"in {same} of {len(kills)}")
    if same < len(kills) and result.get("reproducible") is False:
        bits = "no, nor without interruption"
    if any(it["twice"] or it["never"] for it in kills):
        order = "no"
    elif all(it["same_batches"] for it in kills):
        order = "yes"
    else:
        again = any(it["order_again"] for it in kills)
        order = "yes, in an earlier epoch's order" if again else "yes, in another order"
    return bits, order, "–" if same == len(kills) else "yes" if said else "**no**"


def _examples(order, group):
    if order != "no":
        return order
    kills = [it for result in group for it in result["kills"]]
    most = {key: max(it[key] for it in kills) for key in ("twice", "never")}
    return f"no: {', '.join(f'up to {count} {key}' for key, count in most.items() if count)}"


def _extra(group):
    counts = [
        it["steps_run"] - result["needed"]
        for result in group
        for it in result.get("kills", [])
        if "error" not in it
    ]
    if not counts:
        return "–"
    return f"{min(counts)} – {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"


def versions():
    """{package: version} of the peers that are installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _merged(old, new):
    """The new results, and the old ones of other contenders, in the order of `MODULES`."""
    names = {(it["who"], it["data"]) for it in new}
    kept = [it for it in old if (it["who"], it["data"]) not in names]
    return sorted(kept + new, key=lambda it: list(MODULES).index(it["module"]))


def main():
    """Measure, print the table, and write it as JSON."""
    parser = measuring.parser(__doc__, kills=2, seed=0)
    parser.add_argument("--only", default="", help="run only names that contain this")
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=list(MODULES))
    arguments = parser.parse_args()
    path = arguments.results / "resuming.json"
    results = json.loads(path.read_text())["results"] if path.exists() else []
    for module in arguments.modules:
        title = MODULES[module]
        contenders, error = contenders_of(module)
        if error:
            measuring.leave_out(title, error)
            new = {"module": module, "who": title, "data": "all", "error": error}
            results = results if any(it["module"] == module for it in results) else [*results, new]
        for who, data in contenders:
            if arguments.only not in f"{who}, {data}":
                continue
            with tempfile.TemporaryDirectory() as directory:
                found = examine(
                    module,
                    [who, data],
                    pathlib.Path(directory),
                    seed=arguments.seed,
                    kills=arguments.kills,
                )
            if "error" in found:
                measuring.leave_out(f"{who}, {data}", found["error"])
            results = _merged(results, [{"module": module, "who": who, "data": data, **found}])
            print(f"{who}, {data}: {_outcome(found)}", file=sys.stderr)
            _write(path, results, seed=arguments.seed)
    _write(path, results, seed=arguments.seed)
    print(table(results))


def _write(path, results, *, seed):
    machine = {**measuring.machine(), **versions()}
    measuring.write_json(path, {"seed": seed, "results": results, "machine": machine})


if __name__ == "__main__":
    main()
