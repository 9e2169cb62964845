"""Find where a larger batch stops helping: ``python -m benchmarks.batch_size``.

The mlp is trained with momentum and cross-entropy, for each batch size and each of several learning
rates, until it reaches the required accuracy on a held-out sixth of the images. The learning rate
with the fewest steps counts. This formula is fitted to the steps:

    steps = fewest * (1 + critical / batch)

(McCandlish et al. 2018, An Empirical Model of Large-Batch Training). Up to the critical size, twice
the batch needs about half the steps, so more devices save time. Far above it, twice the batch needs
as many steps. No figure here is a time.
"""

import math
import sys

import numpy as np

from benchmarks import measuring

SIZES = (32, 128, 256, 512, 1024, 2048)
RATES = (0.03, 0.1, 0.3)
MOST_EPOCHS = 12
LOOKS_PER_EPOCH = 20


def steps_needed(train, held_out, *, batch_size, rate, accuracy):
    """Updates until the accuracy on the held-out images is reached; inf: it is not."""

    from mnist_keras.app.config import RunConfig
    from mnist_keras.app.recipe import build_model
    from mnist_keras.callbacks.base import StepCallback
    from mnist_keras.data import batches

    stream = batches(train.images, train.labels, batch_size=batch_size, shuffle=True)
    config = RunConfig(
        optimizer="momentum", loss="categorical_crossentropy", learning_rate=rate, batch_parts=1
    )
    model = build_model(config, steps=1)
    x, y = held_out.images / np.float32(255), np.asarray(held_out.labels)
    every = max(1, len(stream) // LOOKS_PER_EPOCH)

    class Look(StepCallback):
        """Stops where the accuracy is reached, or nothing will come of it."""

        needed = math.inf

        def breaks_execution_at(self, step):
            return step % every == 0

        def on_train_batch_end(self, batch, logs=None):
            step = self.model.steps_trained
            if self.breaks_execution_at(step) or batch + 1 == len(stream):
                found = np.mean(model.network.predict_on_batch(x).argmax(-1) == y)
                if found >= accuracy:
                    self.needed = step
                self.model.stop_training = found >= accuracy or math.isnan(logs["loss"])

    look = Look()
    model.fit(stream, epochs=MOST_EPOCHS, verbose=0, callbacks=[look])
    return look.needed


def fit(steps):
    """(fewest, critical) of {batch size: steps}, by least squares of the relative errors.

    >>> fewest, critical = fit({size: 50 * (1 + 800 / size) for size in (50, 200, 3200)})
    >>> round(fewest), round(critical)
    (50, 800)
    """
    sizes, counts = np.array(list(steps), float), np.array(list(steps.values()), float)
    rows = np.stack([1 / counts, 1 / sizes / counts], axis=1)
    fewest, slope = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)[0]
    return float(fewest), float(slope / fewest)


def table(report):
    """The steps for each size of batch in Markdown, beside the fit's."""
    rows = []
    for size, best in report["sizes"].items():
        size, steps = int(size), best["steps"]
        fitted = report["fewest_steps"] * (1 + report["critical_size"] / size)
        row = [f"{size:,}", "–", f"{fitted:,.0f}", "–", "–"]
        if steps is not None:
            row[1], row[3:] = f"{steps:,}", [f"{steps * size:,}", f"{best['learning_rate']:g}"]
        rows.append(row)
    fit_title = f"by the fit, critical size {report['critical_size']:,.0f}"
    return measuring.table(["batch", "steps", fit_title, "images", "learning rate"], rows)


def main():
    """Measure, and print the table."""
    from mnist_keras.data import load

    parser = measuring.parser(__doc__)
    parser.add_argument("--accuracy", type=float, default=0.96, help="default: 0.96")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    options = parser.parse_args()
    images, _ = load(data_dir=options.data_dir)
    held_out_from = len(images) * 5 // 6
    train, held_out = images[:held_out_from], images[held_out_from:]
    sizes = {}
    for size in options.sizes:
        needed = {
            rate: steps_needed(
                train, held_out, batch_size=size, rate=rate, accuracy=options.accuracy
            )
            for rate in options.rates
        }
        rate = min(needed, key=needed.get)
        steps = needed[rate] if math.isfinite(needed[rate]) else None
        sizes[size] = {"steps": steps, "learning_rate": rate}
        print(f"{size}: {needed}", file=sys.stderr)
    reached = {size: best["steps"] for size, best in sizes.items() if best["steps"] is not None}
    fewest, critical = fit(reached)
    report = {"accuracy": options.accuracy, "fewest_steps": fewest, "critical_size": critical}
    report["sizes"] = {str(size): best for size, best in sizes.items()}
    measuring.write_json(options.results / "batch_size.json", report)
    print(table(report))


if __name__ == "__main__":
    main()
