import concurrent.futures
import sys

import numpy as np
import pytest

from tests import forks
from tests.cluster import free_addresses
from tests.command_line import MAIN, environment
from tests.replicated_program import STEPS_PER_EXECUTION

pytestmark = [pytest.mark.slow, pytest.mark.workers]

DIRECTORIES = ("mirrored", "worker-0", "worker-1")
CASES = {
    "dataset": 10,
    "unknown length": 10,
    "stream": 8,
    "own step": 8,
}  # The number of steps of each.
EACH_BATCH = [0, 1, 2, 3, 0, -1, -2, -3]  # Of a training, then of a validation.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory with the results of the trainings in each role."""
    out = tmp_path_factory.mktemp("replicated")
    addresses = ",".join(free_addresses(2))

    def run(role, *cluster):
        command = [sys.executable, "-m", "tests.replicated_program", role, str(out / role)]
        done = forks.run([*command, *cluster], cwd=MAIN.parent, env=environment(), timeout=300)
        assert done.returncode == 0, done.stderr

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        roles = [("one",), ("mirrored",)]
        workers = [("worker", addresses, str(index)) for index in range(2)]
        # Two at a time; the two workers run together.
        for pair in (roles, workers):
            list(pool.map(lambda arguments: run(*arguments), pair))
    return out


def result(trained, role, case, steps):
    with np.load(trained / role / f"{case}-{steps}.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
@pytest.mark.parametrize("role", DIRECTORIES)
def test_replicas_give_the_same_numbers_as_one_device(trained, role, steps_per_execution, case):
    expected = result(trained, "one", case, 50)
    found = result(trained, role, case, steps_per_execution)
    assert found.keys() == expected.keys() >= {"losses", "norms", "logs", "weights"}
    assert len(expected["losses"]) == CASES[case]
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("role", DIRECTORIES)
def test_the_loss_of_each_output_covers_all_replicas(trained, role):
    expected, found = (dict(np.load(trained / n / "outputs.npz")) for n in ("one", role))
    seen = [expected.pop("batches_seen").tolist(), found.pop("batches_seen").tolist()]
    assert seen == [EACH_BATCH, [] if role == "worker-1" else EACH_BATCH]
    assert set(found) == {"loss", "a_loss", "b_loss", "val_loss", "val_a_loss", "val_b_loss"}
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_all_workers_have_the_same_weights_to_the_bit(trained, case):
    for steps in STEPS_PER_EXECUTION:
        weights = [result(trained, f"worker-{i}", case, steps)["weights"] for i in range(2)]
        np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("role", ["one", *DIRECTORIES])
def test_no_number_depends_on_the_steps_of_an_execution(trained, role, case):
    one_by_one, at_once = (result(trained, role, case, steps) for steps in STEPS_PER_EXECUTION)
    for name in at_once:
        np.testing.assert_array_equal(one_by_one[name], at_once[name], err_msg=name)


@pytest.mark.parametrize("role", DIRECTORIES)
def test_each_replica_gets_its_own_metric_sums_back(trained, role):
    with np.load(trained / role / "sums.npz") as stored:
        sums = dict(stored)
    before = sums["before"]
    assert len(before) == 2
    assert (before > 0).all()
    assert not sums["reset"].any()
    np.testing.assert_array_equal(sums["after"], before)
    # From another number of replicas, only the total is restored.
    is_mean = sums["is_mean"]
    assert is_mean.sum() == 1
    total = np.where(is_mean, before.mean(axis=0), before.sum(axis=0))
    np.testing.assert_array_equal(sums["of one"], [total, np.where(is_mean, total, 0)])
