"""What fast.py keeps in memory, chunks that fill the cache and no more, and whose memory it takes or refuses."""

import copy
import pickle
import re

import pytest
import torch

from derive.problems.network import Network
from generated import backward, reference, run
from generated.backward import Parameters, value_and_grad
from generated.fast import FastGradient
from generated.native import NativeGradient
from tests.helpers.gate import assert_agree
from tests.helpers.networks import LAYOUTS, example

CACHE = 1_200_000


def own_bytes(fast, make, rows: int) -> int:
    """What the buffers of a step take, without what all steps share."""
    shared = {tensor.untyped_storage().data_ptr() for tensor in (fast._point, fast._results, fast._product)}
    cells = [cell.cell_contents for cell in make(rows).__closure__]
    storages = [cell.untyped_storage() for cell in cells if isinstance(cell, torch.Tensor)]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for place, size in sizes.items() if place not in shared)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("network", LAYOUTS, ids=str)
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
        1: {("_make_rows", 1)},
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
    assert list(fast._steps) == [("_make_rows", rows) for rows in range(22, 30)]
    kept = dict(fast._steps)
    fast.value_and_grad(x[:25], y[:25])
    assert fast._steps == kept


@pytest.mark.parametrize("rows", [1, 2048, 2049, 5000])
def test_per_sample_gradients_of_any_number_of_rows_are_those_of_the_readable_module(rows):
    net, x, y = example(Network(), rows)
    fast = FastGradient(net.parameters())
    expected = backward.per_sample_grad(net.parameters(), x, y)
    out = torch.full((151, rows), torch.nan, dtype=torch.float64)
    assert_agree(fast.per_sample_grad(x, y, out), expected, 100)
    each = fast.per_sample_grad(x, y)
    before = [part.clone() for part in each]
    fast.per_sample_grad(x + 1, y)
    assert all(torch.equal(part, same) for part, same in zip(each, before, strict=True))


def test_no_batches_have_no_loss_and_no_gradient():
    net, x, y = example(Network(), 5)
    fast = FastGradient(net.parameters())
    fast.value_and_grad(x, y)
    loss, gradient = fast.accumulate([])
    assert loss == 0 and all((part == 0).all() for part in gradient)


WRONG = "expected (151{}), torch.float64, cpu, got (151{}), torch.float{}, {}"


@pytest.mark.parametrize(("width", "device"), [(32, "cpu"), (64, "meta")])
def test_memory_and_directions_of_another_dtype_or_device_are_refused(width, device):
    net, x, y = example(Network(), 5)
    fast = FastGradient(net.parameters())
    kind = {"dtype": getattr(torch, f"float{width}"), "device": device}
    with pytest.raises(ValueError, match="^out: " + re.escape(WRONG.format(", 5", ", 5", width, device)) + "$"):
        fast.per_sample_grad(x, y, torch.empty(151, 5, **kind))
    for direction in (torch.empty(151, **kind), [torch.empty_like(part, **kind) for part in fast.parameters]):
        with pytest.raises(ValueError, match="^direction: " + re.escape(WRONG.format(",", ",", width, device)) + "$"):
            fast.hvp(x, y, direction)
    message = f"^module: expected torch.float64 on cpu, got torch.float{width} on {device}$"
    with pytest.raises(ValueError, match=message):
        fast.bind(net.to(**kind))


def test_a_parameter_that_does_not_fit_is_named():
    net, x, y = example(Network(), 5)
    *others, b3 = net.parameters()
    message = r"b3: expected shape \(1,\), got \(1, 1\)$"
    with pytest.raises(ValueError, match=f"^{message}"):
        FastGradient([*others, b3[None]])
    with pytest.raises(ValueError, match=rf"^direction\.{message}"):
        FastGradient(net.parameters()).hvp(x, y, [*others, b3[None]])


