"""main.py as workers of a wrongly described cluster: each reports it in one line and ends."""

import concurrent.futures
import re
import shutil

import pytest

from mnist_keras.data import write_idx
from mnist_keras.data.datasets.synthetic import synthetic_digits
from tests.cluster import free_addresses
from tests.command_line import fork_main, write_small_mnist

pytestmark = [pytest.mark.slow, pytest.mark.workers]

NO_CLUSTER = r"error: --distribution=multi_worker needs a cluster\. Received: none in TF_CONFIG .*"
PARTIAL = r"error: TF_CONFIG does not describe a cluster\. Received: worker 2 of 2\. Expected: .*"
DIFFERENT = (
    r"(worker 1: )?error: the workers have different settings\. Received: workers "
    r"[\d.:,]+ on worker \d, workers [\d.:,]+ on worker \d\. Expected: the same\."
)
FLAGS = r"(worker 1: )?error: the workers differ in their flags\. Received: .*\. Expected: .*"


def two_workers(addresses, of_second=None, *, flags=((), ())):
    """(environment, flags) of each of two workers."""
    each = addresses, of_second or addresses
    return [
        (
            {"MNIST_KERAS_WORKERS": ",".join(known), "MNIST_KERAS_WORKER_INDEX": str(index)},
            more,
        )
        for known, index, more in zip(each, range(2), flags, strict=True)
    ]


def cases():
    """{what is wrong: ((environment, flags) of each worker, message of each)}."""
    task = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}'
    a, b, c = free_addresses(3)
    return {
        "none": ([({}, ["--distribution=multi_worker"])], NO_CLUSTER),
        "a worker too many": ([({"TF_CONFIG": task}, [])], PARTIAL),
        "one knows of three": (two_workers([a, b], [a, b, c]), DIFFERENT),
        "other flags": (two_workers([a, b], flags=((), ["--seed=3"])), FLAGS),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def other_test_images(data, tmp_path_factory):
    """The same data with other test images."""
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data, other, dirs_exist_ok=True)
    images, _ = synthetic_digits(200, seed=99)
    write_idx(other / "t10k-images-idx3-ubyte.gz", images)
    return other


def run(place, variables, flags):
    """main.py as one worker in a directory of its own."""
    place.mkdir()
    return fork_main("--run_name=one", "--epochs=1", *flags, cwd=place, **variables)


def run_all(tmp_path, workers):
    """(their directories, how they ended) of several workers, [(environment, flags), ...]."""
    places = [tmp_path / str(number) for number in range(len(workers))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return places, list(pool.map(run, places, *zip(*workers, strict=True)))


def errors_of(end):
    assert "Traceback" not in end.stderr
    return [line for line in end.stderr.splitlines() if "error:" in line]


@pytest.mark.parametrize("case", cases())
def test_each_worker_reports_the_error_in_one_line(case, data, tmp_path):
    described, expected = cases()[case]
    workers = [({"MNIST_KERAS_DATA_DIR": str(data), **env}, flags) for env, flags in described]
    places, ends = run_all(tmp_path, workers)
    for end in ends:
        assert (end.returncode, end.stdout) == (2, "")
        (error,) = errors_of(end)
        assert re.fullmatch(expected, error)
    assert [list(place.rglob("logs/*")) for place in places] == [[]] * len(places)


def test_other_test_images_on_one_worker_are_refused(data, other_test_images, tmp_path):
    both = zip((data, other_test_images), two_workers(free_addresses(2)), strict=True)
    workers = [({"MNIST_KERAS_DATA_DIR": str(own), **env}, flags) for own, (env, flags) in both]
    _, ends = run_all(tmp_path, workers)
    for end in ends:
        (error,) = errors_of(end)
        assert end.returncode == 2
        assert "error: the workers differ in their data. Received: " in error
    assert "test_sha256" in errors_of(ends[1])[0]
