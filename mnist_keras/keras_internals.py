"""The few names of Keras that its public interface does not carry, and why each is needed."""

# What keras.Model(inputs, outputs) makes: TapeModel(inputs, outputs) has to be one too.
from keras.src.models.functional import Functional

# Keras takes any DataAdapter as the x of fit; a PyDataset would have its batches shuffled.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

__all__ = ["DataAdapter", "Functional"]
