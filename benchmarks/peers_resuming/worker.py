"""One process of a training: ``python -m benchmarks.peers_resuming.worker MODULE [ORDERS]``.

ORDERS is JSON: [[who, data], directory, seed, kill_after]. The weights and the optimizer's state
are left in ``left.npz`` in the directory. Without ORDERS it prints the module's contenders as JSON.
"""

import importlib
import json
import sys

import numpy as np

from benchmarks.peers_resuming import Job


def main(module, orders=None):
    """Train, and leave the results."""
    contenders = importlib.import_module(f"benchmarks.peers_resuming.{module}").CONTENDERS
    if orders is None:
        print(json.dumps(list(contenders)))
        return
    contender, directory, seed, kill_after = json.loads(orders)
    job = Job(directory, seed, kill_after)
    weights, optimizer = contenders[tuple(contender)](job)
    parts = {"weights": weights, "optimizer": optimizer}
    np.savez(
        job.directory / "left.npz",
        **{f"{part}/{name}": array for part in parts for name, array in parts[part].items()},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
