"""Training without autograd, and the weights that it leaves."""

import os
import pickle
import re
import sys

import pytest
import torch

from derive.problems.network import Network
from generated import backends, backward, dat, reference, run, train, weights
from generated.ranks import Ranks
from tests.helpers.gate import assert_agree, sequential

SHORT = ["--epochs", "3", "--points", "50", "--batch", "16"]


@pytest.mark.parametrize("optimizer", train.OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_loss_curve_is_that_of_a_twin_trained_with_autograd(optimizer, dtype):
    lr, epochs = {"adam": 0.01, "sgd": 0.001}[optimizer], 12
    drawn, x, y = run.sample(5, 100, dtype)
    net = drawn.to_module(reference.Net(dtype))
    mine = backends.ReadableGradient(drawn)
    step = train.OPTIMIZERS[optimizer](list(mine.parameters), lr=lr)
    with torch.inference_mode():
        curve = list(train.fit(mine, x, y, step, train.batches(100, 16, epochs, 5), Ranks("cpu")))

    twin, theirs = train.OPTIMIZERS[optimizer](net.parameters(), lr=lr), []
    for epoch in train.batches(100, 16, epochs, 5):
        total = torch.zeros((), dtype=dtype)
        for rows in epoch:
            twin.zero_grad()
            loss = torch.nn.functional.mse_loss(net(x[rows]), y[rows], reduction="sum")
            loss.backward()
            twin.step()
            total += loss.detach()
        theirs.append(total.item() / len(epoch))
    assert curve == theirs
    assert curve[-1] < curve[0]
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters, net.parameters(), strict=True))


def test_an_epoch_has_each_point_once():
    for epoch in train.batches(10, 4, 3, 1):
        assert [len(rows) for rows in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))


def test_training_fits_and_is_reproducible(tmp_path, capsys):
    before = torch.get_rng_state()
    for name in ("a.pt", "b.pt"):
        assert train.main(["--epochs", "60", "--points", "200", "--out", str(tmp_path / name)]) == 0
    assert torch.equal(before, torch.get_rng_state())
    first, second = (weights.load(tmp_path / name, torch.float32) for name in ("a.pt", "b.pt"))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    _, x, y = run.sample(99, 500, torch.float32)
    assert (backward.forward(first, x) - y).abs().max() < 0.2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_run_takes_the_weights_that_train_saved(dtype, tmp_path, capsys):
    path = tmp_path / "w.pt"
    assert train.main([*SHORT, "--dtype", dtype, "--out", str(path)]) == 0
    net = reference.Net(run.DTYPES[dtype])
    net.load_state_dict(torch.load(path, weights_only=True))
    flags = ["--points", "20", "--dtype", dtype, "--out", str(tmp_path)]
    assert run.main([*flags, "--weights", str(path), "--compare"]) == 0
    _, x, y = run.sample(127, 20, run.DTYPES[dtype])
    loss = torch.nn.functional.mse_loss(net(x), y, reduction="sum").item()
    assert f"loss {loss:.9g}, 20 points" in capsys.readouterr().out


def test_run_takes_any_sequential(tmp_path):
    net = sequential(Network())
    torch.save(net.state_dict(), tmp_path / "w.pt")
    loaded = weights.load(tmp_path / "w.pt", torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(loaded, net.parameters(), strict=True))
    turned = dict(reversed(dict(zip(weights.KEYS, loaded, strict=True)).items()))
    torch.save(turned, tmp_path / "turned.pt")
    turned = weights.load(tmp_path / "turned.pt", torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(loaded, turned, strict=True))


