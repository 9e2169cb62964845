from mnist_keras.callbacks.stopwatch import Stopwatch


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_it_adds_up_the_time_of_the_sessions_only():
    clock = Clock()
    first = Stopwatch(clock=clock)
    assert first.seconds == 0.0
    first.on_train_begin()
    clock.now += 100
    assert first.seconds == 0.0
    first.on_epoch_begin(0)
    clock.now += 5
    first.on_epoch_end(0)
    first.on_epoch_begin(1)
    clock.now += 2
    assert first.seconds == 7.0
    saved = first.state_dict()
    clock.now += 1
    first.close()
    clock.now += 100
    assert first.seconds == 8.0

    resumed = Stopwatch(clock=clock)
    resumed.on_train_begin()
    resumed.load_state_dict(saved)
    assert resumed.seconds == 7.0
    clock.now += 100
    resumed.on_epoch_begin(1)
    clock.now += 3
    resumed.on_epoch_end(1)
    clock.now += 4
    resumed.on_train_end()
    clock.now += 100
    assert resumed.seconds == 14.0
    assert resumed.state_dict() == {"seconds": 14.0}

    # A further fit continues from there; closing twice changes nothing.
    resumed.close()
    resumed.on_train_begin()
    resumed.on_epoch_begin(0)
    clock.now += 1
    resumed.on_train_end()
    assert resumed.seconds == 15.0
