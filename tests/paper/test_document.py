"""The derivation on paper: it compiles, it says what holds, and it fits the network at hand."""

import itertools
import math
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from sympy import Determinant, MatrixSymbol, OneMatrix, Symbol, Trace, log, tanh
from sympy import exp as sympy_exp
from sympy import sin as sympy_sin

from derive import build, derivation
from derive.calculus.theorem import pull_back
from derive.matrix import apply, logsumexp, softmax, total
from derive.packages.emit import TARGETS, render, subject_of
from derive.packages.templates import environment
from derive.paper import glossary, worked
from derive.paper.blocks import Block, Boxed, Broken, Chain, Display, Paragraph, Section, Table, Values
from derive.paper.formats import Page
from derive.paper.formats.pages import HtmlPage, MarkdownPage, TexPage
from derive.paper.latex import latex, symbol_in_line
from derive.paper.rules import general
from derive.problems import targets
from derive.problems.network import Network
from derive.programs import Equation
from derive.system import typesetting
from tests.helpers.follow import equations_in
from tests.helpers.programs import PATIENCE, needs
from tests.helpers.read_tex import compute, name

NETWORKS = {
    "default": Network(),
    "one layer": Network(layers=(3, 1)),
    "relu, mean": Network(layers=(3, 4, 2), activation="relu", output_activation="tanh", reduction="mean"),
    "deep": Network(layers=(4, 5, 6, 5, 4, 3, 2), activation="tanh", reduction="mean"),
    "coupled rows": Network(layers=(3, 4, 5, 2), activation="gelu_tanh", loss="cross_entropy", reduction="mean"),
    "kinks": Network(layers=(3, 4, 2), activation="hardswish", loss="huber_loss", reduction="mean"),
    "probabilities": Network(
        layers=(3, 4, 2), activation="mish", output_activation="sigmoid", loss="binary_cross_entropy"
    ),
    "branches": Network(layers=(3, 4, 2), activation="selu", output_activation="sigmoid", loss="kl_div"),
    "wide": Network(layers=(784, 1024, 1024, 10), activation="relu"),
    "a penalty": Network((3, 4, 2), "tanh", penalty="w**4/4", reduction="mean"),
    "a penalty, and layers skipped": Network((3, 4, 4, 4, 2), "tanh", penalty="0.05*w**2", skip=((1, 2), (1, 3))),
}
network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


subject_of = cache(subject_of)


@cache
def files_of(network: Network) -> dict[str, str]:
    """The pages of a network's derivation."""
    names = ("derivation.md", "derivation.tex", "backward.py")
    subject = subject_of(network)
    return {file: environment().get_template(f"{file}.j2").render(TARGETS[file](subject)) for file in names}


def document_of(network: Network) -> list[Section]:
    return subject_of(network).document


FORMULAS = {name: network for name, network in NETWORKS.items() if name not in ("wide", "branches")}


ACTIVATIONS = {"gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh")}


def random_numbers(network: Network, rows: int = 3):
    """Inputs, targets and parameters."""
    torch.manual_seed(0)
    shapes = [(rows, network.layers[0]), (rows, network.layers[-1])]
    for inputs, outputs in itertools.pairwise(network.layers):
        shapes += [(outputs, inputs), (1, outputs)]
    x, y, *parameters = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    return x, torch.softmax(y, 1) if network.takes_classes else torch.sigmoid(y), parameters


