from mnist_keras.console import threads


def test_the_cores_are_counted():
    assert threads.count_cores() >= 1
