import os
import sys

import pytest

from benchmarks.memory import memory_mib, sampled_mib

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells it so")


def test_the_samples_include_memory_held_during_the_block():
    before = memory_mib(os.getpid(), "RssAnon")
    with sampled_mib(os.getpid(), "RssAnon") as samples:
        held = bytearray(200 * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        count = len(samples)
        while len(samples) < count + 2:
            pass
        del held
    assert 190 < max(samples) - before < 250
    assert memory_mib(os.getpid(), "VmHWM") >= max(samples)


def test_sampling_ends_with_its_block():
    with pytest.raises(KeyError), sampled_mib(os.getpid(), "VmRSS") as samples:
        raise KeyError
    assert samples