def computed_by_torch(network: Network, given=None) -> dict[str, np.ndarray]:
    """Every symbol of a network's derivation by name: values by torch's operations, gradients by its autograd."""
    x, y, parameters = given or random_numbers(network)
    values, a, handed_on = {"X": x, "Y": y}, x, [x]
    for layer in range(1, network.depth + 1):
        values[f"W{layer}"], values[f"b{layer}"] = (p.requires_grad_() for p in parameters[2 * layer - 2 : 2 * layer])
        skipping = [handed_on[start] for start, end in network.skip if end == layer]
        a = torch.nn.functional.linear(a, values[f"W{layer}"], values[f"b{layer}"])
        a = values[f"Z{layer}"] = sum(skipping, start=a)
        activation = network.output_activation if layer == network.depth else network.activation
        if activation != "identity":
            a = values[f"A{layer}"] = ACTIVATIONS.get(activation, getattr(torch.nn.functional, activation, None))(a)
        handed_on.append(a)
    loss = getattr(torch.nn.functional, network.loss)
    if network.loss == "cross_entropy":
        values["C1"] = a.detach().amax(1, keepdim=True)
        values["U1"] = a - values["C1"]
        values["M1"] = torch.logsumexp(values["U1"], 1, keepdim=True)
        values["E"] = y * (values["M1"] - values["U1"])
        values["P"] = torch.softmax(a.detach(), 1)
        values["L"] = values["E"].sum() / (len(x) if network.reduction == "mean" else 1)
        torch.testing.assert_close(values["L"], loss(a, y, reduction=network.reduction))
    else:
        values["E"] = loss(a, y, reduction="none")
        values["L"] = loss(a, y, reduction=network.reduction)
    for layer in range(1, network.depth + 1) if network.penalty else ():
        R = values[f"R{layer}"] = eval(network.penalty, {"w": values[f"W{layer}"]})
        values["L"] = values["L"] + R.sum()
    tracked = {key: value for key, value in values.items() if value.requires_grad and key[0] not in "ELR"}
    gradients = torch.autograd.grad(values["L"], list(tracked.values()), retain_graph=True)
    for key, gradient in zip(tracked, gradients, strict=True):
        values[f"Delta{key[1:]}" if key.startswith("Z") else f"grad {key}"] = gradient
    entries = values["E"].numel() if network.loss != "cross_entropy" else len(x)
    values["grad E"] = torch.full_like(values["E"], 1 / entries if network.reduction == "mean" else 1)
    values |= {f"grad {key}": torch.ones_like(R) for key, R in values.items() if key.startswith("R")}
    numbers = {key: value.detach().numpy() for key, value in values.items()}
    sizes = {f"n{layer}": size for layer, size in enumerate(network.layers)}
    changes = {f"diff {key}": np.random.default_rng(0).normal(size=numbers[key].shape) for key in tracked}
    return {**numbers, **sizes, **changes, "N": len(x)}


def assert_equal(left: str, right: str, values: dict[str, np.ndarray], at: dict[str, int] | None = None) -> None:
    one, other = compute(left, values, at), compute(right, values, at)
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12, err_msg=f"{left} = {right}")


def blocks_of(network: Network, kind: type | tuple[type, ...]) -> list:
    """The blocks of a kind in the sections on this network's own matrices."""
    sections = document_of(network)
    others = re.compile(r"slopes|softmax|recursion|numbers|R\d+")
    own = [section for section in sections if not others.fullmatch(section.anchor)]
    return [block for section in own for block in section.blocks if isinstance(block, kind)]


@pytest.mark.parametrize("network", FORMULAS.values(), ids=FORMULAS)
def test_every_printed_equation_holds_for_what_autograd_computes(network):
    """Each formula is read back from the page; its left side is autograd's value, its right side is computed."""
    values, checked = computed_by_torch(network), 0
    for block in blocks_of(network, (Boxed, Broken, Chain)):
        for left, right in equations_in(block):
            if left == "dL":
                if right == equations_in(block)[0][1]:
                    continue
                variable = re.search(r"d(\\boldsymbol\{[^{}]*\}_\{\d+\}) \\rangle$", block.rows[-1].right)[1]
                left = rf"\langle {cotangent(variable)}, d{variable} \rangle"
            elif re.match(r"\\boldsymbol\{\\mathrm", left):
                values[name(left)[0]] = compute(right, values)
            assert_equal(left, right, values)
            checked += 1
    assert checked > 10 * network.depth


