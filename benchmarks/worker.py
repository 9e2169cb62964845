"""One contender in a process of its own: ``python -m benchmarks.worker MODULE NAME DATA_DIR``.

It prints the seconds of one epoch for each line it reads.
"""

import importlib
import sys
import time


def main(module, name, data_dir):
    """Answer each line on stdin with the seconds of an epoch, after two that do not count."""
    from mnist_keras.data import load

    contenders = importlib.import_module(f"benchmarks.contenders.{module}").CONTENDERS
    run_epoch = contenders[name](load(data_dir=data_dir or None)[0])
    for _ in range(2):
        run_epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run_epoch()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
