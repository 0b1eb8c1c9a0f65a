"""The parts of a run: the table, autograd in parts, blocks of points, and this process among others."""

import argparse
import os
from datetime import timedelta

import numpy
import pytest
import torch

from derive.problems.network import Network
from generated import backward, dat, ranks, reference, run, weights
from generated.fast import FastGradient
from generated.ranks import Ranks
from tests.helpers.gate import assert_agree, distance


def test_the_table_shows_the_largest_differences_and_judges_each_entry():
    right = {"a": numpy.array([[1.0, -2.0]]), "b": numpy.array([4.0]), "c": numpy.array([1.0, 8.0])}
    mine = {"a": right["a"], "b": right["b"] + 2**-50, "c": right["c"] + [0.5, 1.0]}
    table, agree = run.compare(mine, right)
    assert not agree
    assert table.splitlines() == [
        "gradient  shape  bits    max abs   max rel   max ulp   error/allowed  verdict",
        "a         1x2    equal   0         0         0         0              ok",
        "b         1      differ  8.88e-16  2.22e-16  1         0.0625         ok",
        "c         2      differ  1         0.5       2.25e+15  1.41e+14       WRONG",
    ]
    assert run.compare({"c": right["c"][:1]}, {"c": right["c"]})[0].endswith(
        "c         2      differ  -        -        -        -              shape 1"
    )
    assert run.compare({"a": right["a"]}, {"b": right["b"]}) == ("different gradients: a and b", False)


DTYPES = [numpy.float32, numpy.float64]
SCALES = {"tiny": 1.0, "a square vanishes": 0.6, "one": 0.0, "a square overflows": -0.6, "huge": -1.0}
inf, nan = numpy.inf, numpy.nan


def judged(g: list | numpy.ndarray, r: list | numpy.ndarray, dtype: type) -> str:
    """The verdict of run and, the same, of the gate of the tests."""
    g, r = numpy.array(g, dtype), numpy.array(r, dtype)
    table, agree = run.compare({"a": g}, {"a": r})
    assert agree is (distance(torch.from_numpy(g), torch.from_numpy(r)) <= run.GATE)
    verdict = table.splitlines()[1].rpartition("  ")[2]
    assert agree is (verdict == "ok")
    return verdict


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
def test_sixteen_eps_agree_and_seventeen_do_not_whatever_the_size_of_the_numbers(scale, dtype):
    size, eps = dtype(2.0 ** int(SCALES[scale] * numpy.finfo(dtype).minexp)), numpy.finfo(dtype).eps
    for times, verdict in ((0, "ok"), (16, "ok"), (17, "WRONG")):
        assert judged([size * (1 + dtype(times) * eps), 0], [size, 0], dtype) == verdict
    right = size * numpy.linspace(-1, 1, 50, dtype=dtype)
    for index in (0, 7, 49):
        off = right.copy()
        off[index] *= dtype(0.999)
        assert judged(off, right, dtype) == judged(right, off, dtype) == "WRONG"
    assert judged(right, right, dtype) == "ok"
    assert judged(-right, right, dtype) == judged(right * 0, right, dtype) == judged(right, right * 0, dtype) == "WRONG"


VERDICTS = {
    "zeros": ([0.0, -0.0], [-0.0, 0.0], "ok"),
    "the smallest number of all against zero": ([5e-324], [0.0], "WRONG"),
    "zero against the smallest number of all": ([0.0], [5e-324], "WRONG"),
    "subnormals that are equal": ([5e-324, 1e-310], [5e-324, 1e-310], "ok"),
    "subnormals of opposite sign": ([5e-324], [-5e-324], "WRONG"),
    "far too large": ([1e300], [1e-300], "WRONG"),
    "far too small": ([5.0], [1e200], "WRONG"),
    "the largest of opposite sign": ([1.7e308, 1.7e308], [-1.7e308, 1.7e308], "WRONG"),
    "the same infinity in the same place": ([1.0, inf], [1.0, inf], "not finite"),
    "infinities of opposite sign": ([-inf], [inf], "not finite"),
    "a number for infinity": ([1.0, 2.0], [inf, -7.0], "not finite"),
    "infinity for a number": ([inf], [1.0], "not finite"),
    "the same nan in the same place": ([nan, 1.0], [nan, 1.0], "not finite"),
    "nan for a number": ([nan], [0.0], "not finite"),
    "a number for nan": ([0.0], [nan], "not finite"),
}


