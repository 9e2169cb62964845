import doctest
import warnings

import pytest

from mnist_keras.console import library_warnings
from tests.command_line import run_main, write_small_mnist


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(library_warnings).failed == 0


def test_other_filters_stay_as_they_are():
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", "hidden")
        before = [*warnings.filters]
        library_warnings.show_instead_of_raising()
        assert warnings.filters == before
        warnings.simplefilter("error", append=True)
        library_warnings.show_instead_of_raising()
        warnings.warn("hidden", stacklevel=1)
        warnings.warn("seen", stacklevel=1)
    assert [str(it.message) for it in shown] == ["seen"]


@pytest.mark.slow
def test_a_run_trains_where_warnings_are_errors(tmp_path):
    data = write_small_mnist(tmp_path / "data")
    flags = [f"--data_dir={data}", "--epochs=1", "--run_name=a", "--batch_size=100"]
    done = run_main(*flags, cwd=tmp_path, PYTHONWARNINGS="error")
    assert (done.returncode, done.stdout.splitlines()[-1][:10]) == (0, "test loss:")
