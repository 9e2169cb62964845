import doctest

import pytest

from mnist_keras.callbacks import NotExactError, exactness
from mnist_keras.callbacks.exactness import Exactness


def test_each_reason_is_reported_once():
    lines = []
    found = Exactness(is_required=False, tell=lines.append, notice=lines.append)
    assert found.holds
    for reason in ("no seed", "no seed", "no state"):
        found.report(reason)
    assert not found.holds
    assert lines == ["resume is not exact: no seed.", "resume is not exact: no state."]


def test_a_reason_is_an_error_where_exactness_is_required():
    lines = []
    found = Exactness(is_required=True, tell=lines.append, notice=lines.append)
    with pytest.raises(NotExactError, match="resume is not exact: no seed"):
        found.report("no seed")
    assert lines == []


def test_a_reason_of_one_worker_counts_on_all():
    told, noticed = [], []
    workers = [
        Exactness(is_required=False, tell=told.append, notice=noticed.append) for _ in range(2)
    ]
    workers[1].report_own("other data")
    assert [worker.holds for worker in workers] == [True, False]
    for worker in workers:
        worker.learn_from_another_worker()
    assert [worker.holds for worker in workers] == [False, False]
    assert (told, noticed) == ([], ["resume is not exact: other data."])


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(exactness).failed == 0
