"""Measure the disk space of a run's TensorBoard files: ``python -m benchmarks.disk``.

``main.py`` trains the tutorial's recipe twice: with the default callbacks, and with all of them.
"""

import collections
import pathlib
import subprocess
import sys
import tempfile

from benchmarks import measuring

ROOT = pathlib.Path(__file__).parent.parent
RUNS = {
    "by default": (),
    "everything on": (
        "--histograms_every_epochs=10",
        "--pr_curves_every_epochs=10",
        "--projector",
        "--profile_steps=100-119",
    ),
}
_FRAMING_BYTES = 16  # Of each record in an event file: its length, and two checksums.
_ONCE = "graph, start of the file"
_RARE = "images"  # Which come again and again, though 30 epochs have a single set of them.


def sizes(run):
    """What the files of a run take, in bytes.

    Args:
        run: its directory.

    Returns:
        {kind: (bytes, those of them that come again and again)}, a kind being one of TensorBoard's
        plugins.
    """
    of_tag, steps = collections.Counter(), collections.defaultdict(set)
    for path in pathlib.Path(run).rglob("events.out.tfevents.*"):
        for event, count in _events(path):
            tags = [(v.metadata.plugin_data.plugin_name, v.tag) for v in event.summary.value]
            key = (path.parent, *(tags or [(_ONCE, "")])[0])
            of_tag[key] += count
            steps[key].add(event.step if tags else 0)
    whole, again = collections.Counter(), collections.Counter()
    for (directory, kind, tag), count in of_tag.items():
        whole[kind] += count
        again[kind] += count if kind == _RARE or len(steps[directory, kind, tag]) > 1 else 0
    for path in pathlib.Path(run, "plugins").rglob("*"):
        if path.is_file():
            kind = path.relative_to(run).parts[1].removeprefix("org_tensorflow_tensorboard_")
            whole[f"{kind} (files)"] += path.stat().st_size
    return {kind: (count, again[kind]) for kind, count in whole.most_common()}


def _events(path):
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for record in RawEventFileLoader(str(path)).Load():
        yield Event.FromString(record), len(record) + _FRAMING_BYTES


def table(results, *, epochs):
    """{label: `sizes`} as a Markdown table."""
    rows = []
    for label, kinds in results.items():
        sums = [sum(column) for column in zip(*kinds.values(), strict=True)]
        for kind, (whole, again) in {**kinds, "**all**": sums}.items():
            rows.append([label, kind, _kb(whole), _kb(again / epochs)])
    titles = ["run", "what", f"kB after {epochs} epochs", "kB more for each further epoch"]
    return measuring.table(titles, rows)


def _kb(count):
    return f"{count / 1000:,.1f}" if count else "0"


def main():
    """Measure, print the table and write it as JSON."""
    parser = measuring.parser(__doc__, epochs=30)
    arguments = parser.parse_args()
    place = [f"--data_dir={arguments.data_dir}"] if arguments.data_dir else []
    results = {}
    with tempfile.TemporaryDirectory() as logdir:
        for number, (label, flags) in enumerate(RUNS.items()):
            command = [sys.executable, str(ROOT / "main.py"), f"--flagfile={ROOT / 'flags.txt'}"]
            command += [f"--epochs={arguments.epochs}", f"--logdir={logdir}", *place, *flags]
            subprocess.run(
                [*command, f"--run_name={number}"], check=True, stdout=subprocess.DEVNULL
            )
            results[label] = sizes(pathlib.Path(logdir, str(number)))
    print(table(results, epochs=arguments.epochs))
    measuring.write_json(
        arguments.results / "disk.json", {"epochs": arguments.epochs, "bytes": results}
    )


if __name__ == "__main__":
    main()
