"""Bad input: one clear line that names it, and nothing is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from sympy import MatrixSymbol, Symbol, Trace

from derive import build, derivation
from derive.problems.network import Network
from generated import backward, fast, run, train
from tests.helpers.gate import autograd, sequential

ROOT = Path(__file__).parents[2]


@pytest.fixture
def arguments():
    parameters, x, y = run.sample(1, 5, torch.float32)
    return {"parameters": parameters, "x": x, "y": y}


CASTS = r"; x.to\(W1.dtype\) casts"
BAD_TENSORS = {
    "x 1-D": (lambda a: {"x": a["x"][0]}, ValueError, r"x: expected shape \(N, 2\), got \(2,\)"),
    "x 3-D": (lambda a: {"x": a["x"][None]}, ValueError, r"x: expected shape \(N, 2\), got \(1, 5, 2\)"),
    "x features": (lambda a: {"x": torch.rand(5, 3)}, ValueError, r"x: expected shape \(5, 2\), got \(5, 3\)"),
    "x transposed": (lambda a: {"x": a["x"].T}, ValueError, r"x: expected shape \(2, 2\), got \(2, 5\)"),
    "y 1-D": (lambda a: {"y": a["y"][:, 0]}, ValueError, r"y: expected shape \(5, 1\), got \(5,\)"),
    "y rows": (lambda a: {"y": a["y"][:4]}, ValueError, r"y: expected shape \(5, 1\), got \(4, 1\)"),
    "y columns": (lambda a: {"y": a["y"].repeat(1, 2)}, ValueError, r"y: expected shape \(5, 1\), got \(5, 2\)"),
    "x integers": (
        lambda a: {"x": a["x"].long()},
        TypeError,
        rf"x: expected torch.float32 as W1, got torch.int64{CASTS}",
    ),
    "x bool": (lambda a: {"x": a["x"] > 0}, TypeError, rf"x: expected torch.float32 as W1, got torch.bool{CASTS}"),
    "x complex": (lambda a: {"x": a["x"].cfloat()}, TypeError, rf"x: expected torch.float32 as W1, got .*64{CASTS}"),
    "x double": (lambda a: {"x": a["x"].double()}, TypeError, rf"x: expected torch.float32 as W1, got .*64{CASTS}"),
    "W1 double": (
        lambda a: {"parameters": [a["parameters"].W1.double(), *a["parameters"][1:]]},
        TypeError,
        r"b1: expected torch.float64 as W1, got torch.float32; b1.to\(W1.dtype\) casts",
    ),
    "all half": (
        lambda a: {"parameters": [p.half() for p in a["parameters"]], "x": a["x"].half(), "y": a["y"].half()},
        TypeError,
        r"W1: expected dtype torch.float32 or torch.float64, got torch.float16",
    ),
    "device": (
        lambda a: {"x": a["x"].to("meta")},
        ValueError,
        r"x: on meta, but W1: on cpu; x.to\(W1.device\) moves it",
    ),
    "numpy": (
        lambda a: {"x": a["x"].numpy()},
        TypeError,
        r"x: expected a torch.Tensor, got ndarray; torch.from_numpy\(x\) makes one",
    ),
    "nested": (
        lambda a: {"x": torch.nested.nested_tensor([*a["x"]])},
        TypeError,
        "x: expected a dense tensor, got a nested one",
    ),
    "sparse": (lambda a: {"x": a["x"].to_sparse()}, TypeError, r"x: expected a dense .*coo; x.to_dense\(\) makes one"),
    "no dimensions": (lambda a: {"x": a["x"].sum()}, ValueError, r"x: expected shape \(N, 2\), got \(\)"),
    "no columns": (lambda a: {"x": a["x"][:, :0]}, ValueError, r"x: expected shape \(5, 2\), got \(5, 0\)"),
    "text": (lambda a: {"x": "__import__('os').mkdir('canary')"}, TypeError, "x: expected a torch.Tensor, got str"),
    "list": (lambda a: {"y": [[1.0]] * 5}, TypeError, r"y: expected a torch.Tensor, got list"),
    "none": (lambda a: {"x": None}, TypeError, r"x: expected a torch.Tensor, got NoneType"),
    "W1 transposed": (
        lambda a: {"parameters": [a["parameters"].W1.T, *a["parameters"][1:]]},
        ValueError,
        r"W1: expected shape \(10, 2\), got \(2, 10\) - transposed\?",
    ),
    "b1 2-D": (
        lambda a: {"parameters": [a["parameters"].W1, a["parameters"].b1[None], *a["parameters"][2:]]},
        ValueError,
        r"b1: expected shape \(10,\), got \(1, 10\)",
    ),
    "too few": (
        lambda a: {"parameters": a["parameters"][:5]},
        ValueError,
        r"parameters: expected 6 tensors \(W1, b1, W2, b2, W3, b3\), got 5",
    ),
    "a state_dict": (
        lambda a: {"parameters": a["parameters"]._asdict()},
        TypeError,
        r"parameters: expected a sequence of tensors, got str; pass net.parameters\(\), or Parameters.from_module.*",
    ),
    "no sequence": (lambda a: {"parameters": 3}, TypeError, r"parameters: expected a sequence of tensors, got int"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("case", BAD_TENSORS)
def test_bad_tensors_are_refused_and_leave_no_trace(case, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, error, message = BAD_TENSORS[case]
    for function in (backward.value_and_grad, backward.input_grad, backward.per_sample_grad):
        with pytest.raises(error, match=f"^{message}$"):
            function(**{**arguments, **change(arguments)})
    assert os.listdir() == []


FUNCTIONS = {
    "forward": (backward.forward, ("parameters", "x")),
    "value_and_grad": (backward.value_and_grad, ("parameters", "x", "y")),
    "input_grad": (backward.input_grad, ("parameters", "x", "y")),
    "per_sample_grad": (backward.per_sample_grad, ("parameters", "x", "y")),
    "jvp": (backward.jvp, ("parameters", "x", "direction")),
    "hvp": (backward.hvp, ("parameters", "x", "y", "direction")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_refuses_each_wrong_argument_and_records_nothing(name, arguments):
    function, names = FUNCTIONS[name]
    given = {**arguments, "direction": arguments["parameters"]}
    right = {argument: given[argument] for argument in names}
    tracked = {**right, "x": right["x"].clone().requires_grad_()}
    for argument in {"parameters", "direction"} & {*names}:
        tracked[argument] = [part.clone().requires_grad_() for part in right[argument]]
    assert "grad" not in repr(function(**tracked))  # neither grad_fn nor requires_grad
    for argument in names:
        if argument in ("x", "y"):
            wrong = {argument: right[argument][:, :, None]}
            message = rf"{argument}: expected shape \((N|5), [12]\), got \(5, [12], 1\)"
        else:
            wrong = {argument: [*right[argument][:-1], right[argument].b3[0]]}
            message = r"(direction\.)?b3: expected shape \(1,\), got \(\)"
        with pytest.raises(ValueError, match=f"^{message}$"):
            function(**{**right, **wrong})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_what_is_right_is_not_looked_at_twice(rows, dtype, monkeypatch):
    def refuse(*given):
        raise AssertionError("asked why it is wrong")

    parameters, x, y = run.sample(1, rows, dtype)
    gradient = fast.FastGradient(parameters)
    monkeypatch.setattr(backward, "_refuse", refuse)
    backward.forward(parameters, x)
    backward.value_and_grad(iter(parameters), x, y)
    backward.hvp(list(parameters), x, y, parameters)
    backward.jvp(parameters, x, parameters)
    monkeypatch.setattr(fast, "_checked", refuse)
    gradient.value_and_grad(x, y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_is_refused_where_it_would_round(name, arguments):
    function, names = FUNCTIONS[name]
    given = {**arguments, "direction": arguments["parameters"]}
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match=r"^autocast is on, .*enabled=False"):
        function(**{argument: given[argument] for argument in names})


def test_a_module_of_an_expression_refuses_what_the_modules_of_networks_refuse():
    A, b = MatrixSymbol("A", 2, 3), Symbol("b")
    namespace = {}
    exec(derivation(b * Trace(A.T * A), [A]).torch(), namespace)
    a = torch.randn(2, 3)
    for wrong, error, message in (
        (a.to_sparse(), TypeError, r"^A: expected a dense tensor, got torch.sparse_coo; A.to_dense\(\) makes one"),
        (a.half(), TypeError, r"^A: expected dtype .*, got torch.float16"),
        (a.numpy(), TypeError, r"^A: expected a torch.Tensor, got ndarray; torch.from_numpy\(A\) makes one"),
        (a.T, ValueError, r"^A: expected shape \(2, 3\), got \(3, 2\) - transposed"),
    ):
        with pytest.raises(error, match=message):
            namespace["value_and_grad"](A=wrong, b=2)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match=r"^autocast is on"):
            namespace["value_and_grad"](A=a, b=2)
        namespace["value_and_grad"](A=a.double(), b=2)


@pytest.mark.parametrize("network", [Network(), Network((2, 4, 4, 1), "gelu", skip=((1, 2),))], ids=str)
def test_fast_computes_under_autocast_what_it_computes_without(network, emitted):
    parameters = [one.detach() for one in sequential(network, torch.float32).parameters()]
    x, y = torch.randn(6, 2), torch.randn(6, 1)

    def results():
        of = emitted(network, "fast").FastGradient(parameters)
        each = of.per_sample_grad(x, y)
        return [part.clone() for part in (*of.value_and_grad(x, y)[1], *each, *of.hvp(x, y, parameters))]

    want = results()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, results(), want))


def test_another_default_device_at_the_import_does_not_matter():
    code = "import torch; torch.set_default_device('meta'); from generated import backward; "
    code += "torch.set_default_device('cpu'); from generated import run; "
    code += "backward.value_and_grad(*run.sample(1, 5, torch.float64))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_nan_and_inf_are_computed_as_autograd_does(arguments):
    x = arguments["x"].clone()
    x[0, 0], x[1, 1] = float("nan"), float("inf")
    net = sequential(Network(), torch.float32)
    loss, gradients = backward.value_and_grad(net.parameters(), x, arguments["y"])
    for mine, theirs in zip(gradients, autograd(Network(), net, x, arguments["y"]), strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)
    assert loss.isnan() and gradients.W1.isnan().any()


BAD_BUILDS = {
    "unknown activation": (["--activation", "sigmiod"], "did you mean 'sigmoid'?"),
    "unknown output": (["--output-activation", "soft"], "output_activation: no 'soft'"),
    "unknown loss": (["--loss", "mse"], "did you mean 'mse_loss'?"),
    "an activation of a whole row": (
        ["--output-activation", "softmax"],
        "the loss cross_entropy applies softmax by itself",
    ),
    "a loss in two": (["--loss", "nll_loss"], "; the loss cross_entropy is log_softmax and nll_loss in one; known: "),
    "no activation": (["--activation", "linear"], "identity is the name of no activation"),
    "another name": (["--activation", "swish"], "did you mean 'silu'?"),
    "a loss for short": (["--loss", "bce"], "did you mean 'binary_cross_entropy'?"),
    "unknown reduction": (["--reduction", "none"], "reduction: no 'none'; known: sum"),
    "one size": (["--layers", "2"], "layers: needs an input and an output size"),
    "size 0": (["--layers", "2-0-1"], "layers[1]: must be from 1"),
    "negative": (["--layers=-2-1"], "layers: expected whole numbers joined by '-'"),
    "huge": (["--layers", "2-999999999-1"], "layers[1]: must be from 1 to 1000000"),
    "many": (["--layers", "-".join("2" * 300)], "at most 101 sizes"),
    "text": (["--layers", "two"], "layers: expected whole numbers"),
    "unicode digits": (["--layers", os.fsdecode("²-1".encode())], "layers: expected whole numbers"),
    "empty": (["--layers", ""], "layers: expected whole numbers"),
    "unknown flag": (["--layer", "2-1"], "--layer"),
}


def refusal(command, flags, capsys) -> str:
    """The one line with which a command refuses its arguments."""
    try:
        status = command.main(flags)
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr()
    assert (status, said.out, said.err.count("\n")) == (2, "", 1)
    return said.err


@pytest.mark.parametrize("case", BAD_BUILDS)
def test_a_bad_build_says_so_and_writes_nothing(case, tmp_path, capsys):
    flags, message = BAD_BUILDS[case]
    assert message in refusal(build, [*flags, "--out", str(tmp_path / "package")], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([2, True], r"layers\[1\]: must be a whole number, got True"),
        ([2.0, 1], r"layers\[0\]: must be a whole number, got 2.0"),
        (["2", "1"], r"layers\[0\]: must be a whole number, got '2'"),
        ("2-1", r"layers: expected a list of whole numbers, got '2-1'"),
        (7, r"layers: expected a list"),
        ([2, numpy.float32(1)], r"layers\[1\]: must be a whole number"),
    ],
)
def test_a_bad_network_is_refused(layers, message):
    with pytest.raises(TypeError, match=message):
        Network(layers)


BAD_RUNS = {
    "seed -1": ["--seed", "-1"],
    "seed text": ["--seed", "abc"],
    "seed huge": ["--seed", str(2**70)],
    "seed without end": ["--seed", "9" * 5000],
    "no points": ["--points", "0"],
    "negative points": ["--points", "-3"],
    "a billion points": ["--points", "1000000000"],
    "dtype": ["--dtype", "float16"],
    "flag": ["--sed", "1"],
    "no folder": ["--out", "missing/folder"],
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_a_bad_run_says_so_and_writes_nothing(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flag, value = BAD_RUNS[case]
    error = refusal(run, BAD_RUNS[case], capsys)
    assert f"got '{value[:40]}'" in error or re.search(f"(choice: '|arguments: {flag} |run: ){value}", error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [[], ["--points", "0"]], ids=str)
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
@pytest.mark.parametrize("command", [run, train], ids=["run", "train"])
def test_a_variable_that_torchrun_would_not_set_is_named(command, name, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "first")
    error = refusal(command, flags, capsys)
    assert re.search(f"{name}: expected a whole number|got '0'", error)
    assert list(tmp_path.iterdir()) == []


UNFIT = {
    "a rank alone": ({"RANK": "3"}, "RANK: expected a whole number from 0 to 0, as torchrun sets it, got '3'"),
    "a rank too high": ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK: expected a whole number from 0 to 1"),
    "no process": ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE: expected a whole number from 1"),
    "too many": ({"RANK": "0", "WORLD_SIZE": "9" * 5000}, "WORLD_SIZE: expected a whole number from 1"),
    "no port": ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "a"}, "MASTER_PORT: expected a whole number from 0"),
    "a port too high": ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "65536"}, "MASTER_PORT: expected a whole"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.parametrize("command", [run, train], ids=["run", "train"])
def test_variables_that_do_not_fit_each_other_are_refused_at_once(command, case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    variables, message = UNFIT[case]
    for name, text in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", **variables}.items():
        monkeypatch.setenv(name, text)
    assert message in refusal(command, [], capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_left_alone(tmp_path, capsys):
    (tmp_path / "package").write_text("mine")
    assert str(tmp_path / "package") in refusal(build, ["--out", str(tmp_path / "package")], capsys)
    assert (tmp_path / "package").read_text() == "mine"
