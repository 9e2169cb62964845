"""Where `StepLogger` writes besides TensorBoard: files and experiment trackers.

Example: the values of a run's steps in two files, without TensorBoard.

>>> import keras, numpy as np, pathlib, tempfile
>>> from mnist_keras import TapeModel
>>> from mnist_keras.callbacks import StepLogger
>>> from mnist_keras.callbacks.sinks import CsvSink, JsonLinesSink
>>> logs = pathlib.Path(tempfile.mkdtemp())
>>> sinks = [CsvSink(logs / "steps.csv"), JsonLinesSink(logs / "steps.jsonl")]
>>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
>>> model.compile(optimizer="sgd", loss="mse")
>>> x, y = np.zeros((8, 3)), np.ones((8, 1))
>>> logger = StepLogger(None, echo=False, sinks=sinks)
>>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[logger])
>>> (logs / "steps.csv").read_text().splitlines()[:2]
['step,name,value', '0,gradient_norm,2.0']
"""

from mnist_keras.callbacks.sinks.aim_run import AimSink
from mnist_keras.callbacks.sinks.csv_file import CsvSink
from mnist_keras.callbacks.sinks.json_lines import JsonLinesSink
from mnist_keras.callbacks.sinks.mlflow_run import MlflowSink
from mnist_keras.callbacks.sinks.sink import Sink
from mnist_keras.callbacks.sinks.wandb_run import WandbSink

__all__ = ["AimSink", "CsvSink", "JsonLinesSink", "MlflowSink", "Sink", "WandbSink"]
