"""python -m derive.diagnose on what people have on disk: forms of .dat, numbers of their own, and what it says."""

import csv
import io
import json
from pathlib import Path

import numpy
import pytest
import torch

from derive import build, diagnose
from derive.diagnosis import Misread, named
from derive.diagnosis.diagnosis import is_float32
from derive.diagnosis.written import arrays, parameter_place, with_decimals, without_wrappers
from derive.problems import Network
from derive.system import given_numbers
from generated import dat, run
from tests.helpers.by_hand import ByHand

ROOT = Path(__file__).parents[2]
PACKAGE = str(ROOT / "generated")
POINTS = 4


def seed(points: int = POINTS):
    parameters, x, y = run.sample(127, points, torch.float32)
    return (
        dict(zip(("W1", "b1", "W2", "b2", "W3", "b3"), (p.numpy() for p in parameters), strict=True)),
        x.numpy(),
        y.numpy(),
    )


def gradients(*slips):
    made = ByHand(Network(), set(slips))(*seed())
    return {name: made[name] for name in ("W1", "b1", "W2", "b2", "W3", "b3")}


def diagnosed(capsys, *arguments) -> tuple[int, str, str]:
    status = diagnose.main([PACKAGE, *map(str, arguments), "--points", str(POINTS)])
    out = capsys.readouterr()
    return status, out.out, out.err


