"""What fast.py keeps in memory: buffers for few numbers of rows, each chunk as large as the cache allows."""

import pytest
import torch

from derive.network import Network
from generated.fast import FastGradient
from tests.test_fast import NETWORKS, example

CACHE = 1_200_000


def own_bytes(fast, make, rows: int) -> int:
    """What the buffers of a step take, without what all steps share."""
    shared = {tensor.untyped_storage().data_ptr() for tensor in (fast._point, fast._results, fast._product)}
    cells = [cell.cell_contents for cell in make(rows).__closure__]
    storages = [cell.untyped_storage() for cell in cells if isinstance(cell, torch.Tensor)]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for place, size in sizes.items() if place not in shared)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_buffers_of_a_chunk_fill_the_cache_and_no_more(network, dtype, emitted):
    fast = emitted(network, "fast").FastGradient(example(network, 1, dtype)[0].parameters())
    for make, rows in ((fast._make_rows, fast._chunk), (fast._make_hvp, fast._hvp_chunk)):
        each = (own_bytes(fast, make, 200) - own_bytes(fast, make, 100)) // 100
        assert rows % 256 == 192 or rows == 256
        assert each * rows <= CACHE or rows == 256
        assert each * (rows + 320) > CACHE or rows == 16320


def steps(call, rows: int) -> set[tuple[str, int]]:
    """Which steps a call makes."""
    net, x, y = example(Network(), rows)
    fast = FastGradient(net.parameters())
    call(fast, x, y)
    return set(fast._steps)


def test_as_many_rows_as_there_are_have_the_step_made_for_them():
    chunk = 4032  # of 64-bit numbers, see above
    for rows, made in {
        0: {("_make_rows", 0)},
        1: set(),
        2: {("_make_few_rows", 2)},
        128: {("_make_few_rows", 128)},
        129: {("_make_rows", 129)},
        chunk: {("_make_rows", chunk)},
        chunk + 1: {("_make_rows", chunk), ("_make_rows", 1)},
        3 * chunk: {("_make_rows", chunk)},
    }.items():
        assert steps(FastGradient.value_and_grad, rows) == made
    for rows, made in {2048: {("_make_each", 2048)}, 2049: {("_make_each", 2048), ("_make_each", 1)}}.items():
        assert steps(FastGradient.per_sample_grad, rows) == made


def test_the_buffers_of_the_last_eight_numbers_of_rows_are_kept():
    net, x, y = example(Network(), 30)
    fast = FastGradient(net.parameters())
    for rows in range(2, 30):
        fast.value_and_grad(x[:rows], y[:rows])
    assert list(fast._steps) == [("_make_few_rows", rows) for rows in range(22, 30)]
    kept = dict(fast._steps)
    fast.value_and_grad(x[:25], y[:25])
    assert fast._steps == kept
