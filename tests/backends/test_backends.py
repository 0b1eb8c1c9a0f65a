"""What computes the gradient of a command: chosen by what is measured, or by --backend, with the same results."""

import numpy
import pytest
import torch

from derive.packages.native import faster_from
from derive.problems import Network
from generated import backends, dat, run, train, weights
from generated.ranks import Ranks
from tests.helpers.gate import assert_agree

EPS = 64
PENALIZED = Network((2, 4, 1), reduction="mean", penalty="0.05*w**2")


def gradients(folder) -> list[torch.Tensor]:
    return [torch.from_numpy(g) for g in dat.read(folder / "my_autograd.dat", numpy.float32).values()]


@pytest.mark.parametrize("points", [3, 30])
def test_each_backend_gives_the_gradient_and_the_readable_one_its_bits(points, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 20)
    found = {}
    for backend in (None, *backends.BACKENDS):
        chosen = [] if backend is None else ["--backend", backend]
        assert run.main([*chosen, "--points", str(points), "--compare", "--out", str(tmp_path)]) == 0
        found[backend] = gradients(tmp_path)
    for backend in backends.BACKENDS:
        assert_agree(found[backend], found[None], EPS)
    same = "torch" if points <= run.BLOCK else "native"
    assert all(torch.equal(a, b) for a, b in zip(found[None], found[same], strict=True))


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_each_backend_trains_the_same_network(backend, tmp_path):
    options = ["--epochs", "3", "--points", "50", "--dtype", "float64"]
    for name, chosen in (("a.pt", []), ("b.pt", ["--backend", backend])):
        assert train.main([*options, *chosen, "--out", str(tmp_path / name)]) == 0
    assert_agree(*(weights.load(tmp_path / name, torch.float64) for name in ("a.pt", "b.pt")), 1e4)


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_the_penalty_is_in_the_gradient_of_rows_or_left_out(backend, emitted):
    module, of_rows = emitted(PENALIZED, "backends"), emitted(Network((2, 4, 1), reduction="mean"))
    parameters, x, y = emitted(PENALIZED, "run").sample(5, 12, torch.float64)
    for penalty, readable in ((True, emitted(PENALIZED)), (False, of_rows)):
        of = module.gradient_by(backend, parameters, 12, emitted(PENALIZED, "ranks").Ranks("cpu"), penalty=penalty)
        loss, gradient = of.value_and_grad(x, y)
        expected, exact = readable.value_and_grad(parameters, x, y)
        assert_agree([loss, *gradient], [expected, *exact], EPS)


def test_native_is_chosen_where_layers_are_narrow_on_a_processor(emitted, monkeypatch):
    layers = [(2, 10, 1), (8, 48, 48, 1), (8, 60, 60, 1), (2, 280, 280, 1), (2, 300, 300, 1), (48, 1), (49, 1)]
    assert [faster_from(Network(sizes)) for sizes in layers] == [1, 1, 512, 512, None, 1, None]
    assert faster_from(Network(activation="sin(z)")) == 1
    parameters, here, there = run.sample(5, 1, torch.float32)[0], Ranks("cpu"), Ranks("meta")

    def kind(rows: int, ranks: Ranks) -> str:
        return type(backends.gradient_by(None, parameters, rows, ranks)).__name__

    assert kind(1, here) == "NativeGradient" and kind(1, there) == "FastGradient"
    for least, expected in ((None, "FastGradient"), (512, "FastGradient"), (511, "NativeGradient")):
        monkeypatch.setattr(backends, "FASTER_FROM", least)
        assert kind(511, here) == expected
    with pytest.raises(ValueError, match=r"^--backend native: computes on the CPU, not on meta; fast computes there$"):
        backends.gradient_by("native", parameters, 1, there)


@pytest.mark.parametrize("rank", [0, 1])
def test_where_nothing_compiles_the_first_process_says_so_in_one_line(rank, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    backends.NativeGradient.__init__.__globals__["_library"].cache_clear()
    parameters, x, y = run.sample(5, 3, torch.float32)
    for _ in range(2):
        of = backends.gradient_by("native", parameters, 3, Ranks("cpu"))
    assert_agree([*of.value_and_grad(x, y)[1]], [*run.value_and_grad(parameters, x, y)[1]])
    backends.NativeGradient.__init__.__globals__["_library"].cache_clear()
    said = f"python -m generated: warning: network.c is not compiled: there is no compiler {tmp_path / 'none'}; "
    expected = f"{said}install one, or name one in CC; fast.py computes instead\n"
    assert capsys.readouterr().err == ("" if rank else expected)
