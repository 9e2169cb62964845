"""``--mode=evaluate``, and the scores on the test set that every run ends with."""

from mnist_keras.errors import UsageError
from mnist_keras.quiet_tensorflow import import_tensorflow
from mnist_keras.run_directory import run_directory

TEST_BATCH_SIZE = 1000


def evaluate(config):
    """Print the scores of a run's model on the test set of its data set.

    Args:
        config: a `mnist_keras.config.RunConfig` with the run's name.

    Raises:
        UsageError: the run has no model yet.
        DataError: the data set cannot be had.
    """
    from mnist_keras.data import load

    run = run_directory(config)
    if not run.model.exists():
        raise UsageError(
            f"the run is not finished. Received: {run.path}, without a model. "
            f"Expected: a finished run; python main.py --flagfile={run.recipe} goes on with it."
        )
    _, test_set = load(config.dataset, data_dir=config.data_dir)
    if not config.debug:
        import_tensorflow()
    import keras

    from mnist_keras.recipe import compile_model
    from mnist_keras.tape_model import TapeModel

    model = TapeModel(keras.models.load_model(run.model))
    compile_model(model, config)
    print_scores(*test_scores(model, test_set))


def test_scores(model, test_set):
    """(loss, accuracy) of a compiled model on a test set, Python floats."""
    from mnist_keras.data import batches

    size = min(TEST_BATCH_SIZE, len(test_set.labels))
    stream = batches(test_set.images, test_set.labels, batch_size=size)
    scores = model.evaluate(stream, verbose=0, return_dict=True)
    return scores["loss"], scores["accuracy"]


def print_scores(loss, accuracy):
    """The last line that a run prints."""
    print(f"test loss: {loss} accuracy: {accuracy}", flush=True)