def test_safetensors_hold_the_same_weights(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    parameters, _, _ = run.sample(3, 1, torch.float64)
    path = tmp_path / "w.safetensors"
    weights.save(path, parameters)
    assert all(torch.equal(a, b) for a, b in zip(parameters, weights.load(path, torch.float64), strict=True))
    assert sorted(library.load_file(path)) == sorted(weights.KEYS)
    library.save_file(sequential(Network()).state_dict(), path)
    with pytest.raises(ValueError, match=r"expected the keys fc1.weight, .* got 0.bias, 0.weight, 2.bias, 2.weight, "):
        weights.load(path, torch.float64)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file"):
        weights.load(path, torch.float64)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_are_saved_row_by_row_however_they_lie(suffix, tmp_path):
    pytest.importorskip("safetensors")
    drawn, _, _ = run.sample(3, 1, torch.float64)
    path = tmp_path / f"w.{suffix}"
    weights.save(path, backward.Parameters(*[p.t().contiguous().t().requires_grad_() for p in drawn]))
    loaded = weights.load(path, torch.float64)
    assert all(torch.equal(a, b) and b.is_contiguous() for a, b in zip(drawn, loaded, strict=True))
    assert {value.dtype for value in weights.load(path, torch.float32)} == {torch.float32}
    assert suffix != "pt" or not any(value.requires_grad for value in torch.load(path, weights_only=True).values())


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def without(key: str) -> dict:
    return {name: value for name, value in good().items() if name != key}


def good() -> dict:
    return sequential(Network()).state_dict()


BAD_WEIGHTS = {
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Malicious())), "refused"),
    "hidden pickle": (lambda path: torch.save({**good(), "more": Malicious()}, path), "refused"),
    "missing key": (lambda path: torch.save(without("2.bias"), path), "b2 (10,), W3 (1, 10), b3 (1,), got 0.weight"),
    "extra key": (lambda path: torch.save({**good(), "scale": torch.ones(1)}, path), "4.bias (1,), scale (1,)"),
    "shape": (lambda path: torch.save({**good(), "0.weight": torch.ones(2, 10)}, path), "got 0.weight (2, 10)"),
    "integers": (lambda path: torch.save({**good(), "0.bias": torch.ones(10).int()}, path), "0.bias: expected dense"),
    "no tensor": (lambda path: torch.save({**good(), "0.bias": 3}, path), "0.bias: expected a torch.Tensor, got int"),
    "a list": (lambda path: torch.save(list(good().values()), path), "expected a state_dict, got list"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole file of torch.save"),
    "text": (lambda path: path.write_text("weights"), "refused"),
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "Is a directory"),
    "pipe": (os.mkfifo, "not a file"),
    "huge": (lambda path: (path.touch(), os.truncate(path, 2**40)), "1099511627776 bytes, expected at most"),
    "sparse": (lambda path: torch.save({**good(), "0.bias": torch.ones(10).to_sparse()}, path), "expected dense"),
    "nothing": (lambda path: torch.save({}, path), "b3 (1,), got none"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_refused_in_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make, message = BAD_WEIGHTS[case]
    make(tmp_path / "w.pt")
    before = sorted(tmp_path.iterdir())
    assert run.main(["--weights", "w.pt", "--compare"]) == 2
    error = capsys.readouterr().err
    assert message in error and "w.pt" in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_no_variable_of_the_environment_makes_a_pickle_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({**good(), "more": Malicious()}, "w.pt")
    with pytest.raises(ValueError, match="refused"):
        weights.load(tmp_path / "w.pt", torch.float32)
    assert os.listdir() == ["w.pt"]


def test_half_a_file_is_refused(tmp_path):
    torch.save(good(), tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:700])
    with pytest.raises(ValueError, match=r"w\.pt: "):
        weights.load(tmp_path / "w.pt", torch.float32)


def test_blocks_of_points_take_the_weights_too(tmp_path, monkeypatch):
    torch.save(good(), tmp_path / "w.pt")
    flags = ["--points", "20", "--dtype", "float64", "--weights", str(tmp_path / "w.pt"), "--out", str(tmp_path)]
    results = []
    for block in (run.BLOCK, 7):
        monkeypatch.setattr(run, "BLOCK", block)
        assert run.main(flags) == 0
        results.append([torch.from_numpy(g) for g in dat.read(tmp_path / "my_autograd.dat").values()])
    assert_agree(*results, times=64.0)


