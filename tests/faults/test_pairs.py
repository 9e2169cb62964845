"""A fixed selection of the pairs that ``python -m tests.faults.programs`` draws at random."""

import pytest

from tests.faults.programs import SAID, SAME, Pair, parse

pytestmark = pytest.mark.slow
PAIRS = [
    ("conditional_gan", "tf.data, shuffle(seed), parallel map, prefetch", SAME),
    ("vae", "arrays, shuffled by Keras", SAME),
    ("ddim", "tf.data, shuffle(seed).repeat(2)", SAME),
    ("distillation_by_train_step", "PyDataset, on_epoch_end shuffles with np.random", SAME),
    ("nnclr", "generator, draws from np.random", SAME),
    ("weighted_classifier", "tf.data, from_generator", SAME),
    ("mlp_with_dropout", "PyDataset, shuffled by Keras, workers=2", SAME),
    ("mlp_with_dropout", "arrays, shuffled by Keras, no seed set", SAME),
    (
        "gradient_centralization",
        "tf.data, shuffle(seed).repeat(), steps_per_epoch that ends amid a pass",
        SAME,
    ),
    ("gan", "arrays, in order", SAID),
]


@pytest.mark.parametrize(("program", "pipeline", "kind"), PAIRS)
def test_a_killed_program_resumes_exactly_or_says_it_does_not(program, pipeline, kind, tmp_path):
    pair = Pair("tests.programs", (program, pipeline), 0, parse([]))
    result = pair.examine(tmp_path)
    assert (result.kind, result.unlike_keras) == (kind, []), result.lines
