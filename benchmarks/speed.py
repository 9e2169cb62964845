"""Compare seconds per epoch of the tutorial's recipe: ``python -m benchmarks.speed``.

Each contender runs in its own process, which stays alive. The contenders take turns, so a change of
the machine's speed affects all of them equally. A turn of this package and of the matrix products
has ten epochs, because some callbacks act every ten epochs. A turn of the others, whose epochs are
all alike, has three. The result is the median over the rounds of each contender's ratio to the
matrix products in the same round.
"""

import functools
import statistics

from benchmarks import measuring

CONTENDERS = {
    "floor": ("matrix products alone", "matrix products alone, bfloat16"),
    "this_package": (
        "this package, all callbacks",
        "this package, no callback",
        "this package, mixed_bfloat16, all callbacks",
    ),
    "tutorial": ("the tutorial's loop", "the tutorial's loop under tf.function"),
    "keras_fit": ("stock Keras fit", "stock Keras fit, 100 steps per execution"),
    "pytorch": ("PyTorch", "PyTorch, compiled"),
    "jax_loop": ("JAX, step by step", "JAX, scan"),
}
FLOOR = "matrix products alone"
OTHERS_EPOCHS = 3


def epochs_of(name, epochs):
    """The number of epochs in a contender's turn.

    >>> epochs_of("this package, all callbacks", 10), epochs_of("PyTorch", 10)
    (10, 3)
    """
    is_own = name in (*CONTENDERS["floor"], *CONTENDERS["this_package"])
    return epochs if is_own else min(epochs, OTHERS_EPOCHS)


def summary(results):
    """{name: (median seconds, `Spread` of the ratios to the floor)}, the fastest first."""
    rows = {
        name: (statistics.median(seconds), measuring.ratios(seconds, of=results[FLOOR]))
        for name, seconds in results.items()
    }
    return dict(sorted(rows.items(), key=lambda row: row[1][1].median))


def table(rows):
    """What `summary` gives as a Markdown table."""
    return measuring.table(
        ["who", "s per epoch", "× the products", "least", "greatest"],
        [
            [name, *(f"{figure:.2f}" for figure in (seconds, *ratios))]
            for name, (seconds, ratios) in rows.items()
        ],
    )


def main():
    """Measure, print the table, and write it as JSON and as a chart."""
    parser = measuring.parser(__doc__, rounds=7)
    parser.add_argument(
        "--epochs", type=int, default=10, help="epochs in a turn of this package; default: 10"
    )
    parser.add_argument("--only", default="", help="run only contenders whose name contains this")
    arguments = parser.parse_args()
    contenders = {
        name: (module, name, arguments.data_dir)
        for module, members in CONTENDERS.items()
        for name in members
        if arguments.only in name or name == FLOOR
    }
    with measuring.running(contenders) as running:
        results = measuring.in_turns(
            {
                name: functools.partial(contender.seconds, epochs_of(name, arguments.epochs))
                for name, contender in running.items()
            },
            rounds=arguments.rounds,
        )
    rows = summary(results)
    print(table(rows))
    measuring.write_json(arguments.results / "speed.json", {"seconds": results})
    measuring.bars(
        {name: ratios for name, (_, ratios) in rows.items()},
        arguments.results / "speed.png",
        label="time of an epoch, as a multiple of its matrix products alone (float32)",
    )


if __name__ == "__main__":
    main()
