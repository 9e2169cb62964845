"""examples/notebook.ipynb in its own kernel, run completely and interrupted."""

import os
import pathlib
import re
import signal

import jupyter_client
import nbclient
import nbformat
import pytest

from tests.command_line import environment, write_small_mnist

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
LOSS = re.compile(r"^(\d+) (\d+) loss: ", re.MULTILINE)


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def place(small_mnist, tmp_path, monkeypatch):
    """A working directory with the kernel's environment."""
    for name in set(environment()) ^ set(os.environ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(small_mnist))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for signum, handler in handlers.items():  # nbclient leaves Python's default handlers.
        signal.signal(signum, handler)


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def is_stderr(output):
    return output.get("name") == "stderr"


def said(messages):
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def test_it_runs_from_top_to_bottom(notebook, place, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(place)}}
    )
    client.execute()
    *_, fit, scores, _ = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = "".join(output.get("text", "") for output in fit.outputs)
    assert LOSS.findall(printed) == [("0", "0")]
    first, *_ = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert first.outputs == []
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    on_stderr = "".join(output.text for output in outputs if is_stderr(output))
    assert not re.search("oneDNN|cuda|cpu_feature_guard", on_stderr)
    assert "'accuracy'" in scores.outputs[-1]["data"]["text/plain"]
    assert (place / "logs/notebook/model.keras").is_file()


def test_it_is_saved_without_outputs(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[] for _ in code]


class Kernel:
    """A kernel that runs cells and keeps their messages.

    Args:
        manager: a `jupyter_client.KernelManager`, started.
        client: its blocking client.
    """

    def __init__(self, manager, client):
        self._manager, self._client = manager, client

    def run(self, code, *, interrupt_at=None):
        """The messages of a cell, which is interrupted at the first matching output."""
        identity, messages = self._client.execute(code), []
        while True:
            message = self._client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != identity:
                continue
            messages.append(message)
            if interrupt_at is not None and re.search(interrupt_at, said(messages)):
                self._manager.interrupt_kernel()
                interrupt_at = None
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages


@pytest.fixture
def kernel(place):
    manager = jupyter_client.KernelManager(kernel_name="python3")
    with open(place / "stderr.txt", "wb") as stderr:
        manager.start_kernel(cwd=str(place), stderr=stderr)
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=300)
        yield Kernel(manager, client)
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_interrupted_cell_saves_a_checkpoint_and_resumes_later(kernel, notebook, place):
    *before, fit, _, _ = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for cell in before:
        messages = kernel.run(cell)
        assert not [m for m in messages if m["msg_type"] == "error"], said(messages)
    # 10 steps per epoch.
    fit = fit.replace("StepLogger(logdir)", "StepLogger(logdir, every_steps=1)")
    long_fit = fit.replace("epochs=3", "epochs=1_000_000")
    messages = kernel.run(long_fit, interrupt_at=r"(?m)^1 0 loss")
    (error,) = [m["content"] for m in messages if m["msg_type"] == "error"]
    assert error["ename"] == "Interrupted"
    assert error["evalue"].startswith("SIGINT stopped training between two steps")
    assert len("\n".join(error["traceback"]).splitlines()) <= 3
    epoch, step = map(int, LOSS.findall(said(messages))[-1])
    done = 10 * epoch + step + 1
    assert sorted(path.name for path in (place / "logs/notebook/checkpoints").iterdir())[-1] == (
        f"step-{done:08d}"
    )

    messages = kernel.run(fit.replace("epochs=3", f"epochs={epoch + 2}"))
    assert not [m for m in messages if m["msg_type"] == "error"], said(messages)
    steps = [10 * int(epoch) + int(step) for epoch, step in LOSS.findall(said(messages))]
    assert steps == [*range(done, 10 * (epoch + 2))]
