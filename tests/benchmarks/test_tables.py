import doctest

import pytest

from benchmarks import (
    batch_size,
    callbacks,
    programs_table,
    saving,
    scaling,
    speed,
    startup,
    time_to_99,
    workers,
)
from benchmarks.program import Outcome


def test_speed_sorts_by_the_ratio_within_each_round():
    seconds = {"slow": [3.0, 6.0], "matrix products alone": [1.0, 2.0], "quick": [1.5, 2.5]}
    assert speed.table(speed.summary(seconds)).splitlines() == [
        "| who | s per epoch | × the products | least | greatest |",
        "| --- | --- | --- | --- | --- |",
        "| matrix products alone | 1.50 | 1.00 | 1.00 | 1.00 |",
        "| quick | 2.00 | 1.38 | 1.25 | 1.50 |",
        "| slow | 4.50 | 3.00 | 3.00 | 3.00 |",
    ]


def test_saving_compares_each_way_with_the_same_training_without():
    seconds = {
        "this package": [1.0, 2.0],
        "this package, Checkpoint": [1.0, 2.2],
        "Keras fit": [2.0, 2.0],
        "Keras fit, ModelCheckpoint": [3.0, 4.0],
        "Keras fit, BackupAndRestore": [2.0, 2.0],
    }
    assert saving.table(seconds).splitlines()[2:] == [
        "| this package, Checkpoint | 1.050 | 1.000 | 1.100 |",
        "| Keras fit, ModelCheckpoint | 1.750 | 1.500 | 2.000 |",
        "| Keras fit, BackupAndRestore | 1.000 | 1.000 | 1.000 |",
    ]


def test_programs_are_compared_with_the_better_way_of_keras():
    seconds = {
        "keras.Model": [2.0, 1.0, 3.0],
        "keras.Model, 20 steps": [1.0, 2.0, 3.0],
        "TapeModel": [0.5, 0.9, 3.3],
        "TapeModel, 3 callbacks": [1.0, 1.1, 3.0],
    }
    assert programs_table.table({"mlp": seconds}).splitlines()[2:] == [
        "| mlp | 1000 | 1.00 | 1.00 | 0.90 | 1.00 |"
    ]


def test_callbacks_are_sorted_by_their_share_of_the_epoch():
    def turns(*epochs, **seconds):
        beside = {"Checkpoint": 0.004} if "Checkpoint" in seconds else {}
        return [{"epoch": epoch, "seconds": seconds, "beside": beside} for epoch in epochs]

    results = {
        callbacks.WITHOUT: turns(1.0, 2.0),
        callbacks.LOGGING: turns(9.0, 9.0, Checkpoint=0.02),
        callbacks.DEFAULT: turns(9.0, 9.0, Checkpoint=0.02, Mistakes=0.04),
        callbacks.ALL: turns(9.0, 9.0, Checkpoint=0.02, Mistakes=0.04, Histograms=0.01),
    }
    assert callbacks.table(callbacks.summary(results)).splitlines()[2:] == [
        "| StepLogger, Checkpoint and Progress | 20.00 | 4.00 | 1.50 | 1.00 | 2.00 |",
        "| all that are on by default | 60.00 | 4.00 | 4.50 | 3.00 | 6.00 |",
        "| Mistakes | 40.00 | 0.00 | 3.00 | 2.00 | 4.00 |",
        "| Checkpoint | 20.00 | 4.00 | 1.50 | 1.00 | 2.00 |",
        "| Histograms (on request) | 10.00 | 0.00 | 0.75 | 0.50 | 1.00 |",
    ]


def test_scaling_trains_ten_small_epochs_or_one_large_epoch():
    found = scaling.members({1: "/a", 100: "/b"}, count=60, batch_sizes=[50], data_dir="/a")
    assert found == {
        "60 images, file order": (("scaled", "file order", "/a"), 60, 10),
        "60 images, shuffled": (("scaled", "shuffled", "/a"), 60, 10),
        "6,000 images, file order": (("scaled", "file order", "/b"), 6000, 1),
        "6,000 images, shuffled": (("scaled", "shuffled", "/b"), 6000, 1),
        "60 images, batches of 50": (("scaled", "batch size 50", "/a"), 60, 10),
    }


