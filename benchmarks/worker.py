"""Run one contender in its own process: ``python -m benchmarks.worker MODULE NAME DATA_DIR``.

Each line that it reads is a number of epochs. It trains that many and prints the seconds they took.
"""

import importlib
import os
import sys
import time


def main(module, name, data_dir):
    """Answer each line on stdin, after the turns that do not count."""
    # What the contenders print themselves is not for whoever asks.
    answers, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    from mnist_keras.data import load

    contenders = importlib.import_module(f"benchmarks.contenders.{module}")
    run = contenders.CONTENDERS[name](load(data_dir=data_dir or None)[0])
    for _ in range(getattr(contenders, "WARM_UPS", 2)):
        run(1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - began, file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