def cotangent(variable: str) -> str:
    """dL/dZ is written Delta."""
    return variable.replace("{Z}", r"{\Delta}") if "{Z}" in variable else rf"\frac{{\partial L}}{{\partial {variable}}}"


DEEP = Network((2, 3, 3, 3, 3, 3, 1))


@pytest.mark.parametrize("network", [*FORMULAS.values(), DEEP], ids=[*FORMULAS, "small numbers"])
def test_every_printed_digit_is_autograds(network):
    """The numbers are drawn again as the page says, computed again by torch, and compared as text."""
    widest, points = (4, 3) if network.depth < 4 else (2, 1)
    small = replace(network, layers=tuple(min(width, widest) for width in network.layers))
    draw = random.Random(127)
    drawn = []
    for inputs, outputs in itertools.pairwise(small.layers):
        for columns, rows in ((inputs, outputs), (outputs, 1)):
            scale = math.sqrt(inputs)
            drawn.append([[round(draw.uniform(-1, 1) / scale, 2) for _ in range(columns)] for _ in range(rows)])
    x = torch.tensor(
        [[round(draw.random(), 2) for _ in range(small.layers[0])] for _ in range(points)], dtype=torch.float64
    )
    y = eval(targets(small).torch, {"torch": torch, "x": x})
    values = computed_by_torch(small, given=(x, y, [torch.tensor(rows, dtype=torch.float64) for rows in drawn]))
    section = next(s for s in document_of(network) if s.anchor == "numbers")
    *chains, by_hand = (block for block in section.blocks if isinstance(block, Chain))
    (quotient,) = (block.tex for block in section.blocks if isinstance(block, Display))
    checked = small_rows = 0
    for row in (row for chain in chains for row in chain.rows):
        symbol, _ = name(row.left) if row.left != "L" else ("L", None)
        printed_row, power = printed_numbers(row.right)
        small_rows += power < 0
        for expected, printed in zip(np.ravel(values[symbol]) * 10.0**-power, printed_row, strict=True):
            digits = len(printed.partition(".")[2])
            assert printed == f"{expected:.{digits}f}" or float(printed) == 0 == round(expected, digits), row
            checked += 1
    assert checked >= 25
    assert (network is DEEP) <= (small_rows >= 3)
    weights = values[f"grad W{network.depth}"]
    largest = weights.flat[np.abs(weights).round(12).argmax()]
    (_, products), (_, total) = equations_in(by_hand)
    digits = len(total.partition(".")[2])
    assert f"{compute(products, {}):.{digits}f}" == total == f"{largest:.{digits}f}"
    assert quotient.endswith(f"= {total}") and "- -" not in quotient
    assert f"{compute(quotient.partition(' = ')[0], {}):.{digits}f}" == total


def printed_numbers(tex: str) -> tuple[list[str], int]:
    """The numbers of a printed matrix, row by row, none left out; and of which power of ten they are multiples."""
    power = re.search(r"10\^\{(-\d+)\}", tex)
    tex = re.sub(r"10\^\{-\d+\} \\, | \\cdot 10\^\{-\d+\}", "", tex)
    body = re.fullmatch(r"\\begin\{bmatrix\} (.*) \\end\{bmatrix\}", tex)
    return re.split(r" & | \\\\ ", body[1] if body else tex), int(power[1]) if power else 0


def section_of(network: Network, anchor: str) -> Section:
    return next(section for section in document_of(network) if section.anchor == anchor)


def matrix_in(section: Section, left: str) -> np.ndarray:
    """The numbers of a matrix of the worked example."""
    rows = {row.left: row.right for block in section.blocks if isinstance(block, Chain) for row in block.rows}
    printed, power = printed_numbers(rows[left])
    numbers = np.array(printed, dtype=float) * 10.0**power
    return numbers.reshape(rows[left].count(r"\\ ") + 1, -1)


