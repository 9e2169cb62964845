"""Reads what a run has in each kind of store, with the store's own reader."""

import json
import math
import pathlib
import subprocess
import sys


def add(points, name, step, value):
    """Note a point; no store may have a step of a curve twice."""
    assert step not in points.setdefault(name, {}), (name, step)
    points[name][step] = "nan" if math.isnan(value) else value


def csv_points(path):
    """{name: {step: value}}, with "nan" for NaN."""
    import pandas

    points = {}
    for step, name, value in pandas.read_csv(path).itertuples(index=False, name=None):
        add(points, name, step, value)
    return points


def json_points(path):
    points = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for name in row.keys() - {"step"}:
            add(points, name, row["step"], float(row[name]))
    return points


def mlflow_runs(uri, *, experiment="Default"):
    """{run id: (run, {name: {step: value}})} of an experiment."""
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(tracking_uri=uri), {}
    number = client.get_experiment_by_name(experiment).experiment_id
    for run in client.search_runs([number]):
        points = {}
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                add(points, name, metric.step, metric.value)
        found[run.info.run_id] = run, points
    return found


def aim_runs(repo):
    """{run hash: (run, {name: {step: value}})}."""
    import aim
    from aim.sdk.types import QueryReportMode

    command = pathlib.Path(sys.executable).with_name("aim")
    index = [command, "storage", "--repo", repo, "reindex", "--yes"]  # As ``aim up`` does.
    subprocess.run(index, check=True, capture_output=True)
    opened, found = aim.Repo(str(repo)), {}
    query = opened.query_metrics("", report_mode=QueryReportMode.DISABLED)
    for metrics in query.iter_runs():
        points = {}
        for metric in metrics:
            _, (values, _, _) = metric.data.items_list()
            for step, value in zip(metric.data.indices_list(), values, strict=True):
                add(points, metric.name, step, value)
        found[metrics.run.hash] = metrics.run, points
    return found


def wandb_records(directory):
    """{run id: [record of each session, in their order]} of W&B's offline files."""
    from wandb.proto.wandb_internal_pb2 import Record

    from mnist_keras.callbacks.sinks.wandb_log import records

    found = {}
    for path in sorted(directory.glob("wandb/offline-run-*/run-*.wandb")):
        run = path.stem.removeprefix("run-")
        found.setdefault(run, []).extend(map(Record.FromString, records(path.read_bytes())))
    return found


def wandb_runs(directory):
    """{run id: {name: {step: value}}}."""
    found = {}
    for run, all_records in wandb_records(directory).items():
        points, rows = {}, []
        for record in all_records:
            row = {
                item.key or "/".join(item.nested_key): float(json.loads(item.value_json))
                for item in record.history.item
            }
            if row:
                rows.append(row.pop("_step"))
                step = int(row.pop("step"))
                for name in row.keys() - {"_timestamp", "_runtime"}:
                    add(points, name, step, row[name])
        assert rows == sorted(set(rows))  # W&B drops all others.
        found[run] = points
    return found


# {tracker: a function that reads a directory, [{name: {step: value}} of each run]}.
RUNS = {
    "mlflow": lambda path: [p for _, p in mlflow_runs(f"sqlite:///{path}/mlflow.db").values()],
    "wandb": lambda path: [*wandb_runs(path / "wandb").values()],
    "aim": lambda path: [points for _, points in aim_runs(path / "repo").values()],
}