def test_scaling_shows_peak_memory_and_time_per_epoch():
    turns = [
        {"images_per_second": 50_000.0, "anonymous_mib": 300.2, "peak_mib": 700.0},
        {"images_per_second": 40_000.0, "anonymous_mib": 310.2, "peak_mib": 720.0},
        {"images_per_second": 60_000.0, "anonymous_mib": 305.2, "peak_mib": 720.0},
    ]
    assert scaling.table({"all": turns}, count=60_000).splitlines() == [
        "| trained on | images/s | least – greatest | s for 60,000 | anonymous MiB | peak MiB |",
        "| --- | --- | --- | --- | --- | --- |",
        "| all | 50,000 | 40,000 – 60,000 | 1.20 | 310 | 720 |",
    ]


def test_startup_shows_medians_and_omits_missing_first_losses():
    runs = {"train": (1.0, 3.0, 2.0), "help": (None, None, None)}
    results = {
        name: startup.figures([Outcome(5.0, first_s, 100.4, []) for first_s in firsts])
        for name, firsts in runs.items()
    }
    assert startup.table(results).splitlines() == [
        "| what | s | s to the first printed loss | peak MiB |",
        "| --- | --- | --- | --- |",
        "| train | 5.00 | 2.00 | 100 |",
        "| help | 5.00 | – | 100 |",
    ]


def test_time_to_99_shows_how_many_seeds_reached_it():
    runs = [
        {"accuracy": accuracy, "seconds": seconds, "process_s": 2 * seconds}
        for accuracy, seconds in ((0.99, 5.0), (0.9898, 6.0), (0.9902, 9.0))
    ]
    assert time_to_99.table({"a": runs, "b": runs[:1]}).splitlines() == [
        "| who | test accuracy, % | reach 99 % | s from the first step | s of the process |",
        "| --- | --- | --- | --- | --- |",
        "| a | 99.00 ± 0.02 | 2 of 3 | 6.0 (5.0 – 9.0) | 12.0 (10.0 – 18.0) |",
        "| b | 99.00 ± 0.00 | 1 of 1 | 5.0 (5.0 – 5.0) | 10.0 (10.0 – 10.0) |",
    ]


def test_workers_shows_measured_step_parts_beside_the_model():
    def timed(step_s):
        return {"step": step_s, "input": 0.001}

    ring = {"bytes": 4_000_000, "all_reduce": 0.004, "small_all_reduce": 0.0}
    found = {
        "alone": {"200": timed(0.02)},
        "side_by_side": {"50": timed(0.006), "300": timed(0.031), "100": timed(0.012)},
        "together": {"200": timed(0.018), **ring},
    }
    report = {"batch_sizes": [200], "fitted_sizes": [50, 300], "found": {"mlp": found}}
    assert workers.cost_table(report).splitlines() == [
        "| network | batch | workers | compute, ms | input, ms | all-reduce, ms | wait, ms "
        "| step, ms | by the model, ms | images/s |",
        f"| {' | '.join(['---'] * 10)} |",
        "| mlp | 200 | 1 | 19.00 | 1.00 | 0.00 | 0.00 | 20.00 | 21.00 (+5 %) | 10,000 |",
        "| mlp | 200 | 2 | 11.00 | 1.00 | 4.00 | 2.00 | 18.00 | 15.00 (-17 %) | 11,111 |",
    ]
    # 1 worker: 0.001 + 0.0001 * 1600; 32 workers at 1 Gb/s: 62 * 0.1 ms + 31 * 2 ms more.
    assert "| mlp | 1,600 | 1 Gb/s, 100 µs | 1.4 |" in workers.reach_table(report)


def test_batch_sizes_that_missed_the_target_are_marked():
    report = {
        "fewest_steps": 50.0,
        "critical_size": 800.0,
        "sizes": {
            "200": {"steps": 251, "learning_rate": 0.1},
            "8000": {"steps": None, "learning_rate": 0.3},
        },
    }
    assert batch_size.table(report).splitlines()[2:] == [
        "| 200 | 251 | 250 | 50,200 | 0.1 |",
        "| 8,000 | – | 55 | – | – |",
    ]


@pytest.mark.parametrize("module", [batch_size, callbacks, programs_table, speed, workers])
def test_the_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