TARGETS_OF = {
    "one output": Network(),
    "two outputs": Network((2, 3, 2)),
    "probabilities": Network((5, 3, 2), output_activation="sigmoid", loss="binary_cross_entropy"),
    "distribution": Network((4, 5, 3), activation="relu", loss="cross_entropy", reduction="mean"),
    "softmax in a formula": Network((4, 5, 3), loss="y*(logsumexp(p) - p)"),
}


@pytest.mark.parametrize("network", TARGETS_OF.values(), ids=TARGETS_OF)
def test_the_targets_of_the_worked_numbers_are_what_the_page_says_and_what_run_draws(network):
    section = section_of(network, "numbers")
    Y, X = (matrix_in(section, rf"\boldsymbol{{{letter}}}") for letter in "YX")
    in_torch = eval(targets(network).torch, {"torch": torch, "x": torch.tensor(X)})
    np.testing.assert_allclose(Y, in_torch, atol=5.1e-5)
    assert targets(network).torch in render(network, ["run.py"])["run.py"]
    text = " ".join(block.text for block in section.blocks if isinstance(block, Paragraph))
    assert targets(network).words in text
    assert ((Y >= 0) & (Y <= 1)).all()
    assert len(np.unique(Y)) == Y.size
    assert ("distribution" in text) == bool(np.allclose(Y.sum(1), 1, atol=2e-4) and Y.shape[1] > 1)


def test_a_slope_is_printed_as_it_is_computed_where_a_function_jumps():
    network = Network((2, 2, 1), "sign(z)*log1p(abs(z))", loss="sign(p - y)*(p - y)**3")
    assert "Dirac" not in render(network, ["derivation.md"])["derivation.md"]


def test_the_entry_by_hand_can_be_looked_up():
    """Each factor stands in the numbers above, to fewer digits."""
    section = section_of(Network(), "numbers")
    delta, activation = (matrix_in(section, left) for left in (r"\boldsymbol{\Delta}_{3}", r"\boldsymbol{A}_{2}"))
    *_, chain = (block for block in section.blocks if isinstance(block, Chain))
    left, products = equations_in(chain)[0]
    j, k = (int(place) - 1 for place in re.search(r"W_\{3;(\d),(\d)\}", left).groups())
    found = re.findall(r"\(?(-?[\d.]+)\)? \\cdot \(?(-?[\d.]+)\)?", products)
    expected = list(zip(delta[:, j], activation[:, k], strict=True))
    np.testing.assert_allclose(np.array(found, dtype=float), expected, atol=6e-5)
    assert "dots" not in repr(section)


@pytest.mark.parametrize("points", [1, 2, 5])
def test_the_worked_numbers_can_be_of_any_number_of_points(points, monkeypatch):
    monkeypatch.setattr(worked, "SAMPLES", points)
    subject = subject_of.__wrapped__(Network((2, 3, 2)))
    (section,) = worked.numbers_sections(subject.network, subject.derived)
    assert matrix_in(section, r"\boldsymbol{X}").shape[0] == points


