"""The output of main.py on terminals of several widths, after an interruption and under nohup."""

import concurrent.futures
import re
import shlex
import shutil
import signal

import pytest

from tests.command_line import command, environment, write_small_mnist
from tests.terminals import FOREIGN, run_in_terminal

pytestmark = pytest.mark.slow

EPOCHS, STEPS_PER_EPOCH = 8, 30
RECIPE = (f"--epochs={EPOCHS}", "--batch_size=34", "--log_every_steps=10")
BAR = r"[━╸╺]+ *"


def environment_of_terminal(**variables):
    inherited = {k: v for k, v in environment().items() if k not in FOREIGN}
    return {**inherited, "TERM": "xterm-256color", **variables}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("终端")


@pytest.fixture(scope="module")
def sessions(place):
    """{name: (exit status, the `Screen`)} of all processes, two at a time."""
    write_small_mnist(place / "data")

    def start(name, *, prefix=(), **options):
        run = command("--data_dir=data", f"--run_name={name}", "--steps_per_execution=7", *RECIPE)
        return run_in_terminal([*prefix, *run], cwd=place, **options)

    def start_and_go_on():
        sent = []

        def interrupt(text, process):
            if "epochs  " in text and not sent:
                sent.append(process.send_signal(signal.SIGINT))

        environment = environment_of_terminal(NO_COLOR="1")
        interrupted = start("数字 one", columns=60, told=interrupt, **environment)
        told = re.search("To resume: (.*)\r\n", interrupted[1].received)[1]
        resumed = run_in_terminal(
            shlex.split(told), columns=200, cwd=place, **environment_of_terminal()
        )
        return {"interrupted": interrupted, "resumed": resumed}

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = pool.submit(start_and_go_on)
        with open(place / "stdout", "wb") as stdout:
            whole = start("whole", columns=80, stdout=stdout, **environment_of_terminal())
        found = {"whole": whole}
        if shutil.which("nohup"):
            environment = environment_of_terminal()
            found["nohup"] = start("nohup", prefix=["nohup"], columns=20, **environment)
        return {**found, **parts.result()}


@pytest.fixture
def printed(place, sessions):
    """The lines of a complete run on stdout, a file, while stderr is a terminal."""
    return (place / "stdout").read_text().splitlines()


def of_stdout(lines):
    """The lines that a run prints on stdout."""
    pattern = r"datasets: .*|\d+|\d+ \d+ loss: \S+|test loss: \S+ accuracy: \S+"
    return [line for line in lines if re.fullmatch(pattern, line)]


def test_a_terminal_shows_a_bar_and_keeps_its_last_line(sessions, printed):
    status, screen = sessions["whole"]
    assert status == 0
    assert of_stdout(printed) == printed
    assert len(printed) == 1 + 4 * EPOCHS + 1
    bars = [frame[-2:] for frame in screen.frames if re.search(BAR, "".join(frame))]
    # After the last step, at the end of the run, none is counted.
    steps = rf" \d+/{STEPS_PER_EPOCH} steps(  \d+:\d\d left)?"
    place = rf"(\d+/{EPOCHS} epochs  {BAR}{steps}|{EPOCHS}/{EPOCHS} epochs  {BAR}  0:00 left)"
    figures = r"loss \S+  accuracy \S+(  [\d,]+ images/s)?(  saved \d+:\d\d ago)?"
    assert re.fullmatch(place, bars[0][1])
    for bar in bars[1:]:
        assert re.fullmatch(f"{place}\n{figures}", "\n".join(bar))
    text = " ".join(screen.lines)
    assert re.fullmatch(
        rf"run logs/whole: .+ Watch: .+--logdir=logs {EPOCHS}/{EPOCHS} epochs  took \d+:\d\d  "
        r"loss \S+  accuracy \S+  [\d,]+ images/s .*model: .+/model\.keras\. To score it again: .+",
        text,
    )


def test_colours_are_omitted_if_no_color_is_set(sessions):
    colour = "\x1b\\[[0-9;]*m"
    assert re.search(colour, sessions["resumed"][1].received)
    assert not re.search(colour, sessions["interrupted"][1].received)


def test_an_interrupted_run_restores_the_terminal(sessions):
    status, screen = sessions["interrupted"]
    assert status == 130
    assert not re.search(BAR, "".join(screen.lines))
    assert "\x1b[?25l" not in screen.received


def test_the_suggested_command_resumes_the_bar_at_its_position(sessions):
    assert sessions["resumed"][0] == 0
    place = rf"(\d+)/{EPOCHS} epochs +{BAR}(\d+)/{STEPS_PER_EPOCH} steps"
    left = re.search(place.replace(BAR, ""), "\n".join(sessions["interrupted"][1].lines))
    # Not the frames: several may arrive at once, and only the last of them is kept.
    drawn = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", sessions["resumed"][1].received)
    assert re.search(place, drawn).groups() == left.groups()


def test_the_bar_does_not_change_stdout(sessions, printed):
    begun, ended = (of_stdout(sessions[name][1].lines) for name in ("interrupted", "resumed"))
    assert begun[0] == ended[0] == printed[0]
    assert begun + ended[1:] == printed


def test_under_nohup_the_file_gets_plain_lines(sessions, printed, place):
    if "nohup" not in sessions:
        pytest.skip("there is no nohup here")
    status, screen = sessions["nohup"]
    assert status == 0
    assert "epochs" not in screen.received
    lines = (place / "nohup.out").read_text().splitlines()
    assert "\x1b" not in "".join(lines)
    assert of_stdout(lines) == printed
    first, *others, last = [line for line in lines if line not in printed]
    assert (first.split(":")[0], last.split(":")[0]) == ("run logs/nohup", "model")
    assert re.match(rf"{EPOCHS}/{EPOCHS} epochs  took \d+:\d\d  loss \S+  accuracy ", others[0])
