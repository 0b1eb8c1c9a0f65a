"""Which layout fast.py has, by the sizes of the network."""

import pytest

from derive.backends.fast.schedule import schedule
from derive.packages.emit import subject_of
from derive.problems.network import Network


@pytest.mark.parametrize(
    ("layers", "by_features"),
    [
        ((2, 10, 10, 1), False),
        ((2, 64, 1), True),
        ((2, 80, 64, 1), True),
        ((2, 64, 63, 1), False),
        ((2, 63, 64, 1), False),
        ((2, 48, 1), False),
        ((2, 72, 1), False),
        ((2, 75, 1), False),
        ((2, 1024, 1), True),
        ((64, 1), True),
        ((63, 64), False),
    ],
    ids=str,
)
def test_hidden_layers_that_fill_vectors_are_batch_by_features(layers, by_features):
    plan = schedule(subject_of(Network(layers)).derived)
    if by_features:
        assert (plan.layout, plan.blocks_meaning) == ("batch by features", "W and b of each layer")
    else:
        assert plan.layout == "features by batch, a row of ones at the end"
        assert plan.blocks_meaning == "[W b]^T of each layer"