@needs("pdflatex")
def test_the_build_typesets_the_derivation(tmp_path):
    out = tmp_path / "package"
    assert build.main(["--layers", "2-3-1", "--out", str(out), "--pdf"]) == 0
    first = (out / "derivation.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert build.main(["--layers", "2-3-1", "--out", str(out), "--pdf"]) == 0
    assert (out / "derivation.pdf").read_bytes() == first


SHEETS = [
    [],
    ["--layers", "784-1024-1024-10", "--activation", "relu", "--loss", "cross_entropy", "--reduction", "mean"],
    ["--layers", "2-8-8-1", "--skip", "1-2", "--penalty", "0.05*w**2"],
    ["--layers", "2-8-8-8-8-8-8-1"],
]


@needs("pdflatex", "pdfinfo")
@pytest.mark.parametrize("settings", SHEETS, ids=" ".join)
def test_the_result_is_on_one_page_and_the_whole_on_no_more_than_thirteen(settings, tmp_path):
    out = tmp_path / "package"
    assert build.main([*settings, "--out", str(out), "--pdf", "--sheet"]) == 0
    assert pages(out / "sheet.pdf") == 1
    assert pages(out / "derivation.pdf") <= (13 if "cross_entropy" in settings or "--skip" in settings else 12)
    assert build.main([*settings, "--out", str(out), "--check"]) == 0
    assert build.main([*settings, "--out", str(out)]) == 0
    assert not list(out.glob("sheet.*")) and (out / "derivation.pdf").exists()


def pages(pdf: Path) -> int:
    told = subprocess.run(["pdfinfo", str(pdf)], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    return int(re.search(r"Pages: +(\d+)", told)[1])


def test_a_partial_derivative_has_a_slash_in_a_line_of_text():
    derived = subject_of(Network()).derivation
    written = [symbol_in_line(derived.program, equation.target) for equation in derived.backward]
    assert r"\partial L / \partial \boldsymbol{W}_{3}" in written


COUPLED = ("cross_entropy", "square(logsumexp(p) - y)", "logsumexp(tanh(p))*y", "max(p)*y + softmax(p)")


@pytest.mark.parametrize("loss", COUPLED)
def test_each_symbol_has_a_letter_of_its_own_and_says_what_it_is_and_of_which_layer(loss):
    rows = glossary(subject_of(Network((3, 4, 4, 2), "tanh", loss=loss, penalty="w**2")).derivation)
    for told in ("tex", "meaning", "code"):
        assert len({row[told] for row in rows}) == len(rows)
    for row in rows:
        letter = r"(?:L|\\boldsymbol\{(?:\w|\\Delta|\\mathrm\{exp\})\}(?:_\{\d\})?)"
        assert re.fullmatch(rf"{letter}|\\frac\{{\\partial L\}}\{{\\partial {letter}\}}", row["tex"]), row
        assert re.fullmatch(r"dL/d[A-Z]\d|dL/d[Wb]\d|[a-z][\w -]+(, [\w ./]+)?", row["meaning"]), row
        layer = re.search(r"layer (\d)", row["meaning"])
        assert not layer or (row["code"].endswith(layer[1]) and f"_{{{layer[1]}}}" in row["tex"])


def test_a_closed_form_that_is_too_long_to_read_is_not_on_the_page():
    X, W, V = MatrixSymbol("X", 4, 3), MatrixSymbol("W", 3, 3), MatrixSymbol("V", 3, 2)
    loss = total(apply(lambda u: u**2, softmax(apply(tanh, X * W) * V))) * log(Determinant(W))
    anchors = {section.anchor for section in derivation(loss, [W], prove=False).document()}
    assert {"result", "notation", "B1"} <= anchors and anchors.isdisjoint({"together", "closed-forms"})


def test_a_table_that_is_longer_than_a_page_is_broken():
    short, long = (TexPage().table(Table(("sign", "meaning"), (("a", "b"),) * n, (0.3, 0.7))) for n in (30, 31))
    assert r"\begin{tabular}" in short and r"\begin{longtable}" in long and r"\hline" + "\n\\endhead" in long


def test_a_deeper_network_has_no_more_to_read():
    """What is the same but for a layer's number is derived once, and says where."""
    two, five = (document_of(Network((3,) + (4,) * depth + (2,), "tanh")) for depth in (2, 5))
    derived = [
        sum(any(isinstance(one, Boxed) for one in s.blocks) for s in document if s.step) for document in (two, five)
    ]
    assert derived == [5, 5]
    others = {label for section in five for label in section.others}
    rows = [row for s in five if s.others for one in s.blocks if isinstance(one, Chain) for row in one.rows]
    told = {re.fullmatch(r"([FB]\d+), as ([FB]\d+)", row.reason)[1] for row in rows}
    assert others < told and len(told - others) == sum(bool(s.others) for s in five)


def test_without_pdflatex_nothing_is_written_and_the_message_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.main(["--layers", "2-1", "--out", str(tmp_path / "package"), "--pdf"]) == 2
    assert "needs pdflatex" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["exit 0", "exit 1", "exec sleep 60"])
def test_a_pdflatex_that_makes_no_pdf_or_does_not_end_is_named_and_nothing_is_written(
    script, tmp_path, monkeypatch, capsys
):
    (tmp_path / "pdflatex").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "pdflatex").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(typesetting, "MOST_TYPESETTING", 0.5)
    assert build.main(["--layers", "2-1", "--out", str(tmp_path / "package"), "--pdf"]) == 2
    assert re.search(r"--pdf: pdflatex failed: (no|not done within 0.5 seconds)", capsys.readouterr().err)
    assert os.listdir(tmp_path) == ["pdflatex"]
    assert not (tmp_path / "package").exists()


