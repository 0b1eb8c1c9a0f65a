"""The proof holds for what is emitted, and for nothing that is nearly it."""

import ast
import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import sympy

from derive.formulas import FUNCTIONS, sigmoid, z
from derive.packages.emit import render
from derive.problems.network import Network
from derive.proof import NotProved
from derive.proof.algebra import Algebra
from derive.proof.cases import Case, slopes
from derive.proof.certificate import enumeration
from derive.proof.judge import Judge
from derive.proof.networks import prove
from derive.prove import main
from derive.system import OutOfTime, limited, write_package
from generated.backward import NETWORK
from tests.helpers.networks import NETWORKS

SMALL = Network((2, 3, 2, 1))
MUTANTS = {
    "a dropped transpose": (r"delta2\.T @ a1", "delta2 @ a1"),
    "an added transpose": (r"delta2 @ W2", "delta2 @ W2.T"),
    "a wrong layer of a weight": (r"delta3 @ W3", "delta3 @ W2"),
    "a wrong layer of an activation": (r"\(one - a2\) \* a2", "(one - a2) * a1[:, :2]"),
    "a missing 2": (r"2 \* \(z3 - y\)", "(z3 - y)"),
    "a swapped sign": (r"\(z3 - y\)\n|2 \* \(z3 - y\)", "2 * (y - z3)"),
    "1 + a for 1 - a": (r"\(one - a1\)", "(one + a1)"),
    "a squared activation": (r"\(one - a2\) \* a2", "(one - a2) * a2**2"),
    "columns summed for rows": (r"delta2\.sum\(0\)", "delta2.sum(1)"),
    "an axis that is no whole number": (r"grad_b3 = delta3\.sum\(0\)", "grad_b3 = delta3.sum(0.0)"),
    "one row for the sum": (r"delta1\.sum\(0\)", "delta1[0]"),
    "the mean for the sum": (r"grad_b3 = delta3\.sum\(0\)", "grad_b3 = delta3.sum(0) / x.shape[0]"),
    "a gradient in the wrong place": (r"b1=grad_b1", "b1=2 * grad_b1"),
    "what is small at every point tried": (r"2 \* \(z3 - y\)", "2 * (z3 - y) + 1e-60 * z3"),
    "a hundredth of a millionth": (r"delta1\.T @ x", "delta1.T @ x * 1.00000001"),
}


@cache
def proved(network: Network) -> dict[str, str]:
    """What is proved of the package but its C, whose proof takes longest and has tests of its own."""
    return render(network, ["__init__.py", "backward.py", "fast.py"])


def emit(folder: Path, network: Network) -> Path:
    write_package(folder, proved(network))
    return folder


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.entries < 40], ids=str)
def test_what_is_emitted_is_proved(network, tmp_path):
    certificate = prove(emit(tmp_path / "package", network))
    assert (certificate.about["package"], certificate.about["network"]) == ("package", network.spec())
    counts = {(shown.file, shown.functions[:2]): shown.entries for shown in certificate.shown if shown.entries}
    assert counts["backward.py", ("value_and_grad",)] == 2 * (network.entries + 1)
    assert counts["fast.py", ("value_and_grad", "per_sample_grad")] == 5 * (2 * network.entries + 1)


@pytest.mark.parametrize(
    "activation",
    ["tanh", pytest.param(("tanh(tanh(z))", "relu(log(1 + z**2))"), marks=pytest.mark.slow), ("gelu", "sigmoid")],
    ids=str,
)
def test_networks_of_two_functions_are_proved(activation, tmp_path):
    network = Network((1, 2, 2, 2), activation)
    certificate = prove(emit(tmp_path / "package", network))
    assert 5 * (2 * network.entries + 1) in [shown.entries for shown in certificate.shown]


