"""Fine-tuning: keep the first layers of a trained network and train a new layer on top.

    python examples/fine_tuning.py --model=logs/first/model.keras --logdir=logs/fine_tuning

The network learns to tell even digits from odd ones. At first the layers from a run of main.py are
frozen; then all layers are trained for one more epoch at a smaller learning rate.
"""

import argparse

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load


def network(trained):
    """A trained network, frozen, with a new last layer that gives one score."""
    features = keras.Model(trained.inputs, trained.layers[-2].output, name="features")
    features.trainable = False
    image = keras.Input((28, 28), name="image")
    return keras.Model(image, keras.layers.Dense(1, name="is_odd")(features(image)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=local_path_argument, required=True)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/fine_tuning")
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()

    train, test = load("auto")
    trained = keras.models.load_model(arguments.model)
    model = TapeModel(network(trained))

    def fit(name, learning_rate, epochs):
        # Keras reads which layers are frozen when the model is compiled, so compile it again.
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        accuracy = keras.metrics.BinaryAccuracy(threshold=0.0)
        optimizer = keras.optimizers.Adam(learning_rate)
        model.compile(optimizer, loss, metrics=[accuracy])
        model.fit(
            train.images / np.float32(255),
            train.labels % 2,
            batch_size=100,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[
                StepLogger(f"{arguments.logdir}/{name}"),
                Checkpoint(f"{arguments.logdir}/{name}/checkpoints"),
                GracefulShutdown(),
            ],
        )
        scores = model.evaluate(
            test.images / np.float32(255), test.labels % 2, verbose=0, return_dict=True
        )
        print(f"{name} test accuracy: {scores['binary_accuracy']:.4f}")

    fit("last_layer", 0.01, arguments.epochs)
    model.network.get_layer("features").trainable = True
    fit("all_layers", 0.0001, 1)


if __name__ == "__main__":
    main()
