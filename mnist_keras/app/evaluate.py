"""``--mode=evaluate``: the loss and accuracy on the test set, which every run ends with too."""

from mnist_keras.app.model_file import open_model_file, require_shape
from mnist_keras.app.run_directory import run_directory
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import command, print_line
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.errors import UsageError

TEST_BATCH_SIZE = 1000


def evaluate(config):
    """Print the loss and accuracy of a run's model on the test set of its data set.

    Args:
        config: a `mnist_keras.app.config.RunConfig` with the run's name.

    Raises:
        UsageError: the run has no model yet.
        MnistKerasError: the model cannot be opened.
        DataError: the data set cannot be loaded.
    """
    from mnist_keras.data import load

    run = finished_run(config)
    dataset = config.dataset
    if dataset == "auto":
        dataset = run.stored_recipe()["dataset"]
    _, test_set = load(dataset, data_dir=config.data_dir)
    # The same sums in the same order as at the end of the training give the same results.
    parts = config.batch_parts if config.batch_parts != "auto" else 1
    import_tensorflow(quiet=not config.debug, parts=parts)
    from mnist_keras.app.recipe import compile_model
    from mnist_keras.model.tape_model import TapeModel

    model = TapeModel(open_model(run), batch_parts=parts)
    compile_model(model, config)
    print_scores(*test_scores(model, test_set))


def finished_run(config):
    """The directory of the run that a recipe names.

    Raises:
        UsageError: the run has no model yet.
    """
    run = run_directory(config)
    if not run.model.exists():
        raise UsageError(
            f"the run is not finished. Received: {run.path}, without a model. "
            f"Expected: a finished run; {command(f'--flagfile={run.recipe}')} resumes it."
        )
    return run


def open_model(run):
    """The trained network of a run.

    Raises:
        MnistKerasError: its file cannot be opened, or has another network.
    """
    network = open_model_file(run.model)
    require_shape(network, run.model, description=MNIST)
    return network


def test_scores(model, test_set):
    """(loss, accuracy) of a compiled model on a test set, Python floats."""
    from mnist_keras.data import batches

    size = min(TEST_BATCH_SIZE, len(test_set.labels))
    stream = batches(
        test_set.images, test_set.labels, batch_size=size, description=test_set.description
    )
    scores = model.evaluate(stream, verbose=0, return_dict=True)
    return scores["loss"], scores["accuracy"]


def print_scores(loss, accuracy):
    """Print the last line of a run."""
    print_line(f"test loss: {loss} accuracy: {accuracy}")
