"""The few names of Keras that its public interface does not carry, and why each is needed."""

# Where its layers draw: replicas that share a batch have to draw for all of it. And the masks of
# tensors, which a batch in parts would lose.
from keras.src import backend

# What keras.Model(inputs, outputs) makes: TapeModel(inputs, outputs) has to be one too.
from keras.src.models.functional import Functional

# What an optimizer does without tf.distribute, for replicas each of which makes the same update.
from keras.src.optimizers.base_optimizer import BaseOptimizer

# Keras takes any DataAdapter as the x of fit; a PyDataset would have its batches shuffled.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

__all__ = ["BaseOptimizer", "DataAdapter", "Functional", "backend"]