def test_what_is_too_long_is_counted_and_not_called_proved(tmp_path, monkeypatch):
    """Some are identical only when products are multiplied out, and here none of more than one term is."""
    folder = emit(tmp_path / "package", Network((1, 1, 1), "tanh(z)**2"))
    exact = prove(folder)
    monkeypatch.setattr("derive.proof.judge.MOST_TERMS", (1,))
    certificate = prove(folder)
    said, text = json.loads(certificate.json()), str(certificate)
    assert exact.exact is True and said["exact"] is False
    for before, after in zip(exact.shown, said["shown"], strict=True):
        assert after["entries"] + after["checked"] == before.entries
        agree = f"but for {after['checked']} that agree at random points and are not decided"
        assert after["how"].endswith(agree) == (after["checked"] > 0)
    assert text.startswith("checked numerically: the package") and "proved: " not in text


def test_what_is_a_number_at_no_point_is_not_called_right(monkeypatch):
    monkeypatch.setattr("derive.proof.judge.MOST_TERMS", (0,))
    a, b = sympy.symbols("a b", real=True)
    nowhere = sympy.Function("nowhere", nargs=1)
    nowhere._eval_evalf = lambda self, digits: sympy.nan
    with pytest.raises(NotProved, match="no point says anything"):
        Judge().show("it", nowhere(a) * (b + 1) * (a + 1), nowhere(a) * (b + 2), "here")


