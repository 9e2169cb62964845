import numpy as np
import pytest

from mnist_keras.checkpoint import random_state
from mnist_keras.checkpoint.loader_states import loader_states

BATCHES = 4


class Loader:
    """Draws its order when it begins, also from a saved state, and noise for each batch."""

    def __init__(self, *, begins_in_state_dict=False):
        self.generator = np.random.default_rng(0)
        self._begins_in_state_dict = begins_in_state_dict
        self._begun = None
        self._loaded = None
        self._order, self._next = None, 0

    def state_dict(self):
        if self._begins_in_state_dict and self._loaded is not None:
            self._begin()
        return {"order": self._order, "next": self._next}

    def load_state_dict(self, state):
        self._loaded, self._begun = state, None

    def _begin(self):
        drawn = self.generator.permutation(BATCHES).tolist()
        self._begun = self._loaded or {"order": drawn, "next": 0}
        self._order, self._next = self._begun["order"], self._begun["next"]
        self._loaded = None

    def __call__(self):
        if self._begun is None:
            self._begin()
        self._begun = None
        while self._next < BATCHES:
            self._next += 1
            yield self._order[self._next - 1], self.generator.random(), np.random.random()


class Epochs:
    kind = "torch"

    def __init__(self, loader):
        self.source = loader


def begin(loader):
    states = loader_states(Epochs(loader))
    states.begin()
    return states


def epoch(states, loader):
    states.begin()
    return list(states._drawn(loader))


@pytest.mark.parametrize("begins_in_state_dict", [False, True])
@pytest.mark.parametrize("done", [2, 3, 4])
def test_a_loader_that_read_ahead_resumes_with_the_same_draws(done, begins_in_state_dict):
    np.random.seed(1)
    loader = Loader()
    states = begin(loader)
    first = list(states._drawn(loader))  # Reads to the end, while `done` batches are trained on.
    saved, second = states.at(done), epoch(states, loader)

    np.random.seed(2)
    another = Loader(begins_in_state_dict=begins_in_state_dict)
    another.generator.random(5)
    resumed = begin(another)
    skipped = resumed.resume(saved)
    assert list(resumed._drawn(another))[done - skipped :] == first[done:]
    assert epoch(resumed, another) == second


def test_generators_that_no_batch_draws_from_are_looked_at_once(monkeypatch):
    captures, capture = [], random_state.capture
    monkeypatch.setattr(random_state, "capture", lambda *a: captures.append(a) or capture(*a))
    states = begin(loader := Loader())
    list(states._drawn(lambda: iter(range(10))))
    # Around the first batch, and with the loader before the first one and after each.
    assert captures.count(()) == 2
    assert captures.count((loader,)) == 11


def test_a_loader_that_begins_early_resumes_after_one_batch():
    np.random.seed(1)
    loader = Loader()
    states = begin(loader)
    first = list(states._drawn(loader))
    saved = states.at(1)
    assert saved[3] is None  # The state before the first batch is unknown.
    resumed = begin(another := Loader(begins_in_state_dict=True))
    assert resumed.resume(saved) == 1
    assert list(resumed._drawn(another)) == first[1:]


def test_generators_that_batches_do_not_use_are_not_saved():
    np.random.seed(1)

    states = begin(loader := Loader())
    list(states._drawn(loader))
    assert "numpy" in states.at(2)[2]
    assert "python" not in states.at(2)[2]


def test_a_state_without_batches_left_is_not_used_later():
    np.random.seed(1)
    loader = Loader()
    states = begin(loader)
    first = list(states._drawn(loader))
    saved = states.at(BATCHES)
    states.begin()
    states.resume(saved)
    assert sorted(order for order, *_ in epoch(states, loader)) == sorted(o for o, *_ in first)


def test_torchdata_workers_begin_before_their_second_batch(monkeypatch):
    monkeypatch.setattr(Loader, "__module__", "torchdata.stateful_dataloader")
    loader = Loader()
    loader.num_workers = 2
    states = begin(loader)
    list(states._drawn(loader))
    begins_at = {number: states.at(number)[3][0] for number in range(1, BATCHES + 1)}
    assert begins_at == {1: 0, 2: 0, 3: 2, 4: 3}