def test_derivations_and_equations_show_themselves_in_a_notebook():
    derivation = subject_of(Network()).derivation
    assert derivation._repr_latex_().startswith(r"$\displaystyle \begin{aligned} \boldsymbol{Z}_{1} &= ")
    step = derivation.backward[1]
    assert step._repr_latex_() == (
        r"$\displaystyle \frac{\partial L}{\partial \boldsymbol{W}_{3}} = "
        r"\boldsymbol{\Delta}_{3}^{\top} \boldsymbol{A}_{2}$"
    )


LESSON = Path(__file__).parents[1] / "tools" / "lesson.ipynb"
IN_A_KERNEL = """
import json, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
cells = json.load(open("lesson.ipynb", encoding="utf-8"))["cells"]
names = {}
for cell in cells:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), names)
assert names["agree"] is True
exact = {part.file: part.entries for part in names["certificate"].shown if part.functions == ("value_and_grad",)}
assert exact["backward.py"] == 2 * 21, exact  # the loss and 20 gradients, with N = 1 and 2
assert "W1" in names["caught"]
assert {name for name, answer in names["verdicts"].items() if not answer.right} == set(names["slips"])
"""


def test_the_lesson_runs_in_its_own_folder_and_its_proof_catches_the_broken_rule():
    """As a kernel starts, where the project is not installed."""
    command = [sys.executable, "-c", IN_A_KERNEL]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, cwd=LESSON.parent, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "all gradients agree" in result.stdout


def test_a_rule_is_stated_whatever_the_sizes_are_called():
    """The rule's own letters for sizes must not mix with the same letters in the equation."""
    p, n, q = (Symbol(letter, integer=True, positive=True) for letter in "pnq")
    A, X = MatrixSymbol("A", n, q), MatrixSymbol("X", p, q)
    through, V = general(Equation(MatrixSymbol("M", n, p), A * X.T, "definition", ""), X)
    G = MatrixSymbol("G", *through.shape)
    assert latex(None, through.value) == r"\boldsymbol{A} \boldsymbol{V}^{\top}"
    assert latex(None, pull_back(through, V, G)) == r"\boldsymbol{G}^{\top} \boldsymbol{A}"


