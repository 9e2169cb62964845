import numpy as np
import pytest

from mnist_keras.checkpoint.loader_states import loader_states


class Loader:
    """A loader that draws its order when it begins, as torchdata's do, also from a saved state."""

    def __init__(self):
        self.generator = np.random.default_rng(0)
        self.began = False
        self._order, self._next = None, 0

    def state_dict(self):
        return {"order": self._order, "next": self._next}

    def load_state_dict(self, state):
        self._loaded = state

    def __call__(self):
        self.began = True
        drawn = self.generator.permutation(4).tolist()
        state = self.__dict__.pop("_loaded", {"order": drawn, "next": 0})
        self._order, self._next = state["order"], state["next"]
        while self._next < 4:
            self._next += 1
            yield self._order[self._next - 1]


class Epochs:
    kind = "torch"

    def __init__(self, loader):
        self.source = loader


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def states(loader):
    found = loader_states(Epochs(loader))
    found.begin()
    return found


def test_generators_are_restored_after_the_loader_has_begun(states, loader):
    first = list(states._drawn(loader))
    saved, calls = states.at(2), []
    states.begin()
    assert states.resume(saved, then=lambda: calls.append(loader.began)) == 2
    loader.began = False
    assert list(states._drawn(loader)) == first[2:]
    assert calls == [True]


def test_a_state_without_batches_left_is_not_used_later(states, loader):
    first = list(states._drawn(loader))
    saved = states.at(4)
    states.begin()
    states.resume(saved, then=lambda: None)
    states.begin()  # The epoch had no step left, so nothing was drawn.
    assert sorted(states._drawn(loader)) == sorted(first)