def test_the_certificate_is_there_for_machines(tmp_path, capsys):
    folder = emit(tmp_path / "package", Network((1, 1)))
    assert main([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(prove(folder).json())


def test_the_certificate_of_the_default_package_says_what_is_proved():
    folder = Path(__file__).parents[2] / "generated"
    certificate = prove(folder)
    text, said = str(certificate), json.loads(certificate.json())
    assert said["exact"] is True and not any(part["checked"] for part in said["shown"])
    assert said["package"] == "generated" and text.startswith("proved: the package generated, 2-10-10-1")
    assert said["network"] == {**NETWORK, "layers": list(NETWORK["layers"])}
    for name, digest in said["sha256"].items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest() and digest in text
    assert said["versions"]["Python"] == platform.python_version()
    functions = {name: set() for name in ("backward.py", "fast.py", "network.c")}
    for shown in said["shown"]:
        functions[shown["file"]] |= {name.split("(")[0].split(" ")[0].split(".")[-1] for name in shown["functions"]}
        assert all(name in text for name in shown["functions"])
    assert functions.pop("network.c") == {"gradient", "hvp", "per_sample"}
    for name, found in functions.items():
        defined = {
            node.name for node in ast.walk(ast.parse((folder / name).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert defined - found == {name for name in defined if name.startswith("_make_") or name == "step"}
    modules = {path.name for path in folder.glob("*.py")} | {"network.c", "network.h"}
    assert {*said["sha256"], *said["unproved"], "__init__.py"} == modules


@pytest.mark.parametrize("activations", [("mish", "tanh"), ("tanh", "mish")], ids=str)
def test_the_slope_of_each_function_is_proved_wherever_it_stands(activations):
    network = Network((2, 2, 2, 1), activations, "silu", "binary_cross_entropy_with_logits")
    proved = [name for name, _, _ in slopes(network)]
    assert proved == [f"the slope of {name}" for name in ("logsigmoid", "mish", "silu")]


def slip(path: Path, pattern: str, replacement: str) -> None:
    source = path.read_text(encoding="utf-8")
    mutated = re.sub(pattern, replacement, source, count=1)
    assert mutated != source
    path.write_text(mutated, encoding="utf-8")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_rejected(mutant, tmp_path, capsys):
    folder = emit(tmp_path / "package", SMALL)
    slip(folder / "backward.py", *MUTANTS[mutant])
    assert main([str(folder)]) == 1
    assert "NOT proved" in capsys.readouterr().err


FAST_MUTANTS = {
    "a product with the wrong activations": (
        r"grad_W2b2\.addmm_\(a1_one, delta2_T",
        "grad_W2b2.addmm_(a1_one * 2, delta2_T",
    ),
    "a buffer that is needed later": (
        r"mm\(W2b2_T, a1_one, out=z2\)\n( +)z2\.sigmoid_\(\)\n",
        r"mm(W2b2_T, a1_one, out=z2)\n\1z2.sigmoid_()\n\1a1_one.mul_(2)\n",
    ),
    "a chunk that forgets the one before": (r"repeat\(1\)", "repeat(0)"),
    "the slope of another value": (r"(mul\(dot_grad_a1, )slope_a1", r"\1dot_slope_a1"),
    "weights from another place": (r"dot_grad_a2\.addmm_\(dot_W3_T", "dot_grad_a2.addmm_(W3_T"),
    "half of the loss": (r"alpha=1 / 4", "alpha=1 / 8"),
    "memory that nobody has set": (r"new_ones\(", "new_empty("),
    "a row more for each sample": (r"_blocks\(columns\)", "_blocks(out[:, :1])"),
    "a direction that is forgotten": (r"self\._direction\.copy_\(direction\)", "pass"),
    "a value in the place of its tangent": (r"addmm_\(dot_a1, delta2_T\)", "addmm_(a1, delta2_T)"),
    "a weight that the tangent does not pass": (r"\n +dot_z2\.addmm_.*", ""),
    "a slope that does not move": (r"\n +dot_delta2\.addcmul_.*", ""),
}


@pytest.mark.parametrize("mutant", FAST_MUTANTS)
def test_a_mutant_of_the_fast_module_is_rejected(mutant, tmp_path, capsys):
    folder = emit(tmp_path / "package", SMALL)
    slip(folder / "fast.py", *FAST_MUTANTS[mutant])
    assert main([str(folder)]) == 1
    assert "fast.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (" = delta2.T @ a1", " = delta2.T @ (2 * a1)", "dL/dW2[0, 0] is wrong"),
        ("dot_grad_b1 = ", "dot_grad_b1 = 2 * ", "hvp with N = 1: entry b1[0] is wrong"),
    ],
)
def test_the_first_entry_that_fails_is_named_and_the_line_that_is_not_as_it_is_derived(right, wrong, said, tmp_path):
    folder = emit(tmp_path / "package", SMALL)
    path = folder / "backward.py"
    before, after = path.read_text(encoding="utf-8").split(right, 1)
    path.write_text(before + wrong + after, encoding="utf-8")
    place = f"backward.py:{before.count(chr(10)) + 1} is the first line"
    with pytest.raises(NotProved, match=f"{re.escape(said)}: .* should be .*{place}"):
        prove(folder)


def test_a_folder_without_a_package_is_bad_usage(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "backward.py" in capsys.readouterr().err


APPENDED = (  # to the module, each of which would leave a trace or mislead the proof where it was run
    "import os",
    "import collections.abc, os.path",
    "from .command import os",
    "open('canary', 'w')",
    "eval('1')",
    "__import__('os').mkdir('canary')",
    "().__class__.__base__.__subclasses__()",
    "torch.Tensor.__init__.__globals__",
    "getattr(torch, '__dict__')",
    "import typing\ntyping.sys.modules['os'].mkdir('canary')",
    "match torch:\n    case object(__class__=kind):\n        pass",
    "raise SystemExit(0)",
    "while True:\n    pass",
    "def value_and_grad(*_):\n    return Always(), [Always()] * 6\n\n\nclass Always:\n    entries = x = 3",
    "class Other(Parameters):\n    pass",
    "SHAPES['W1'] = (3, 1)",
    "one = torch.ones((), device='cpu') * 2",
    "torch.ones(1).shape[0].subs(1, \"__import__('os').mkdir('canary')\")",
)


@pytest.mark.parametrize("text", APPENDED, ids=range(len(APPENDED)))
@pytest.mark.parametrize("file", ["backward.py", "fast.py"])
def test_what_the_template_does_not_have_is_refused_and_leaves_no_trace(file, text, tmp_path, monkeypatch):
    folder = emit(tmp_path / "package", SMALL)
    path = folder / file
    line = len(path.read_text(encoding="utf-8").splitlines()) + 1
    path.write_text(path.read_text(encoding="utf-8") + text + "\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotProved, match=f"{file}:{line}: .*the template has no such line"):
        prove(folder)
    assert sorted(tmp_path.rglob("*")) == before


DOORS = (
    "open('canary', 'w')",
    "grown = torch.ones(1).shape[0].subs(1, \"__import__('os').mkdir('canary')\")",
    "grown = z3.entries[0, 0].subs(0, \"__import__('os').mkdir('canary')\")",
    "grown = f\"{open('canary', 'w')}\"",
    "grown: open('canary', 'w') = z3",
    "def grown(a=open('canary', 'w')): pass",
)


@pytest.mark.parametrize("text", DOORS, ids=range(len(DOORS)))
def test_a_line_that_leads_outside_is_refused_before_any_runs(text, tmp_path, monkeypatch):
    folder = emit(tmp_path / "package", SMALL)
    path = folder / "backward.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("    delta3 =", f"    {text}\n    delta3 =", 1), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotProved, match=r"backward\.py:\d+: .* of emitted code is like this"):
        prove(folder)
    assert sorted(tmp_path.rglob("*")) == before


def out_of_time(*_):
    """As if it were over here; and what goes on, and handles errors, goes on for ever."""
    with suppress(Exception):
        signal.raise_signal(signal.SIGVTALRM)
    while True:
        pass


@pytest.mark.parametrize(
    ("place", "count"),
    [("calls.Calls.backward", 0), ("tensor.decimal_product", 0), ("judge.Judge.show", 1), ("cases.Case.others", 2)],
)
def test_what_is_not_shown_in_time_is_said(place, count, tmp_path, monkeypatch, capsys):
    folder = emit(tmp_path / "package", Network((1, 1)))
    before = signal.getsignal(signal.SIGVTALRM)
    monkeypatch.setattr(f"derive.proof.{place}", out_of_time)
    assert main([str(folder), "--seconds", "900"]) == 1
    steps = ["every function at points", "value_and_grad of backward.py on symbols"]
    steps += ["the other functions of backward.py on symbols", "fast.py on symbols"]
    said = f"package: not shown within 900.0 seconds of work: {enumeration(steps[count:])}\n"
    assert capsys.readouterr().err.endswith(said)
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_work_without_end_ends():
    with pytest.raises(OutOfTime), limited(0.1):
        while True:
            with suppress(Exception):
                while True:
                    pass


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e300", "1e-9", "soon"])
def test_a_limit_that_is_none_is_bad_usage(seconds, tmp_path, capsys):
    folder = emit(tmp_path / "package", Network((1, 1)))
    try:
        assert main([str(folder), "--seconds", seconds]) == 2
    except SystemExit as error:
        assert error.code == 2
    assert re.fullmatch(r"python -m derive\.prove: .*seconds: .*\n", capsys.readouterr().err)


def test_another_thread_can_be_given_no_limit(tmp_path):
    folder = emit(tmp_path / "package", Network((1, 1)))
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="only work in the main thread can be given a limit"):
            pool.submit(prove, folder, seconds=60).result()
        assert pool.submit(prove, folder).result().exact


@pytest.mark.parametrize(
    ("place", "number", "status"),
    [
        ("calls.Calls.backward", signal.SIGINT, 130),
        ("tensor.decimal_product", signal.SIGINT, 130),
        ("judge.Judge.show", signal.SIGINT, 130),
        ("judge.Judge.show", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_an_interrupt_ends_a_proof_at_once_and_says_nothing_of_it(place, number, status, tmp_path):
    """Wherever it arrives, and though what goes on there handles errors and goes on for ever."""
    module, _, name = place.partition(".")
    code = f"""
import os, sys
from contextlib import suppress
import derive.prove
import derive.proof.{module} as module
def interrupted(*_):
    with suppress(Exception):
        os.kill(os.getpid(), {int(number)})
    while True:
        pass
module.{name} = interrupted
sys.argv[1:] = [{str(emit(tmp_path / "package", Network((1, 1))))!r}]
derive.prove.finish(derive.prove.main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    told = re.sub(r".*: \d+ of \d+, about \d+ s left\n", "", done.stderr)  # on a slow machine
    assert (done.returncode, done.stdout, told) == (status, "", "")


@pytest.mark.parametrize("text", ["", "raise SystemExit(0)", "\0"], ids=ascii)
def test_a_fast_module_that_computes_nothing_is_rejected(text, tmp_path, capsys):
    folder = emit(tmp_path / "package", SMALL)
    (folder / "fast.py").write_text(text)
    assert main([str(folder)]) == 1
    assert re.fullmatch(r"NOT proved: .*fast\.py:.*derive\.build writes it anew\n", capsys.readouterr().err)


NO_SOURCES = {
    "pipe": (os.mkfifo, "not a file"),
    "folder": (Path.mkdir, "Is a directory"),
    "huge": (lambda path: (path.touch(), os.truncate(path, 2**40)), "1099511627776 bytes, expected at most"),
    "latin": (lambda path: path.write_bytes(b"\xff"), "not UTF-8 at byte 0"),
}


@pytest.mark.parametrize("file", ["backward.py", "fast.py"])
@pytest.mark.parametrize("case", NO_SOURCES)
def test_what_is_no_source_is_refused_in_one_line(case, file, tmp_path, capsys):
    folder = emit(tmp_path / "package", Network((1, 1)))
    make, message = NO_SOURCES[case]
    (folder / file).unlink()
    make(folder / file)
    assert main([str(folder)]) == 2
    assert re.fullmatch(f"python -m derive.prove: .*{file}: {message}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "network", [Network((2, 2, 2, 1)), Network((1, 2, 2), "tanh", "softplus", "cross_entropy")], ids=str
)
def test_a_derivative_through_names_is_sympys_of_the_whole(network):
    sums, algebra = Judge().sums, Algebra()
    case = Case(network, "", Path("backward.py"), 2, sums)
    (first, _), pairs = (
        case.row_losses(case.x, case.y),
        zip(case.parameters.values(), case.direction.values(), strict=True),
    )
    moves = {entry: dot for p, d in pairs for entry, dot in zip(p.entries.flat, d.entries.flat, strict=True)}
    whole = sums.written_out(first)
    assert not sums.inside(whole) and sums.inside(first)
    for entry in [*moves, *case.x.entries.flat]:
        assert algebra.identical(sums.written_out(sums.derivative(first, entry)), sympy.diff(whole, entry))
    along = sum(sympy.diff(whole, entry) * dot for entry, dot in moves.items())
    assert algebra.identical(sums.written_out(sums.along(first, moves)), along)


def test_a_name_is_written_out_after_those_that_are_made_of_it():
    a, b, c = sympy.symbols("a b c", real=True)
    sums = Judge().sums
    second = sums.name(sums.name(a * b + c) * b + a)
    third = sums.name(2 * second - 2 * c)
    assert sums.aligned(third**2 / 4, (second - c) ** 2) == ((2 * second - 2 * c) ** 2 / 4, (second - c) ** 2)


def test_the_work_of_a_proof_grows_with_the_layers():
    network = Network((2, *[4] * 8, 1), "tanh")
    judge = Judge()
    case = Case(network, render(network, ["backward.py"])["backward.py"], Path("backward.py"), 1, judge.sums)
    with limited(30):
        decided = judge.establish(case.gradient(), "backward.py")
    assert decided == {True: network.entries + 1}


def test_what_has_a_name_is_known_by_it_however_it_is_written():
    a, b, c = sympy.symbols("a b c", real=True)
    sums = Judge().sums
    name = sums.name(a * (b + 1) + c)
    assert sums.recognised(a * b + a + c) == sums.recognised(a * (b + 1) + c) == sums.name(c + a + a * b) == name
    assert (
        sums.recognised((a * b + a + c) * sympy.Rational(-2, 3)) == sums.name(-2 * (a * b + a + c) / 3) == -2 * name / 3
    )
    for other in (a * b + c, a * (b + 1) - c, (a * b + a + c) * b, a * b, a, sympy.Integer(3)):
        assert sums.recognised(other) == other
    step = sums.name(sympy.Piecewise((0, a * b <= 0), (a * b + c, True)))
    assert sums.recognised(sympy.Piecewise((2 * a * b + 2 * c, a * b > 0), (0, True))) == 2 * step


@pytest.mark.parametrize(
    "network",
    [
        Network((2, 2, 2, 2), ("tanh", "relu"), "identity", "cross_entropy", "mean"),
        Network((1, 2, 2, 2, 1), "gelu"),
        Network((1, 2, 1), "z*sigmoid(z)", loss="abs(p - y)**3"),
    ],
    ids=str,
)
def test_what_the_code_computes_on_its_way_is_known_by_its_name(network):
    """So that nothing has to be written out, which takes the longer the deeper a network is."""
    source = render(network, ["backward.py"])["backward.py"]
    sums = Judge().sums
    case = Case(network, source, Path("backward.py"), 2, sums)
    for name, emitted, derivative in [*case.gradient(), *case.others()]:
        assert name == "the loss" or sums.inside(emitted) == sums.inside(derivative), name


U, V = sympy.symbols("u v", real=True)
SAME = [
    ((U + V) ** 2, U**2 + 2 * U * V + V**2),
    (sympy.exp(U) * sympy.exp(V), sympy.exp(U + V)),
    (1 / (1 + sympy.exp(-U)), sympy.exp(U) / (1 + sympy.exp(U))),
    (1 / U - 1 / V, (V - U) / (U * V)),
    (sympy.sqrt(U**2 + 1) ** 4, (U**2 + 1) ** 2),
    (sympy.Abs(-U) ** 2, U**2),
    (sympy.Piecewise((0, U <= 0), (U, True)) ** 2, sympy.Piecewise((0, U <= 0), (U**2, True))),
    (sympy.Piecewise((1, U > 0), (0, True)), 1 - sympy.Piecewise((1, U <= 0), (0, True))),
    (sympy.log(sympy.exp(U) + sympy.exp(U + V)), U + sympy.log(1 + sympy.exp(V))),
    (sympy.exp(U / 3) * sympy.exp(U / 6), sympy.sqrt(sympy.exp(U))),
    (sympy.exp(-FUNCTIONS["logsigmoid"].xreplace({z: -U}) * sympy.Rational(2, 3)), sympy.cbrt(1 + sympy.exp(U)) ** 2),
    (sigmoid(-U), 1 - sigmoid(U)),
    (sigmoid(2 * FUNCTIONS["logsigmoid"].xreplace({z: -U})), 1 / (1 + (1 + sympy.exp(U)) ** 2)),
]
DIFFERENT = [
    (sympy.sqrt(sympy.exp(U) + 1), sympy.exp(U / 2) + 1),
    (sympy.sqrt(sigmoid(U)), sympy.exp(FUNCTIONS["logsigmoid"].xreplace({z: U}) / 3)),
    ((U + V) ** 2, U**2 + V**2),
    (sympy.exp(U * V), sympy.exp(U) * sympy.exp(V)),
    (1 / (1 + U), 1 / (1 - U)),
    (sympy.Abs(U), U),
    (sympy.Piecewise((0, U <= 0), (1, True)), sympy.Piecewise((0, U < 0), (1, True))),
    (sympy.log(U + V), sympy.log(U) + sympy.log(V)),
    (sigmoid(-U), 1 + sigmoid(U)),
    (sigmoid(2 * FUNCTIONS["logsigmoid"].xreplace({z: U})), 1 / (1 + (1 + sympy.exp(U)) ** 2)),
]


def test_the_algebra_decides():
    assert all(Algebra(open_functions=True).identical(*pair) for pair in SAME)
    assert not any(Algebra(open_functions=True).identical(*pair) for pair in DIFFERENT)


def test_what_the_algebra_finds_identical_is_alike_modulo_a_prime():
    sums = Judge().sums
    assert all(sums.alike(*pair) for pair in SAME)
    assert not any(sums.alike(*pair) for pair in DIFFERENT)
