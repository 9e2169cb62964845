"""Hyperparameter search with Optuna; trials that fall behind end early.

    pip install '.[examples]'
    python examples/search.py --logdir=logs/search

The same command continues a search after any kill, also kill -9: finished trials are kept, and the
trial that was running resumes from its own checkpoint, to the same bits. More --trials extend it.

Optuna and not KerasTuner: its study is one SQLite file, and it can prune a trial at any step.
KerasTuner overwrites JSON files, prunes by epochs alone, and begins a killed trial anew.
"""

import argparse
import math
import pathlib

try:
    import optuna
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.trial import TrialState
except ImportError:
    raise SystemExit(
        "the search needs one more library. Received: no optuna. "
        "Expected: pip install '.[examples]'."
    ) from None

import keras

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, HParams, StepLogger
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.console.terminal import print_line
from mnist_keras.data import batches, load
from mnist_keras.inputs.file_lock import FileLock, LockHeldError

SPACE = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "width": IntDistribution(16, 256, log=True),
    "layers": IntDistribution(1, 3),
}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Pruning(StepCallback):
    """Reports the mean loss of the last steps to a trial, and stops a trial that falls behind.

    The loss of a step is computed before its update. In the first epoch the network has not seen
    the batch yet, so this is a held-out loss that costs nothing. Single batches would be too noisy.
    """

    def __init__(self, trial, *, every_steps):
        super().__init__()
        self._trial, self._every_steps = trial, every_steps
        self._losses, self._reports = [], []
        self.is_pruned = False

    def breaks_execution_at(self, step):
        return step % self._every_steps == 0

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.model.stop_training |= self.is_pruned  # Killed after the decision, before the end.

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self._losses += self.model.step_records.losses.tolist()
        if self.breaks_execution_at(self.step):
            loss = sum(self._losses) / len(self._losses)
            self._report(self.step, loss)
            self._losses = []
            self.is_pruned = not math.isfinite(loss) or self._trial.should_prune()
            self.model.stop_training |= self.is_pruned

    def state_dict(self):
        losses, reports = list(self._losses), list(self._reports)
        return {"losses": losses, "reports": reports, "is_pruned": self.is_pruned}

    def load_state_dict(self, state):
        self._losses, self.is_pruned = state["losses"], state["is_pruned"]
        for step, loss in state["reports"]:
            self._report(step, loss)

    def _report(self, step, loss):
        self._reports.append([step, loss])
        self._trial.report(loss, step)


def run_trial(trial, directory, *, train, held_out, epochs, every_steps):
    """Train a trial, or resume it; returns its loss on held-out data and whether it was pruned."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    chosen = trial.params
    hidden = [keras.layers.Dense(chosen["width"], "relu") for _ in range(chosen["layers"])]
    layers = [keras.Input((28, 28)), keras.layers.Flatten(), *hidden, keras.layers.Dense(10)]
    model = TapeModel(keras.Sequential(layers))
    optimizer = keras.optimizers.Adam(chosen["learning_rate"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    validation = batches(held_out.images, held_out.labels, batch_size=100)
    pruning = Pruning(trial, every_steps=every_steps)
    model.fit(
        batches(train.images, train.labels, batch_size=100, shuffle=True),
        epochs=epochs,
        verbose=0,
        validation_data=validation,
        callbacks=[
            StepLogger(directory, every_steps=every_steps, echo=False),
            HParams(directory, chosen),
            pruning,
            Checkpoint(directory / "checkpoints", every_steps=every_steps, keep=1),
            GracefulShutdown(),
        ],
    )
    return model.evaluate(validation, verbose=0, return_dict=True)["loss"], pruning.is_pruned


def search(study, logdir, *, trials, **settings):
    """Run trials until so many are finished."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # Killed; now asked for again.
    while (number := len(study.get_trials(states=FINISHED))) < trials:
        # The values depend on this seed and on the finished trials alone, so a kill changes none.
        study.sampler = optuna.samplers.TPESampler(seed=number)
        trial, name = study.ask(SPACE), f"trial-{number:02}"
        trial.set_user_attr("run", name)
        loss, is_pruned = run_trial(trial, logdir / name, **settings)
        if is_pruned:
            finished = study.tell(trial, state=TrialState.PRUNED)
        else:
            finished = study.tell(trial, loss)
        print_line(line(finished))


def rank(trial):
    """Its held-out loss; a pruned trial comes after all others."""
    return math.inf if trial.state == TrialState.PRUNED else trial.value


def line(trial):
    """What is printed about a finished trial."""
    result = f"pruned at step {trial.last_step}"
    if trial.state == TrialState.COMPLETE:
        result = f"held-out loss {trial.value:.4f}"
    values = "".join(f"{name} {value:<10.3g}" for name, value in trial.params.items())
    return f"{trial.user_attrs['run']}  {values}{result}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/search")
    parser.add_argument("--trials", type=int, default=16, help="default: 16")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a trial; default: 3")
    parser.add_argument("--examples", type=int, help="training images to use; default: all")
    parser.add_argument("--every_steps", type=int, default=50, help="between reports; default: 50")
    arguments = parser.parse_args()
    logdir, every_steps = pathlib.Path(arguments.logdir), arguments.every_steps

    train, _ = load("auto")
    split = len(train) * 5 // 6
    data = {"train": train[:split][: arguments.examples], "held_out": train[split:]}
    logdir.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with FileLock(logdir / ".lock"):
            # A trial that starts slowly has time for four reports.
            pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=4 * every_steps)
            study = optuna.create_study(
                storage=f"sqlite:///{logdir}/study.db",
                study_name="search",
                load_if_exists=True,
                pruner=pruner,
            )
            settings = {**data, "epochs": arguments.epochs, "every_steps": every_steps}
            search(study, logdir, trials=arguments.trials, **settings)
    except LockHeldError:
        raise SystemExit(
            f"another process is searching. Received: {logdir}. Expected: another --logdir."
        ) from None

    print_line("all trials, the best first:")
    finished = study.get_trials(states=FINISHED)
    for trial in sorted(finished, key=rank):
        print_line(line(trial))
    print_line(f"to look at them: tensorboard --logdir={logdir}")
    print_line(f"to compare them: python main.py --mode=compare {logdir}/trial-*")
    print_line(f"best: {study.best_trial.user_attrs['run']}, held-out loss: {study.best_value:.4f}")


if __name__ == "__main__":
    main()
