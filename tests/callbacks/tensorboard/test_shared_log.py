import gc

from mnist_keras.callbacks.tensorboard import shared_log


def steps(points_of, directory):
    return list(points_of(directory)["loss"])


def test_callbacks_share_one_log_and_the_last_closes_it(tmp_path, points_of):
    first, second = shared_log.join(tmp_path), shared_log.join(tmp_path / "." / "")
    assert first is second
    log = first.begin(step=0)
    assert second.begin(step=0) is log
    for step in range(3):
        log.scalar("train", "loss", step, step)
    first.leave()
    log.scalar("train", "loss", 3, 3)
    second.leave()
    assert steps(points_of, tmp_path / "train") == [0, 1, 2, 3]
    assert len(list((tmp_path / "train").iterdir())) == 1


def test_a_fit_after_an_interrupted_one_has_a_new_log(tmp_path, points_of):
    broken_off = shared_log.join(tmp_path)
    log = broken_off.begin(step=0)
    for step in range(3):
        log.scalar("train", "loss", step, step)
    again = shared_log.join(tmp_path)
    assert again is not broken_off
    again.begin(step=2).scalar("train", "loss", 2, 2)
    broken_off.leave()
    again.leave()
    assert steps(points_of, tmp_path / "train") == [0, 1, 2]


def test_a_log_never_opened_leaves_no_files(tmp_path):
    shared_log.join(tmp_path).leave()
    assert list(tmp_path.iterdir()) == []


def test_each_directory_has_its_log_and_unused_logs_are_freed(tmp_path):
    logs = [shared_log.join(tmp_path / name) for name in "ab"]
    assert logs[0] is not logs[1]
    del logs
    gc.collect()
    assert not [path for path in shared_log._LOGS if path.startswith(str(tmp_path))]