def test_buffers_lie_where_the_parameters_do_and_fit_what_is_put_there(capfd):
    def results(rows, default):
        net, x, y = example(Network(), rows)
        with torch.device(default):
            fast = FastGradient(net.parameters())
            calls = (
                fast.value_and_grad(x, y, True),
                fast.per_sample_grad(x, y),
                fast.hvp(x, y, list(net.parameters())),
            )
        return calls[0][0], *(part for call in (calls[0][1], *calls[1:]) for part in call)

    for rows in (1, 5, 300):
        pairs = zip(results(rows, "meta"), results(rows, "cpu"), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
    assert capfd.readouterr().err == ""  # torch warns there where a result does not fit


def test_rows_may_be_of_a_class_of_their_own():
    net, x, y = example(Network(), 5)
    fast = FastGradient(net.parameters())
    loss, gradient = fast.value_and_grad(x, y, copy=True)
    again = fast.value_and_grad(torch.nn.Parameter(x), torch.nn.Parameter(y))
    assert loss == again[0] and all(torch.equal(*pair) for pair in zip(gradient, again[1], strict=True))


def test_nothing_is_recorded():
    net, x, y = example(Network(), 5)
    fast = FastGradient(net.parameters())
    x.requires_grad_()
    given = list(net.parameters())
    results = (fast.value_and_grad(x, y, copy=True), fast.per_sample_grad(x, y), fast.hvp(x, y, given))
    flat = fast.hvp(x, y, fast.flat_parameters.clone().requires_grad_())
    assert "grad" not in repr((results, flat, fast.accumulate([(x, y)])))  # neither grad_fn nor requires_grad


def test_a_loop_with_zero_grad_trains_as_autograd_does():
    """zero_grad sets .grad to None, which took the gradient from the optimizer in silence."""
    parameters, x, y = run.sample(3, 20, torch.float64)
    net, twin = (parameters.to_module(reference.Net(torch.float64)) for _ in range(2))
    fast = FastGradient(net.parameters())
    fast.bind(net)
    mine, theirs = (torch.optim.SGD(module.parameters(), 1e-3, momentum=0.9) for module in (net, twin))
    for step in range(5):
        mine.zero_grad()
        loss, _ = fast.accumulate([(x, y)]) if step % 2 else fast.value_and_grad(x, y)
        mine.step()
        theirs.zero_grad()
        expected = torch.nn.functional.mse_loss(twin(x), y, reduction="sum")
        expected.backward()
        theirs.step()
        assert_agree([loss], [expected.detach()])
    assert_agree([p.detach() for p in net.parameters()], [p.detach() for p in twin.parameters()], 64)
    assert all(p.grad is g for p, g in zip(net.parameters(), fast.gradient, strict=True))


def test_a_gradient_of_before_is_not_put_back_by_other_calls():
    parameters, x, y = run.sample(3, 4, torch.float64)
    net = parameters.to_module(reference.Net(torch.float64))
    fast = FastGradient(net.parameters())
    fast.bind(net)
    net.zero_grad()
    fast.hvp(x, y, list(parameters))
    fast.per_sample_grad(x, y)
    assert all(p.grad is None for p in net.parameters())


CALLS = {
    "value_and_grad": lambda fast, x, y: fast.value_and_grad(x, y),
    "accumulate": lambda fast, x, y: fast.accumulate([(x, y)]),
    "per_sample_grad": lambda fast, x, y: fast.per_sample_grad(x, y),
    "hvp": lambda fast, x, y: fast.hvp(x, y, torch.ones_like(fast.flat_parameters)),
}
MOVES = {
    "another bind": lambda net: FastGradient(net.parameters()).bind(net),
    "a move": lambda net: net.float(),
    "one parameter": lambda net: setattr(net.fc2.bias, "data", net.fc2.bias.data.clone()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("move", MOVES)
def test_stale_parameters_are_not_computed_with(move, call):
    parameters, x, y = run.sample(3, 4, torch.float64)
    net = parameters.to_module(reference.Net(torch.float64))
    fast = FastGradient(net.parameters())
    fast.bind(net)
    MOVES[move](net)
    with pytest.raises(
        ValueError, match="the bound module has other parameters now, by a move or another bind; bind it"
    ):
        CALLS[call](fast, x, y)
    net.double()
    fast.bind(net)
    CALLS[call](fast, x, y)


@pytest.mark.parametrize("of", [FastGradient, NativeGradient])
def test_parameters_whose_data_somebody_has_exchanged_are_refused(of):
    """Their storage is no longer the vector's, which was computed with in silence."""
    parameters, x, y = run.sample(3, 4, torch.float64)
    for name in ("flat_parameters", *Parameters._fields):
        mine = of(parameters)
        mine.value_and_grad(x, y)
        exchanged = mine.flat_parameters if name == "flat_parameters" else getattr(mine.parameters, name)
        exchanged.data = torch.ones_like(exchanged)
        for call in CALLS.values():
            with pytest.raises(ValueError, match=rf"^{name}: its \.data is not what .*; copy_ puts values there"):
                call(mine, x, y)


@pytest.mark.parametrize("of", [FastGradient, NativeGradient])
def test_a_gradient_whose_data_somebody_has_exchanged_is_put_back(of):
    parameters, x, y = run.sample(3, 4, torch.float64)
    net = parameters.to_module(reference.Net(torch.float64))
    mine = of(net.parameters())
    mine.bind(net)
    mine.value_and_grad(x, y)
    for parameter in net.parameters():
        parameter.grad.data = parameter.grad.clamp(-1, 1)
    mine.value_and_grad(x, y)
    assert_agree([p.grad for p in net.parameters()], value_and_grad(parameters, x, y)[1], 64)


def test_a_second_module_is_not_bound_over_the_first():
    nets = [reference.Net(), reference.Net()]
    fast = FastGradient(nets[0].parameters())
    fast.bind(nets[0])
    fast.bind(nets[0])
    before = [p.clone() for p in nets[0].parameters()]
    with pytest.raises(ValueError, match="bound to another"):
        fast.bind(nets[1])
    assert all(map(torch.equal, before, nets[0].parameters()))


def test_what_belongs_to_the_object_is_neither_replaced_nor_copied_in_silence():
    fast = FastGradient(run.sample(3, 1, torch.float64)[0])
    for name in ("parameters", "gradient", "flat_parameters", "flat_gradient"):
        with pytest.raises(AttributeError, match=rf"^{name}: stays .*; {name}.copy_\(value\) puts values there"):
            setattr(fast, name, torch.zeros(151, dtype=torch.float64))
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"^FastGradient: cannot be copied or pickled; FastGradient\("):
            copied(fast)


@pytest.mark.parametrize("call", CALLS)
def test_data_in_what_is_overwritten_is_refused(call):
    parameters, x, y = run.sample(3, 5, torch.float64)
    fast = FastGradient(parameters)
    loss, gradient = fast.value_and_grad(x, y)
    for a, b, name in (
        (gradient.W1[:5], y, "x"),
        (x, gradient.W1[:5, :1], "y"),
        (x[:1], loss.view(1, 1), "y"),
        (x, gradient.b1[:5, None].detach(), "y"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: shares memory with .*; {name}.clone\(\) has its own"):
            CALLS[call](fast, a, b)
    CALLS[call](fast, fast.parameters.W1, fast.parameters.W1[:, :1])


def test_a_product_that_is_the_next_data_is_refused_and_may_be_the_next_direction():
    parameters, x, y = run.sample(3, 5, torch.float64)
    fast = FastGradient(parameters)
    product = fast.hvp(x, y, list(parameters))
    with pytest.raises(ValueError, match=r"^x: shares memory with the results"):
        fast.hvp(product.W1[:5], y, list(parameters))
    twice = backward.hvp(parameters, x, y, backward.hvp(parameters, x, y, parameters))
    assert_agree(fast.hvp(x, y, product), twice, 256)


def test_per_sample_gradients_are_put_nowhere_else():
    parameters, x, y = run.sample(3, 1, torch.float64)
    fast = FastGradient(parameters)
    room = torch.zeros(151 + 3, 1, dtype=torch.float64)
    room[151:153, 0], room[153] = x[0], y[0]
    inside = room[151:153].view(1, 2), room[153:]
    for out, data, other in (
        (fast.flat_parameters.view(151, 1), (x, y), "parameters"),
        (fast.flat_gradient.view(151, 1), (x, y), "the results of the call before"),
        (room[1:152], inside, "x"),
        (room[3:], inside, "x"),
    ):
        with pytest.raises(ValueError, match=f"^out: shares memory with {other}; "):
            fast.per_sample_grad(*data, out=out)
    assert_agree(fast.per_sample_grad(*inside, out=room[:151]), backward.per_sample_grad(parameters, x, y), 64)