BAD_TRAINING = {
    "rate 0": (["--lr", "0"], "expected a positive number, got '0'"),
    "rate nan": (["--lr", "nan"], "expected a positive number"),
    "no batch": (["--batch", "0"], "expected a whole number from 1"),
    "no epochs": (["--epochs", "0"], "expected a whole number from 1"),
    "optimizer": (["--optimizer", "lion"], "lion"),
    "no folder": (["--out", "missing/w.pt"], "missing: No such file or directory"),
    "a folder": (["--out", "."], "expected a name that ends in .pt or .pth or .safetensors, got '.'"),
    "text": (["--out", "w.txt"], "expected a name that ends in .pt or .pth or .safetensors, got 'w.txt'"),
    "a picture of another kind": (["--plot", "p.jpg"], "expected a name that ends in .png, got 'p.jpg'"),
    "no folder for the plot": (["--plot", "missing/p.png"], "missing: No such file or directory"),
    "dtype": (["--dtype", "float16"], "float16"),
    "diverging": (["--lr", "1e9", "--optimizer", "sgd"], "a smaller --lr may help"),
}


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_training_is_refused_in_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags, message = BAD_TRAINING[case]
    try:
        status = train.main([*SHORT, *flags])
    except SystemExit as stopped:
        status = stopped.code
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_place_for_a_file_is_named_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "chosen", None)
    os.mkdir("folder.pt")
    os.symlink("w.pt", "link.png")
    for flags, message in [
        (["--out", "folder.pt"], "folder.pt: Is a directory"),
        (["--out", "w.pt", "--plot", "link.png"], "--plot: link.png is where the weights go; name another file"),
    ]:
        assert train.main([*SHORT, *flags]) == 2
        assert message in capsys.readouterr().err
    assert sorted(os.listdir()) == ["folder.pt", "link.png"]


def test_weights_of_others_are_not_replaced_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    assert train.main(SHORT) == train.main([*SHORT, "--seed", "5"]) == 0
    torch.save(good(), path)
    before = path.read_bytes()
    with monkeypatch.context() as untrained:
        untrained.setattr(train, "chosen", None)
        assert train.main(SHORT) == 2
    assert "weights.pt: not written by this package, or changed since;" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert train.main([*SHORT, "--force"]) == train.main(SHORT) == 0


@pytest.mark.parametrize(
    ("library", "flag", "file"),
    [("matplotlib", "--plot", "p.png"), ("safetensors", "--out", "w.safetensors")],
)
def test_a_missing_extra_is_named_before_training(library, flag, file, tmp_path, monkeypatch, capsys):
    for name in [*(name for name in sys.modules if name.partition(".")[0] == library), library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as untrained:
        untrained.setattr(train, "chosen", None)
        assert train.main([*SHORT, flag, file]) == 2
    assert f"pip install {library}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert train.main(SHORT) == 0


@pytest.mark.parametrize("layers", [(2, 3, 1), (1, 3, 2)], ids=str)
def test_the_plot_is_a_png(layers, tmp_path, emitted):
    pytest.importorskip("matplotlib")
    out = ["--out", str(tmp_path / "w.pt"), "--plot", str(tmp_path / "p.png")]
    assert emitted(Network(layers, activation="tanh"), "train").main([*SHORT, *out]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "w.pt"]


def test_the_bar_fills_on_a_terminal(tmp_path, monkeypatch, capsys):
    assert train.bar(1, 2, 0.5) == f"\r[{'#' * 15}{'.' * 15}] 1/2 loss 0.5  "
    monkeypatch.setattr(train, "on_terminal", lambda: True)
    assert train.main([*SHORT, "--out", str(tmp_path / "w.pt")]) == 0
    shown = re.sub(r"loss \d+(\.\d+)?", "loss L", capsys.readouterr().err)
    assert shown == "".join(train.bar(done, 3, 0).replace("loss 0", "loss L") for done in (1, 2, 3)) + "\n"


ENDS = {"--seed": (0, 2**63 - 1), "--points": (1, 100_000_000), "--batch": (1, 100_000_000), "--epochs": (1, 1_000_000)}


@pytest.mark.parametrize(("module", "flag"), [(train, flag) for flag in ENDS] + [(run, "--seed"), (run, "--points")])
def test_whole_numbers_are_taken_from_the_least_to_the_most(module, flag, capsys):
    for number in ENDS[flag]:
        assert getattr(module.arguments([flag, str(number)]), flag[2:]) == number
    for number in (ENDS[flag][0] - 1, ENDS[flag][1] + 1):
        with pytest.raises(SystemExit):
            module.arguments([flag, str(number)])
        assert "expected a whole number from {} to {}".format(*ENDS[flag]) in capsys.readouterr().err


@pytest.mark.parametrize("module", [run, train], ids=["run", "train"])
def test_help_names_the_defaults_that_are_taken(module, capsys):
    with pytest.raises(SystemExit):
        module.main(["--help"])
    named = dict(re.findall(r"--(\w+) [^(]*\(([\w.]+)\)", " ".join(capsys.readouterr().out.split())))
    taken = vars(module.arguments([]))
    assert len(named) >= 4 and all(str(taken[flag]) == default.replace("here", ".") for flag, default in named.items())