m, n = (Symbol(letter, integer=True, positive=True) for letter in "mn")
A, X, S = MatrixSymbol("A", m, n), MatrixSymbol("X", n, n), MatrixSymbol("Sigma", n, n)
x, b = MatrixSymbol("x", n, 1), MatrixSymbol("b", m, 1)
EXPRESSIONS = {
    "least squares": (Trace((A * x - b).T * (A * x - b)), [A, x, b], lambda A, x, b: ((A @ x - b) ** 2).sum()),
    "quadratic form": (x.T * S.inv() * x, [x, S], lambda x, Sigma: (x.T @ torch.linalg.inv(Sigma) @ x).sum()),
    "entry by entry": (
        total(apply(lambda u: sympy_exp(u) * sympy_sin(u), A * X)),
        [A, X],
        lambda A, X: (torch.exp(A @ X) * torch.sin(A @ X)).sum(),
    ),
    "rows": (total(logsumexp(A * X)), [A, X], lambda A, X: torch.logsumexp(A @ X, 1).sum()),
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_whoever_follows_the_page_of_an_expression_arrives_at_autograds_gradient(expression):
    loss, variables, in_torch = EXPRESSIONS[expression]
    sizes = {m: 3, n: 2}
    given = [torch.randn([int(s.xreplace(sizes)) for s in v.shape], dtype=torch.float64) for v in variables]
    given = [value.requires_grad_() for value in given]
    values = {"m": 3, "n": 2} | {v.name: t.detach().numpy() for v, t in zip(variables, given, strict=True)}
    for section in derivation(loss, variables, prove=False).document():
        followed = section.blocks if section.anchor == "backward" or section.step else ()
        for block in followed:
            for left, right in equations_in(block) if isinstance(block, Boxed | Chain) else ():
                if left != "dL":
                    values[name(left)[0]] = compute(right, values)
    gradients = torch.autograd.grad(in_torch(*given), given)
    for variable, gradient in zip(variables, gradients, strict=True):
        np.testing.assert_allclose(values[f"grad {variable.name}"], gradient.numpy(), rtol=1e-10)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_lines_lead_from_the_last_step_to_the_closed_form(expression):
    """The first is the step's, the last the box's; each is what those before it are with others put in."""
    loss, variables, _ = EXPRESSIONS[expression]
    sections = {section.anchor: section for section in derivation(loss, variables, prove=False).document()}
    boxed = {left: right for b in sections["result"].blocks if isinstance(b, Boxed) for left, right in equations_in(b)}
    steps = {left: right for s in sections.values() if s.step for b in s.blocks if isinstance(b, Boxed)
             for left, right in equations_in(b)}  # fmt: skip
    led: dict[str, list[str]] = {}
    for block in sections["together"].blocks if "together" in sections else ():
        for left, right in equations_in(block) if isinstance(block, Chain) else ():
            led.setdefault(left, []).append(right)
    assert led
    for left, lines in led.items():
        assert lines[0] == steps[left] != lines[-1] == boxed[left]
    assert all(steps[left] == boxed[left] for left in boxed.keys() - led)


def worked_rows(loss, *variables):
    section = next(s for s in derivation(loss, variables, prove=False).document() if s.anchor == "numbers")
    return next(b for b in section.blocks if isinstance(b, Values)).rows


def test_a_gradient_that_is_0_is_printed_as_0():
    """Whatever A is, the rows of softmax add up to 1, and entries less the mean of their row to 0."""
    X, ones = MatrixSymbol("X", m, n), OneMatrix(n, n)
    for loss, place in ((total(softmax(A).T * softmax(X)), -1), (Trace((X - X * ones / n).T * (X - X * ones / n)), -2)):
        assert set(re.findall(r"\d\S*", worked_rows(loss, X)[place].right)) == {"0"}


def test_a_number_that_is_small_beside_others_is_printed_as_it_is():
    small, large = MatrixSymbol("u", n, 1), MatrixSymbol("v", n, 1)
    losses = (Trace(small.T * small) + c * Trace(large.T * large) for c in (1, 10**15))
    alone, beside = ({row.left: row.right for row in worked_rows(loss, small, large)} for loss in losses)
    shown = [left for left in alone if "{u}" in left]
    assert len(shown) == 2 and all(alone[left] == beside[left] and alone[left].count(".") == 2 for left in shown)


def test_any_derivation_has_a_body_in_each_format():
    sections = document_of(Network())
    assert r"\section{Backward pass}" in TexPage().body(sections)
    assert "## Backward pass" in MarkdownPage().body(sections)
    assert "<h2>Backward pass</h2>" in HtmlPage().body(sections)
    loss, variables, _ = EXPRESSIONS["least squares"]
    assert "## Worked numbers" in derivation(loss, variables, prove=False).markdown()


def test_a_format_needs_a_method_for_each_kind_of_block():
    assert {kind.__name__.lower() for kind in get_args(Block)} < Page.__abstractmethods__
    with pytest.raises(TypeError, match=r"abstract methods .*picture\W+table"):
        type("Rest", (Page,), {})()