FORMS = {
    "ours": lambda g: dat.format_dat(g),
    "rounded": lambda g: dat.format_dat(g, rounded=True),
    "tensor(...)": lambda g: "\n".join(
        f"dL/dw_{n[1]}:\n{torch.tensor(a)}" if n[0] == "W" else f"dL/db_{n[1]}:\n{torch.tensor(a)}"
        for n, a in g.items()
    ),
    "printed by numpy": lambda g: "\n\n".join(
        f"Layer {n[1]} {'weights' if n[0] == 'W' else 'bias'}\n{a}" for n, a in g.items()
    ),
    "array(...) in a dict": lambda g: repr({f"d{n}": a for n, a in g.items()}),
    "lists in lists": lambda g: "\n".join(f"grads['{n}'] = {a.tolist()}" for n, a in reversed(g.items())),
    "keys of a module": lambda g: "".join(
        f"fc{n[1]}.{'weight' if n[0] == 'W' else 'bias'}.grad {torch.tensor(a)!r}\n" for n, a in g.items()
    ),
    "keys of Sequential": lambda g: "".join(
        f"{2 * int(n[1]) - 2}.{'weight' if n[0] == 'W' else 'bias'}\n{torch.tensor(a)!r}\n" for n, a in g.items()
    ),
    "in words": lambda g: "".join(
        f"{('First hidden', 'Second hidden', 'Output')[int(n[1]) - 1]} layer {n[0].lower()}\n{a.tolist()}\n"
        for n, a in g.items()
    ),
    "rows without brackets": lambda g: "".join(
        f"dLd{n.lower()}\n"
        + "\n".join(" ".join(map(repr, map(float, row))) for row in a.reshape(-1, a.shape[-1]))
        + "\n\n"
        for n, a in g.items()
    ),
    "counted from 0": lambda g: "".join(
        f"dW[{int(n[1]) - 1}] = {a.tolist()}\n" if n[0] == "W" else f"db[{int(n[1]) - 1}] = {a.tolist()}\n"
        for n, a in g.items()
    ),
    "indented JSON": lambda g: json.dumps({n: a.tolist() for n, a in g.items()}, indent=2),
    "with respect to": lambda g: "".join(
        f"Gradient w.r.t. {'weights' if n[0] == 'W' else 'biases'} of layer {n[1]}:\n{a.tolist()}\n"
        for n, a in g.items()
    ),
    "no headers": lambda g: "\n".join(str(a.tolist()) for a in g.values()),
    "of other things as well": lambda g: f"x\n[[0.5, 0.25]]\nloss = 0.63\n{dat.format_dat(g)}\nz1 [1 2 3]",
    "CRLF and a mark in front": lambda g: "\ufeff" + dat.format_dat(g).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_people_write_are_read(form, tmp_path, capsys):
    file = tmp_path / "theirs.dat"
    file.write_bytes(FORMS[form](gradients()).encode())
    status, out, err = diagnosed(capsys, file)
    assert (status, err) == (0, "") and out.endswith("all gradients agree\n")
    file.write_bytes(FORMS[form](gradients(("slope left out", 1))).encode())
    status, out, _ = diagnosed(capsys, file)
    assert status == 1
    assert "B9, dL/dZ1: the slope of sigmoid is left out." in out
    assert "    with the slip  delta1 = grad_a1\n    right          delta1 = grad_a1 * (one - a1) * a1\n" in out


HEADERS = {
    "dLdw3": ("w", 3),
    "dL/dW_3 =": ("w", 3),
    "\u2202L/\u2202b^{[2]}:": ("b", 2),
    "self.weights_2": ("w", 2),
    "gradB1": ("b", 1),
    "dbias2": ("b", 2),
    '{"W1":': ("w", 1),
    "layer1.bias.grad": ("b", 1),
    "Third layer weights": ("w", 3),
    "last layer b": ("b", "last"),
    "dw": ("w", "only"),
    "delta3": None,
    "loss": None,
    "x": None,
    "web 2": None,
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers(header):
    assert parameter_place(without_wrappers(header)) == HEADERS[header]


def read(text: str, depth: int = 3, bias: str = "all"):
    names = Network((2,) * depth + (1,), bias=bias).shapes
    return named(list(arrays(text)), {(name[0].lower(), int(name[1:])): name for name in names})


def test_layers_of_several_containers_are_in_the_order_of_the_file():
    """As a state_dict has them that somebody prints."""
    names = ["input.0", "hidden.0", "hidden.2", "output.0"]
    text = "\n".join(
        f"{name}.weight:\ntensor([[{i}.5]])\n\n{name}.bias:\ntensor([{i}.25])" for i, name in enumerate(names)
    )
    found = read(text, 4)
    assert {name: array.values.item() for name, array in found.items()} == {
        f"{kind}{i + 1}": i + part for i in range(4) for kind, part in (("W", 0.5), ("b", 0.25))
    }
    last_first = read("fc2.weight [[2]]\nfc1.weight [[1]]", 2)
    assert {name: array.values.item() for name, array in last_first.items()} == {"W2": 2, "W1": 1}


BAD = {
    "": "1: no header names a weight or a bias",
    "dLdw1\n[[1, 2], [3]]": "1: dLdw1: expected numbers in rows of one length",
    "dLdw1\n[[1, ..., 2]]": "2: '..., 2]]': shortened when it was printed",
    "dLdw1\n[1, two]": "2: 'two]': not a number",
    "dLdw1\n[[1, 2],\n[3, 4]": "1: dLdw1 is not complete: a bracket is never closed",
    "dLdw1 [1]\ndLdw1 [2]": "2: W1 stands twice",
    "dLdw4 [1]": "1: layer 4: the network has 3 layers",
    "dLdw1\n[]": "1: dLdw1: expected numbers in rows of one length",
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_read_is_named_with_its_line(text):
    with pytest.raises(Misread) as error:
        read(text)
    assert f"{error.value.line}: {error.value}".startswith(BAD[text])


def test_zeros_and_numbers_alone_have_the_digits_of_the_others(tmp_path, capsys):
    """0. and 0.5 beside numbers of 8 decimals are not 0 and 0.5 to one decimal."""
    right = gradients()
    file = tmp_path / "theirs.dat"
    for wrong in ("[0.]", "[0]", f"[{right['b3'].item():.1f}]"):
        text = dat.format_dat(right, rounded=True).split("dLdb3\n")
        file.write_text(f"{text[0]}dLdb3\n{wrong}{text[1][text[1].index(']') + 1 :]}")
        status, out, _ = diagnosed(capsys, file)
        assert status == 1 and "dLdb3  1      differs" in out


@pytest.mark.parametrize("digits", range(3, 10))
def test_of_numbers_with_so_many_significant_digits_each_has_its_own_unit(digits):
    """Zeros at the end, as of 0.0187 beside 0.001234, are not written."""
    draw = numpy.random.default_rng(digits)
    numbers = draw.normal(size=(20, 8)) * 10.0 ** draw.uniform(-3, 1, (20, 1))
    text = "".join(f"dLdw{n} {[f'{v:.{digits}g}' for v in row]}\n" for n, row in enumerate(numbers)).replace("'", "")
    for row, read in zip(numbers, with_decimals(list(arrays(text))), strict=True):
        assert (abs(row - read.values) <= read.units / 2 * (1 + 1e-9)).all()
        assert (read.units <= 10.0 ** (2 - digits) * abs(row).max()).all()


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_numbers_of_float32_are_known_however_many_decimals_are_written(dtype):
    for decimals, size in ((4, 1e5), (4, 1e7), (8, 1e3), (12, 1)):
        numbers = (numpy.random.default_rng(0).uniform(1, 9, 30) * size).astype(dtype)
        (read,) = with_decimals(list(arrays(f"dLdw1 [{' '.join(f'{float(v):.{decimals}f}' for v in numbers)}]")))
        assert is_float32(read) is (dtype is numpy.float32)


def test_infinity_and_nan_agree_with_nothing(tmp_path, capsys):
    right = gradients()
    right["b3"] = numpy.array([numpy.nan])
    file = tmp_path / "theirs.dat"
    file.write_text(dat.format_dat(right))
    status, out, _ = diagnosed(capsys, file)
    assert status == 1 and "dLdb3  1      not finite" in out and "with the slip" not in out


MAZUR = """
W1 = [[0.15, 0.20], [0.25, 0.30]]
b1 = [0.35, 0.35]
W2 = [[0.40, 0.45], [0.50, 0.55]]
b2 = [0.60, 0.60]
x = [0.05, 0.10]
y = [[0.01, 0.99]]
"""


@pytest.fixture(scope="module")
def mazur(tmp_path_factory):
    """Mazur, A Step by Step Backpropagation Example."""
    folder = tmp_path_factory.mktemp("packages")
    flags = ["--layers", "2-2-2", "--output-activation", "sigmoid", "--loss", "(p - y)**2/2"]
    assert build.main([*flags, "--out", str(folder / "mazur")]) == 0
    (folder / "mazur.toml").write_text(MAZUR)
    return folder


def test_published_gradients_at_numbers_of_their_own(mazur, tmp_path, capsys):
    """0.082167041 is printed there, and 0.40 - 0.5 times it is 0.35891648."""
    capsys.readouterr()
    theirs = tmp_path / "theirs.dat"
    arguments = [str(mazur / "mazur"), str(theirs), "--numbers", str(mazur / "mazur.toml")]
    theirs.write_text("dLdw2\n[[0.082167041, 0.082667628], [-0.022602540, -0.022740242]]")
    assert diagnose.main(arguments) == 0
    numbers = given_numbers(mazur / "mazur.toml", {"W1": (2, 2), "b1": (2,), "W2": (2, 2), "b2": (2,)}, 2, 2).values
    numbers = {name: numpy.array(value) for name, value in numbers.items()}
    x, y = numbers.pop("x"), numbers.pop("y")
    network = Network((2, 2, 2), output_activation="sigmoid", loss="(p - y)**2/2")
    for slip, said in (
        (("W after the update", 0), "W2 is taken after the update, with a step of 0.25"),
        (("slope left out", 2), "B2, dL/dZ2: the slope of sigmoid is left out."),
        (("W transposed", 2), "B5, dL/dA1: W2.T stands where W2 belongs."),
    ):
        theirs.write_text(
            "".join(f"{n} = {a.round(9).tolist()}\n" for n, a in ByHand(network, {slip})(numbers, x, y).items())
        )
        assert diagnose.main(arguments) == 1
        assert said in capsys.readouterr().out


def test_the_missing_slope_of_a_published_backward(tmp_path, capsys):
    """Stack Overflow 59399842: XOR by two sigmoids, the last slope left out, so that theirs is 1/(p (1 - p)) times."""
    assert build.main(["--layers", "2-2-1", "--output-activation", "sigmoid", "--out", str(tmp_path / "xor")]) == 0
    (tmp_path / "xor.toml").write_text(
        'layout = "in x out"\nW1 = [[0.9, 0.1], [0.3, 0.5]]\nW2 = [[0.2], [0.7]]\n'
        "b1 = [0, 0]\nb2 = [0]\nx = [[0, 1]]\ny = [[1]]\n"
    )
    w0, w1 = numpy.array([[0.9, 0.1], [0.3, 0.5]]), numpy.array([[0.2], [0.7]])
    x, y = numpy.array([[0.0, 1.0]]), numpy.array([[1.0]])
    a = 1 / (1 + numpy.exp(-x @ w0))
    p = 1 / (1 + numpy.exp(-a @ w1))
    delta = 2 * (p - y)  # without p (1 - p)
    theirs = tmp_path / "theirs.txt"
    theirs.write_text(f"dw1\n{x.T @ (delta @ w1.T * a * (1 - a))}\ndw2\n{a.T @ delta}\n")
    arguments = [str(tmp_path / "xor"), str(theirs), "--numbers", str(tmp_path / "xor.toml")]
    capsys.readouterr()
    assert diagnose.main(arguments) == 1
    out = capsys.readouterr().out
    assert "B2, dL/dZ2: the slope of sigmoid is left out.\n" in out and "It gives all of these numbers" in out


def test_a_folder_is_a_table(tmp_path, capsys):
    for name, slips in {"a": [], "b": [("transposed", 2)], "c": [("slope twice", 2)]}.items():
        (tmp_path / f"{name}.dat").write_text(dat.format_dat(gradients(*slips)))
    (tmp_path / "d.dat").write_text("dLdw1 [1, oops]")
    (tmp_path / "e.dat").write_text((tmp_path / "a.dat").read_text().partition("dLdb3")[0])
    (tmp_path / "notes.txt").write_text("not read")
    status, out, err = diagnosed(capsys, tmp_path, "--table")
    assert (status, err) == (2, "")
    rows = list(csv.reader(io.StringIO(out)))
    assert [row[:4] for row in rows] == [
        ["file", "verdict", "right", "of"],
        ["a.dat", "agrees", "6", "6"],
        ["b.dat", "differs", "5", "6"],
        ["c.dat", "differs", "2", "6"],
        ["d.dat", "unreadable", "", ""],
        ["e.dat", "incomplete", "3", "6"],
    ]
    assert rows[5][4] == "what is there agrees; dLdb1, dLdb2, dLdb3 are missing"
    assert rows[2][4] == "B6 it is transposed" and rows[3][4] == "B5 the slope of sigmoid is multiplied twice"
    assert "oops" in rows[4][4]
    (tmp_path / "d.dat").unlink()
    assert diagnosed(capsys, tmp_path, "--table")[0] == 1


REFUSED = {
    "W1 = [[1, 2], [3]]": "1: W1: expected shape (10, 2), got rows of different lengths",
    "W1 = [[1, 2]]": "1: W1: expected shape (10, 2), got (1, 2)",
    "\nb1 = [1, 2]": "2: b1: expected shape (10,), got (2,)",
    "b3 = ['a']": "1: b3: expected numbers, got 'a'",
    "b3 = [true]": "1: b3: expected numbers, got True",
    "b3 = [inf]": "1: b3: expected finite numbers, got inf",
    "b2 = 1": "1: b2: expected shape (10,), got 1",
    "x = [[1, 2, 3]]": "1: x: expected rows of 2 numbers, got (1, 3)",
    "x = [[1, 2, 3], [4, 5, 6]]": "1: x: expected rows of 2 numbers, got (2, 3); points are rows, not columns",
    "x = [[1, 2]]\ny = [[1], [2]]": "2: y: 2 rows, but x has 1",
    "x = []": "1: x: expected rows of 2 numbers, got an empty list",
    "w1 = [1]": "1: w1: no such array; did you mean 'W1'? known: W1, b1, W2, b2, W3, b3, x, y, layout",
    "layout = 'rows'": "1: layout: expected 'out x in' or 'in x out', got 'rows'",
    "x = [[1, 2]": " Unclosed array",
    "": " no numbers; keys are W1, b1, W2, b2, W3, b3, x, y, layout, as x = [[0.05, 0.1]]",
}


@pytest.mark.parametrize("text", REFUSED)
def test_numbers_that_do_not_fit_are_refused_with_their_line(text, tmp_path, capsys):
    file, theirs = tmp_path / "own.toml", tmp_path / "theirs.dat"
    file.write_text(text)
    theirs.write_text("dLdb3 [1]")
    status, out, err = diagnosed(capsys, theirs, "--numbers", file)
    assert (status, out) == (2, "") and err.startswith(f"python -m derive.diagnose: {file}:") and err.count("\n") == 1
    assert REFUSED[text] in err


def test_weights_in_x_out_and_points_of_one_number(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('layout = "in x out"\nW1 = [[1, 2, 3]]\nx = [1, 2]\n"y" = [[1, 2], [3, 4]]\nb1 = [[1, 2, 3]]')
    given = given_numbers(file, {"W1": (3, 1), "b1": (3,)}, 1, 2)
    assert given.values == {"W1": [[1], [2], [3]], "x": [[1], [2]], "y": [[1, 2], [3, 4]], "b1": [1, 2, 3]}
    assert given.layout == "in x out"


MISSING = {
    "no file": (["theirs.dat"], "theirs.dat: No such file or directory"),
    "a folder that is none": (["theirs.dat", "--table"], "theirs.dat: No such file or directory"),
    "no point": (["theirs.dat", "--points", "0"], "--points: expected a whole number from 1 to 100000, got 0"),
    "an odd seed": (["theirs.dat", "--seed", "-1"], f"--seed: expected a whole number from 0 to {2**63 - 1}, got -1"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_said_in_a_line(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, said = MISSING[case]
    assert diagnose.main([PACKAGE, *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_shape_that_no_gradient_has_is_named(tmp_path, capsys):
    file = tmp_path / "theirs.dat"
    file.write_text("dLdw2\n[[1, 2], [3, 4]]")
    status, _, err = diagnosed(capsys, file)
    assert status == 2 and f"{file}:1: dLdw2: expected shape 10x10, got 2x2" in err