@pytest.mark.parametrize("case", VERDICTS)
@pytest.mark.filterwarnings("error")
def test_neither_zero_nor_what_is_not_finite_agrees_with_anything_else(case):
    assert judged(*VERDICTS[case][:2], numpy.float64) == VERDICTS[case][2]
    if "of all" in case or "subnormal" in case:
        g, r = (numpy.array(part) / 5e-324 * 2.0**-149 for part in VERDICTS[case][:2])
        assert judged(g, r, numpy.float32) == VERDICTS[case][2]


def test_a_package_whose_gradients_have_the_wrong_sign_is_wrong_at_any_scale(tmp_path, monkeypatch, capsys):
    """The last weight scales the gradients before it: 1e-23 and 1e11 put their squares out of the range of float32."""
    right, drawn = run.value_and_grad, run.sample(127, 1, torch.float32)[0]

    def wrong(parameters, x, y):
        loss, gradients = right(parameters, x, y)
        return loss, gradients._replace(W1=-gradients.W1)

    for scale in (1e-23, 1.0, 1e11):
        weights.save(tmp_path / "w.pt", drawn._replace(W3=drawn.W3 * scale))
        for function, status in ((right, 0), (wrong, 1)):
            monkeypatch.setattr(run, "value_and_grad", function)
            assert run.main(["--weights", str(tmp_path / "w.pt"), "--compare", "--out", str(tmp_path)]) == status
            assert ("WRONG" in capsys.readouterr().out) is bool(status)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_rounded_numbers_a_unit_of_the_last_decimal_is_allowed_and_two_are_not(dtype, tmp_path):
    def verdict(*numbers: list[float], rounded: bool = True) -> bool:
        paths = [tmp_path / "a.dat", tmp_path / "b.dat"]
        for path, part in zip(paths, numbers, strict=True):
            dat.write(path, dat.format_dat({"W1": numpy.array([part]), "b1": numpy.array([1 / 3])}, rounded))
        return run.compare(*[dat.read(path, dtype) for path in paths], dat.units(*paths) if rounded else None)[1]

    assert verdict([0.0012345, 0.0023], [0.0012346, 0.0023])
    assert not verdict([0.0012345, 0.0023], [0.0012347, 0.0023])
    assert not verdict([0.0012345, 0.0023], [0.0012346, 0.0023], rounded=False)
    assert verdict([1.2345671e-9, 5e-9], [1.2345672e-9, 5e-9])  # which numpy prints as 1.2345671e-09
    assert not verdict([1e-9, 5e-9], [-1e-9, 5e-9])
    assert verdict([1.2345671e9, 5e9], [1.2345672e9, 5e9])
    assert not verdict([1.2345671e9, 5e9], [1.2345999e9, 5e9])


@pytest.mark.parametrize("seed", range(8))
def test_a_rounded_run_agrees_where_the_run_does(seed, tmp_path, emitted, capsys):
    """Each entry of both files is at most one unit of the seventh decimal from the other's."""
    module = emitted(Network((4, 10, 3), loss="cross_entropy", reduction="mean"), "run")
    flags = ["--points", "100", "--seed", str(seed), "--compare", "--rounded", "--out", str(tmp_path)]
    assert module.main(flags) == 0, capsys.readouterr().out


