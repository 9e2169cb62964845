"""The files of examples/cluster for Slurm and Kubernetes, tested without either."""

import json
import os
import re
import subprocess
import sys

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from mnist_keras.app import flags
from mnist_keras.distributed import cluster
from tests.conftest import ROOT

FILES = ROOT / "examples" / "cluster"
# Starts two tasks with the environment that Slurm's srun sets.
SRUN = r"""#!/bin/sh
while [ "${1#--}" != "$1" ]; do echo "$1" >> options; shift; done
for index in 0 1; do
  SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=$index SLURM_STEP_NODELIST='node[1-2]' \
    SLURM_STEP_TASKS_PER_NODE='1(x2)' "$@" &
  tasks="$tasks $!"
done
status=0
for task in $tasks; do wait "$task" || status=$?; done
exit $status
"""
# Prints the cluster that a task finds; ends like a worker after SIGTERM.
PROGRAM = r"""
import json, os, sys
from mnist_keras.distributed import cluster
found = cluster.require()
line = json.dumps([found.index, found.addresses, sys.argv[1:]]) + "\n"
os.write(1, line.encode())  # At once: the other task writes into the same pipe.
sys.exit(143)
"""


@pytest.fixture
def parse(monkeypatch):
    """The recipe of main.py's arguments, with the clone as working directory."""
    if "batch_size" not in absl_flags.FLAGS:
        flags.define()
    monkeypatch.chdir(ROOT)
    with flagsaver.flagsaver():
        absl_flags.FLAGS.unparse_flags()
        yield lambda *arguments: flags.parse(list(arguments))


@pytest.fixture
def sbatch(tmp_path):
    """Run the sbatch file with a program instead of main.py."""
    tools = {
        "main.py": None,
        "srun": SRUN,
        "scontrol": '#!/bin/sh\necho "$@" > requeued\n',
        ".venv/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }

    def run(program, *arguments):
        for name, text in tools.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text or program)
            path.chmod(0o755)
        variables = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "77"}
        variables["SLURM_CPUS_PER_TASK"] = "8"
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            ["bash", FILES / "slurm.sbatch", *arguments],
            env={**os.environ, **variables, **path},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.slow
def test_slurm_tasks_find_each_other_and_requeue_at_the_limit(sbatch, tmp_path):
    done = sbatch(PROGRAM, "--run_name=a b")
    assert done.returncode == 143, done.stderr
    tasks = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert [index for index, _, _ in tasks] == [0, 1]
    [addresses] = {tuple(addresses) for _, addresses, _ in tasks}
    assert [address.partition(":")[0] for address in addresses] == ["node1", "node2"]
    assert [words for _, _, words in tasks] == [
        ["--distribution=multi_worker", "--run_name=a b"]
    ] * 2
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    # Since Slurm 22.05 a step does not inherit it from the job.
    assert "--cpus-per-task=8" in (tmp_path / "options").read_text().splitlines()


@pytest.mark.parametrize("status", [0, 1])
def test_the_slurm_job_has_the_status_of_its_tasks(sbatch, tmp_path, status):
    assert sbatch(f"raise SystemExit({status})").returncode == status
    assert not (tmp_path / "requeued").exists()


def test_the_pods_are_the_workers_and_their_flags_are_valid(parse):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: no Kubernetes file is read")
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text(encoding="utf-8"))
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] > 1
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    [port] = (entry["containerPort"] for entry in container["ports"])
    for index in range(spec["completions"]):
        found = cluster.require({**variables, "JOB_COMPLETION_INDEX": str(index)})
        assert found.index == index
        assert found.addresses[index] == f"{name}-{index}.{pod['subdomain']}:{port}"
    python, program, *arguments = container["command"]
    assert (python, program) == ("python", "main.py")
    config = parse(program, *arguments)
    assert (config.distribution, config.run_name) == ("multi_worker", "kubernetes")
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(config.logdir), str(config.data_dir)} <= mounted
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_the_page_names_existing_files():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    named = set(re.findall(r"examples/cluster/([\w.]+)", page))
    assert named == {path.name for path in FILES.iterdir() if path.is_file()}
