import gc
import threading

import numpy as np

from mnist_keras.data import batches, begun_stream


def make_stream():
    return batches(np.zeros((4, 2, 2), np.uint8), np.arange(4), batch_size=2)


def test_the_first_stream_after_forgetting_is_found():
    training, validation = make_stream(), make_stream()
    for begun in (training, validation):
        begun_stream.forget()
        assert begun_stream.first() is None
        begun.on_epoch_begin()
        training.on_epoch_begin()
        assert begun_stream.first() is begun


def test_another_thread_does_not_change_what_is_found():
    stream, other = make_stream(), make_stream()
    begun_stream.forget()
    thread = threading.Thread(target=other.on_epoch_begin)
    thread.start()
    thread.join()
    assert begun_stream.first() is None
    stream.on_epoch_begin()
    assert begun_stream.first() is stream


def test_the_stream_is_not_kept_alive():
    stream = make_stream()
    begun_stream.forget()
    stream.on_epoch_begin()
    del stream
    gc.collect()
    assert begun_stream.first() is None