@pytest.mark.parametrize("dtype", run.DTYPES.values(), ids=str)
def test_what_noise_allows_is_said_where_it_is_half_of_the_digits(dtype):
    eps, r = torch.finfo(dtype).eps, numpy.full(3, 2.0, getattr(numpy, str(dtype)[6:]))
    cases = (
        (40 * eps, 0.0, "WRONG"),
        (40 * eps, 30 * eps, "ok"),
        (0.1, 0.05, "WRONG"),
        (0.1, 0.2, "noise"),
        (eps**0.5 / 2, 1.0, "ok"),
    )
    for off, move, verdict in cases:
        table, agree = run.compare({"a": r + r.dtype.type(off)}, {"a": r}, None, {"a": r}, {"a": 0 * r + move})
        assert (table.split()[-1], agree) == (verdict, verdict != "WRONG")
        assert run.but_for_noise(table) == ", but for what is noise" * (verdict == "noise")
    drawn = 3, 50, dtype, (), "cpu", 50
    for own, g in zip(reference.noise(*drawn), reference.gradients(*drawn), strict=True):
        assert own.shape == g.shape and eps / 4 < own.max() / g.abs().max() < 64 * eps
    for one, other in zip(reference.gradients(*drawn, moved=7), reference.gradients(*drawn, moved=7), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("dtype", "backend", "seed"), [("float32", "fast", "0"), ("float64", "native", "52")])
def test_what_autograd_loses_by_itself_is_noise(dtype, backend, seed, emitted, tmp_path, capsys):
    """In float32 its tanhshrink has three digits there, of which moves of an ulp show nothing, nor in float64."""
    package = emitted(Network((2, 3, 2), "tanhshrink", loss="poisson_nll_loss"), "run")
    flags = ["--dtype", dtype, "--seed", seed, "--backend", backend, "--compare", "--out", str(tmp_path)]
    assert package.main(flags) == 0
    assert "dLdb1     3      differ" in capsys.readouterr().out


@pytest.mark.parametrize("points", [1, 50])
def test_noise_of_the_column_of_an_input_is_beside_that_input(points):
    parameters, x, y = run.sample(3, points, torch.float32)
    parameters.W1[:, 0] *= 1e-7
    drawn, x = (3, points, torch.float32, parameters, "cpu", points), x * torch.tensor([1e7, 1e-2])
    noise, right = (of(*drawn, data=(x, y))[0] for of in (reference.noise, reference.gradients))
    assert (noise < 1e-5 * right.abs().amax(0)).all()
    x[:, 1] = 0
    assert (reference.noise(*drawn, data=(x, y))[0][:, 1] < 1e-37).all()


@pytest.mark.parametrize("points", [1, 50, 700])
def test_the_size_of_an_entry_is_what_the_points_add_to_it(points):
    """Of up to 256 groups each, which are single points here where there are so few."""
    drawn = 3, points, torch.float64, (), "cpu", points
    parameters, x, y = run.sample(3, points, torch.float64)
    each = backward.per_sample_grad(parameters, x, y)
    for size, one, whole in zip(reference.sizes(*drawn), each, reference.gradients(*drawn), strict=True):
        groups = [group.sum(0).abs() for group in one.split(-(-points // reference.GROUPS))]
        torch.testing.assert_close(size, sum(groups), rtol=1e-12, atol=0)
        assert (size >= whole.abs() * (1 - 1e-12)).all()


CANCELLING = {  # points of which the gradients take each other away, but for rounding
    "pairs": (Network((2, 3, 1), "tanh", loss="squared_error"), lambda p, x: p + torch.tensor([[0.3], [-0.3]])),
    "nearly fitted": (Network((2, 3, 1), "tanh", reduction="mean"), lambda p, x: p + 1e-7 * x[..., :1]),
    "in part": (Network((2, 3, 1), "tanh", reduction="mean"), lambda p, x: p + torch.tensor([[0.3], [-0.25]])),
    "wide": (Network((3, 40, 2), "silu", loss="huber_loss"), lambda p, x: p + torch.tensor([[0.3, 1], [-0.2, -1]])),
    "saturated": (
        Network((2, 3, 1), "tanh", "sigmoid", "binary_cross_entropy"),
        lambda p, x: (p > 0.5) * torch.ones(1),
    ),
}


@pytest.mark.parametrize("dtype", run.DTYPES)
@pytest.mark.parametrize("name", CANCELLING)
def test_right_gradients_that_cancel_agree_and_no_entry_that_is_wrong_does(
    name, dtype, tmp_path, emitted, monkeypatch, capsys
):
    """With each backend. Wrong is the smallest entry of which a thousandth is too much, by that or in its sign."""
    network, targets = CANCELLING[name]
    module, readable, reference, weights = (emitted(network, f) for f in ("run", "backward", "reference", "weights"))
    torch.manual_seed(5)
    shapes = readable.SHAPES.values()
    parameters = readable.Parameters(*(torch.randn(shape, dtype=module.DTYPES[dtype]) for shape in shapes))
    x = torch.randn(20, network.layers[0], dtype=module.DTYPES[dtype]).repeat_interleave(2, 0)
    half = targets(readable.forward(parameters, x).view(20, 2, -1), x.view(20, 2, -1))
    y = half.reshape(40, -1).to(x.dtype)
    numpy.savez(tmp_path / "points.npz", x=x.numpy(), y=y.numpy())
    weights.save(tmp_path / "w.pt", parameters)
    flags = ["--weights", str(tmp_path / "w.pt"), "--data", str(tmp_path / "points.npz"), "--compare", "--force"]
    flags += ["--dtype", dtype, "--out", str(tmp_path)]
    for backend in (None, "torch", "fast", "native"):
        assert module.main(flags + ["--backend", backend] * bool(backend)) == 0, capsys.readouterr().out

    drawn = 0, 40, module.DTYPES[dtype], parameters, "cpu", 40
    right = reference.gradients(*drawn, data=(x, y))
    limits = zip(reference.sizes(*drawn, data=(x, y)), reference.noise(*drawn, data=(x, y)), strict=True)
    allowed = [16 * (torch.finfo(size.dtype).eps * size + moves) for size, moves in limits]
    loss, gradient = readable.value_and_grad(parameters, x, y)
    tried = 0
    for place, (r, limit) in enumerate(zip(right, allowed, strict=True)):
        judged = torch.where(r.abs() > 2000 * limit, r.abs(), inf).flatten()
        for factor in (1.001, -1) if judged.min() < inf else ():
            wrong = [part.clone() for part in gradient]
            wrong[place].view(-1)[judged.argmin()] *= factor
            monkeypatch.setattr(module, "value_and_grad", lambda *_, wrong=wrong: (loss, readable.Parameters(*wrong)))
            assert module.main(flags) == 1
            assert capsys.readouterr().out.count("WRONG") == 1
            tried += 1
    assert tried or (name == "pairs" if dtype == "float64" else name in ("pairs", "nearly fitted"))


def test_files_of_others_are_not_replaced_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "my_autograd.dat", tmp_path / "torch_autograd.dat"]
    for flags in (["--compare"], ["--seed", "5", "--rounded"], ["--points", "20", "--compare"]):
        assert run.main(flags) == 0
    theirs = paths[0].read_text().replace("1", "2", 1)
    for path in paths:
        right = path.read_bytes()
        path.write_text(theirs)
        assert run.main(["--compare"]) == 2
        expected = f"python -m generated.run: {path.name}: not written by this package, or changed since; "
        assert capsys.readouterr().err == f"{expected}--against compares with it, and --force replaces it\n"
        assert path.read_text() == theirs
        path.write_bytes(right)
        assert run.main(["--points", "20", "--compare"]) == 0  # somebody else's with the same content
    paths[0].write_text(theirs)
    assert run.main(["--compare", "--force"]) == run.main(["--compare", "--seed", "1"]) == 0


def test_what_is_no_place_for_a_file_is_named_before_computing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "draw", None)
    (tmp_path / "torch_autograd.dat").mkdir()
    for folder, message in ((tmp_path / "none", "none: No such"), (tmp_path, "torch_autograd.dat: Is a directory")):
        assert run.main(["--compare", "--out", str(folder)]) == 2
        assert message in capsys.readouterr().err


def test_one_point_is_no_points(tmp_path, capsys):
    for points, said in ((1, "1 point, seed"), (2, "2 points, seed")):
        assert run.main(["--points", str(points), "--compare", "--out", str(tmp_path)]) == 0
        assert said in capsys.readouterr().out


def test_blocks_of_many_points_agree_with_autograd_in_parts(tmp_path, monkeypatch, capsys):
    """Over 100,000 points at once autograd is some 30 eps from the truth, and blocks that are right would be WRONG."""
    monkeypatch.setattr(run, "value_and_grad", None)
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    for dtype in run.DTYPES:
        assert run.main(["--points", "100000", "--compare", "--dtype", dtype, "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(("factor", "status", "said"), [(1, 0, "all"), (2, 1, "NOT all")])
def test_the_exit_status_says_whether_the_gradients_agree(factor, status, said, monkeypatch, tmp_path, capsys):
    def scaled(parameters, x, y):
        loss, gradients = FastGradient(parameters).value_and_grad(x, y)
        return loss, [gradient * factor for gradient in gradients]

    monkeypatch.setattr(run, "value_and_grad", scaled)
    assert run.main(["--compare", "--points", "3", "--dtype", "float64", "--out", str(tmp_path)]) == status
    assert capsys.readouterr().out.splitlines()[-1] == f"{said} gradients agree"


@pytest.mark.parametrize("rows", [1, 7, 49, 50, 60])
def test_autograd_in_parts_gives_what_it_gives_at_once(rows):
    weights = run.sample(9, 1, torch.float64)[0]
    for given in ((), weights):
        whole = reference.gradients(3, 50, torch.float64, given)
        assert_agree(reference.gradients(3, 50, torch.float64, given, rows=rows), whole, 64)
    assert {gradient.dtype for gradient in reference.gradients(3, 50, rows=rows)} == {torch.float32}


def test_autograd_in_parts_takes_so_many_rows_at_a_time_and_adds_in_float64(monkeypatch):
    taken, real = [], reference._gradients
    monkeypatch.setattr(reference, "_gradients", lambda net, x, y: taken.append(len(x)) or real(net, x, y))
    reference.gradients(3, 50, rows=7)
    assert taken == [7] * 7 + [1]

    def pennies(net, x, y):
        return [torch.full_like(parameter, 0.1) for parameter in net.parameters()]

    monkeypatch.setattr(reference, "_gradients", pennies)
    for gradient in reference.gradients(3, 2000, rows=1):
        assert torch.equal(gradient, torch.full_like(gradient, 2000 * torch.tensor(0.1).item()))


def test_the_module_is_of_float32_as_those_of_torch_are():
    assert {parameter.dtype for parameter in reference.Net().parameters()} == {torch.float32}
    assert {gradient.dtype for gradient in reference.gradients(3, 2)} == {torch.float32}


@pytest.mark.parametrize("points", [1, 10, 25])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_loss_and_gradient_of_blocks_are_those_of_all_points(reduction, points, emitted, monkeypatch):
    network = Network(reduction=reduction)
    module = emitted(network, "run")
    monkeypatch.setattr(module, "BLOCK", 10)
    parameters, generator = module.draw(5, torch.float64)
    loss, gradient = module.gradient_of_blocks(points, parameters, generator, Ranks("cpu"))
    expected = emitted(network).value_and_grad(*module.sample(5, points, torch.float64))
    assert_agree([loss, *gradient], [expected[0], *expected[1]], 64)


@pytest.mark.parametrize("watched", [False, True])
def test_blocks_are_counted_where_somebody_watches(watched, monkeypatch, capsys):
    monkeypatch.setattr(run, "BLOCK", 10)
    monkeypatch.setattr(run, "on_terminal", lambda: watched)
    run.gradient_of_blocks(25, *run.draw(5, torch.float64), Ranks("cpu"))
    bars = [(12, " 40%"), (24, " 80%"), (30, "100%")]
    assert capsys.readouterr().err == "".join(f"\r[{'#' * n:30}] {percent}" for n, percent in bars if watched)


def test_the_processes_share_all_blocks(monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 10)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(Ranks, "add", lambda self, tensor: None)
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parameters, generator = run.draw(5, torch.float64)
        loss, gradient = run.gradient_of_blocks(45, parameters, generator, Ranks("cpu"))
        parts.append([loss, *gradient])
    expected = run.value_and_grad(*run.sample(5, 45, torch.float64))
    assert_agree([sum(part) for part in zip(*parts, strict=True)], [expected[0], *expected[1]], 64)


def test_the_shares_of_all_processes_are_the_rows(monkeypatch):
    rows, shares = torch.arange(20).view(10, 2), []
    assert torch.equal(Ranks("cpu").share(rows), rows)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(Ranks("cpu").share(rows))
        assert Ranks("cpu").first == (rank == 0)
    assert torch.equal(torch.cat(shares), rows)
    assert [len(share) for share in shares] == [4, 3, 3]


def test_what_torchrun_sets_is_taken_within_bounds_and_named_beyond(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1000000")
    monkeypatch.setenv("RANK", "999999")
    assert (Ranks("cpu").rank, Ranks("cpu").size) == (999999, 1000000)
    for text in ("0", "1000001", "-1", "", "two", os.fsdecode("٣".encode()), "1" * 50):
        monkeypatch.setenv("WORLD_SIZE", text)
        with pytest.raises(ValueError) as refused:
            Ranks("cpu")
        expected = "a whole number from 1 to 1000000, as torchrun sets it"
        assert str(refused.value) == f"WORLD_SIZE: expected {expected}, got {text[:40]!r}"


def test_one_process_under_torchrun_is_in_a_group_until_it_is_done(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    with Ranks("cpu") as alone:
        assert torch.distributed.get_backend() == "gloo"
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
        tensor = torch.ones(3)
        alone.add(tensor)
        assert torch.equal(tensor, torch.full((3,), 2.0))
    assert not torch.distributed.is_initialized()


def test_each_process_has_a_device_of_its_own(monkeypatch):
    started = []
    monkeypatch.setattr(torch.cuda, "set_device", started.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: started.append((a, k)))
    assert [str(Ranks(name).device) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda:0", "cuda:1"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [str(Ranks(name).device) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda:3", "cuda:3"]
    Ranks("cuda").__enter__()
    Ranks("cpu").__enter__()
    patience = {"timeout": timedelta(minutes=5)}
    assert started == [torch.device("cuda:3"), (("nccl",), patience), (("gloo",), patience)]


def test_only_devices_that_torch_sees_are_taken(monkeypatch):
    for count, taken, refused, seen in [
        (0, ["cpu"], ["cuda", "cuda:0", "meta", ""], "cpu"),
        (2, ["cpu", "cuda", "cuda:0", "cuda:1"], ["cuda:2", "mps"], "cpu, cuda:0, cuda:1"),
    ]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [ranks.device(name) for name in taken] == taken
        for name in refused:
            with pytest.raises(argparse.ArgumentTypeError, match=f"^torch sees {seen} here, got '{name}'$"):
                ranks.device(name)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("rows", [2, 10])
def test_the_processes_share_each_step(reduction, rows, emitted, monkeypatch):
    network = Network(reduction=reduction)
    module = emitted(network, "train")
    parameters, x, y = emitted(network, "run").sample(5, 12, torch.float64)
    batch = torch.randperm(12)[:rows]
    monkeypatch.setenv("WORLD_SIZE", "3")
    added, parts = [], []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        ranks = emitted(network, "ranks").Ranks("cpu")
        monkeypatch.setattr(ranks, "add", added.append)
        of = emitted(network, "backends").ReadableGradient(parameters)
        loss, gradients = module.step_gradient(of, x, y, batch, ranks)
        parts.append([loss.clone(), *(part.clone() for part in gradients)])
        assert loss.untyped_storage().data_ptr() == added[-1].untyped_storage().data_ptr()
    expected = emitted(network).value_and_grad(parameters, x[batch], y[batch])
    assert_agree([sum(part) for part in zip(*parts, strict=True)], [expected[0], *expected[1]], 64)
    assert [tensor.shape for tensor in added] == [(network.entries + 1,)] * 3


@pytest.mark.parametrize(
    "network",
    [Network(), Network((3, 4, 2)), Network((3, 4, 3), loss="cross_entropy")],
    ids=["surface", "fit", "classes"],
)
def test_the_picture_shows_the_curve_the_fit_and_the_points(network, emitted, monkeypatch):
    axes, surfaces, points = pytest.importorskip("mpl_toolkits.mplot3d").Axes3D, [], []

    def note_points(axis, *given, color, **look):
        points.append((color, torch.stack([*map(torch.tensor, given)], 1)))

    monkeypatch.setattr(axes, "plot_surface", lambda axis, *given, **look: surfaces.append([*map(torch.tensor, given)]))
    monkeypatch.setattr(axes, "scatter", note_points)
    module = emitted(network, "train")
    figure = module._figure()
    monkeypatch.setattr(module, "_figure", lambda: figure)
    parameters, x, y = emitted(network, "run").sample(5, 600, torch.float64)
    outputs = emitted(network).forward(parameters, x)
    if network == Network():
        y = y - (y - outputs).median() - 1e-6
    assert module.picture([3.0, 2.0, 1.5], parameters, x, y, "adam").startswith(b"\x89PNG\r\n")
    assert figure.get_suptitle() == f"{'-'.join(map(str, network.layers))}, {network.loss}; adam"
    losses, fitted = figure.axes
    assert losses.lines[0].get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]] and losses.get_yscale() == "log"
    assert (losses.get_title(), losses.get_xlabel(), losses.get_ylabel()) == ("loss", "epoch", "mean loss of a batch")
    if network == Network():
        assert (fitted.get_xlabel(), fitted.get_ylabel(), fitted.get_zlabel()) == ("x1", "x2", "y")
        ((first, second, surface),) = surfaces
        grid = torch.stack([first.flatten(), second.flatten()], 1)
        assert_agree([surface.reshape(-1, 1)], [backward.forward(parameters, grid)])
        ticks = [torch.linspace(*column.aminmax(), 41, dtype=torch.float64) for column in x.T]
        assert torch.allclose(grid, torch.cartesian_prod(*ticks), rtol=1e-12)
        shown = torch.cat([x, y], 1)[:500]
        above = shown[:, 2] >= outputs[:500, 0]
        assert [color for color, _ in points] == ["black", "red"]
        assert torch.equal(points[0][1], shown[above]) and torch.equal(points[1][1], shown[~above])
    elif network.loss == "cross_entropy":
        counts = [[sum((y.argmax(1) == c) & (outputs.argmax(1) == d)).item() for d in range(3)] for c in range(3)]
        assert [text.get_text() for text in fitted.texts] == [str(count) for row in counts for count in row]
        assert fitted.get_title() == f"classes, {sum(counts[c][c] for c in range(3)) / 600:.1%} right"
    else:
        assert (fitted.get_title(), fitted.get_xlabel(), fitted.get_ylabel()) == ("fit", "target", "prediction")
        *columns, diagonal = fitted.lines
        for output, line in enumerate(columns):
            assert line.get_marker() == "." and line.get_linestyle() == "None"
            drawn = torch.tensor(line.get_xydata())
            assert torch.equal(drawn, torch.stack([y[:, output], outputs[:, output]], 1))
        assert diagonal.get_xydata().tolist() == [[y.min().item()] * 2, [y.max().item()] * 2]
