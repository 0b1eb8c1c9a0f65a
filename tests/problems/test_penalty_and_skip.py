"""A penalty, connections that skip layers, layers without biases: right in every function, the penalty counted once.

They are held against autograd of the loss as a person writes it, which knows neither our definitions nor our sweeps.
"""

import itertools
import json
import re
import subprocess
import sys

import numpy
import pytest
import torch
from torch.nn import functional

from derive import build
from derive.packages.emit import render, subject_of
from derive.problems.network import Network
from derive.proof import NotProved, prove
from tests.helpers.gate import assert_agree, noises
from tests.helpers.programs import PATIENCE, torchrun

PENALTIES = {
    "": lambda w: 0 * w,
    "0.05*w**2": lambda w: 0.05 * w**2,
    "abs(w)": torch.abs,
    "w": lambda w: w,
    "w**2/(1 + w**2)": lambda w: w**2 / (1 + w**2),
    "where(w > 0, w, w**2/2)": lambda w: torch.where(w > 0, w, w**2 / 2),
}
SOFTMAX = "y*(logsumexp(p) - p)"  # whose mean is not the loss that it is of torch, but its batchmean is
NETWORKS = {
    "a penalty": Network(penalty="0.05*w**2"),
    "beside a mean": Network((2, 4, 3), "relu", loss="cross_entropy", reduction="mean", penalty="abs(w)"),
    "of one layer": Network((3, 2), penalty="where(w > 0, w, w**2/2)"),
    "beside a loss that does not bend": Network((3, 2), loss="l1_loss", penalty="0.05*w**2"),
    "the weights themselves": Network((2, 3, 1), penalty="w"),
    "a skip": Network((2, 5, 4, 5, 1), "tanh", skip=((1, 3),)),
    "skips that meet": Network((3, 3, 3, 3), "sigmoid", skip=((0, 1), (0, 3), (1, 2), (1, 3)), reduction="mean"),
    "of a wide one": Network((64, 64, 64, 2), ("tanh", "relu"), skip=((0, 2),), penalty="0.05*w**2"),
    "both": Network(
        (2, 3, 3, 2), "gelu", loss="cross_entropy", reduction="mean", penalty="w**2/(1 + w**2)", skip=((1, 2),)
    ),
    "to the output": Network((2, 3, 2), "softplus", "tanh", skip=((0, 2),), penalty="0.05*w**2"),
    "over the rows": Network((3, 4, 3), "tanh", reduction="batchmean"),
    "over the rows of several, with all else": Network(
        (2, 3, 3, 2), "tanh", reduction="batchmean", bias="hidden", penalty="0.05*w**2", skip=((1, 2),)
    ),
    "over the rows, which are coupled": Network((2, 4, 3), "gelu", loss=SOFTMAX, reduction="batchmean"),
    "over the rows, as a mean is": Network((2, 3), loss="cross_entropy", reduction="batchmean"),
    "no biases": Network((3, 5, 4, 2), "tanh", bias="none"),
    "none in the output layer": Network((2, 4, 3), "relu", loss="cross_entropy", reduction="mean", bias="hidden"),
    "no biases in the one layer": Network((4, 1), "tanh", "sigmoid", bias="hidden", reduction="mean"),
    "no biases of a wide one": Network((64, 64, 64, 2), ("tanh", "relu"), bias="none", reduction="mean"),
    "no biases and one output": Network((2, 10, 10, 1), bias="none"),
    "all without biases": Network((3, 3, 3, 2), "gelu", bias="none", penalty="0.05*w**2", skip=((0, 1), (1, 2))),
    "all but hidden biases": Network((3, 3, 3, 3), ("tanh", "identity"), bias="hidden", skip=((0, 3),), penalty="w"),
}
LOSSES = {
    **{name: getattr(functional, name) for name in ("mse_loss", "l1_loss", "cross_entropy")},
    SOFTMAX: functional.cross_entropy,
}
FUNCTIONS = {"identity": lambda z: z, "gelu": functional.gelu, "softplus": functional.softplus}
EPS = 512  # where terms of a sum nearly cancel, what is left has lost so much
every = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def predicted(network, parameters, x):
    handed_on, left = [x], list(parameters)
    for layer in range(1, network.depth + 1):
        W, name = left.pop(0), network.activation_of(layer)
        biased = {"all": True, "none": False, "hidden": layer < network.depth}[network.bias]
        b = left.pop(0) if biased else None
        z = functional.linear(handed_on[-1], W, b)
        for start, end in network.skip:
            z = z + handed_on[start] if end == layer else z
        handed_on.append((FUNCTIONS.get(name) or getattr(torch, name))(z))
    assert not left
    return handed_on[-1]


def penalty_of(network, parameters):
    return sum(PENALTIES[network.penalty](W).sum() for W in parameters if W.ndim == 2)


def loss_of_rows(network, parameters, x, y):
    p = predicted(network, parameters, x)
    if network.reduction == "batchmean":
        return LOSSES[network.loss](p, y, reduction="sum") / len(x)
    return LOSSES[network.loss](p, y, reduction=network.reduction)


def loss_of(network, parameters, x, y):
    return loss_of_rows(network, parameters, x, y) + penalty_of(network, parameters)


def point(network, rows):
    """Parameters, inputs, targets and a direction."""
    torch.manual_seed(rows)
    shapes = [shape for n, m in itertools.pairwise(network.layers) for shape in ((m, n), (m,))]
    biased = {"all": shapes, "none": shapes[::2], "hidden": shapes[:-1]}
    shapes = biased[network.bias]
    parameters, direction = ([torch.randn(shape, dtype=torch.float64) for shape in shapes] for _ in range(2))
    x, y = (torch.rand(rows, network.layers[side], dtype=torch.float64) for side in (0, -1))
    return parameters, x, y / y.sum(1, keepdim=True) if network.loss in ("cross_entropy", SOFTMAX) else y, direction


def gradient(scalar, tensors, **options):
    return torch.autograd.grad(scalar, tensors, materialize_grads=True, **options)


def product(scalar, tensors, direction):
    """Hessian times direction, by autograd of autograd."""
    slopes = gradient(scalar, tensors, create_graph=True)
    return gradient(sum((slope * along).sum() for slope, along in zip(slopes, direction, strict=True)), tensors)


def of_row(network, tensors):
    *given, x, y = tensors
    parameters = [parameter.clone().requires_grad_() for parameter in given]
    return gradient(loss_of_rows(network, parameters, x, y), parameters)


@every
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_each_function_is_what_autograd_finds(network, rows, emitted):
    backward = emitted(network)
    given, x, y, direction = point(network, rows)
    parameters = [parameter.clone().requires_grad_() for parameter in given]
    inputs = x.clone().requires_grad_()
    loss = loss_of(network, parameters, inputs, y)
    value, slopes = backward.value_and_grad(given, x, y)
    assert_agree([value, *slopes], [loss, *gradient(loss, parameters, retain_graph=True)], EPS)
    assert_agree([backward.input_grad(given, x, y)], gradient(loss, [inputs], retain_graph=True), EPS)
    assert_agree(backward.hvp(given, x, y, direction), product(loss, parameters, direction), EPS)
    moved = torch.func.jvp(lambda *p: predicted(network, p, x), tuple(given), tuple(direction))
    assert_agree(backward.jvp(given, x, direction), moved, EPS)
    assert_agree([backward.forward(given, x)], [predicted(network, given, x)], EPS)
    each = backward.per_sample_grad(given, x, y)
    for row in range(rows):
        drawn = [*given, x[row : row + 1], y[row : row + 1]]
        own = of_row(network, drawn)
        moved = noises(lambda tensors: of_row(network, tensors), drawn, own)
        assert_agree([part[row] for part in each], own, EPS, moved)
    if network.penalty:
        penalty = penalty_of(network, parameters)
        value, slopes = backward.penalty_and_grad(given)
        assert_agree([value, *slopes], [penalty, *gradient(penalty, parameters, retain_graph=True)], EPS)
        assert_agree(backward.penalty_hvp(given, direction), product(penalty, parameters, direction), EPS)
    assert hasattr(backward, "penalty_and_grad") == bool(network.penalty)


@every
@pytest.mark.parametrize("rows", [1, 3, 10, 700])
def test_the_penalty_counts_once_whatever_the_chunks_batches_and_blocks(network, rows, emitted, monkeypatch):
    given, x, y, direction = point(network, rows)
    parameters = [parameter.clone().requires_grad_() for parameter in given]
    loss = loss_of(network, parameters, x, y)
    expected = [loss, *gradient(loss, parameters, retain_graph=True)]
    fast = emitted(network, "fast").FastGradient(given)
    fast._chunk = fast._hvp_chunk = 4
    for value, slopes in (
        fast.value_and_grad(x, y, copy=True),
        fast.accumulate([(x[:2], y[:2]), (x[2:], y[2:])]),
        fast.accumulate((x[row : row + 1], y[row : row + 1]) for row in range(rows)),
    ):
        assert_agree([value, *slopes], expected, EPS)
    bent = product(loss, parameters, direction)
    for _ in range(2):
        assert_agree(fast.hvp(x, y, direction), bent, EPS)
    assert_agree(fast.per_sample_grad(x, y), emitted(network).per_sample_grad(given, x, y), EPS)
    if network.penalty:
        alone = emitted(network, "fast").FastGradient(given, penalty=False)
        rows_alone = loss_of_rows(network, parameters, x, y)
        value, slopes = alone.value_and_grad(x, y)
        assert_agree([value, *slopes], [rows_alone, *gradient(rows_alone, parameters, retain_graph=True)], EPS)
        assert_agree(alone.hvp(x, y, direction), product(rows_alone, parameters, direction), EPS)

    run, ranks = emitted(network, "run"), emitted(network, "ranks").Ranks("cpu")
    monkeypatch.setattr(run, "BLOCK", 3)
    drawn, generator = run.draw(5, torch.float64)
    value, slopes = run.gradient_of_blocks(min(rows, 20), drawn, generator, ranks)
    x, y = (torch.cat(parts) for parts in zip(*blocks_of(run, min(rows, 20)), strict=True))
    parameters = [parameter.clone().requires_grad_() for parameter in drawn]
    loss = loss_of(network, parameters, x, y)
    assert_agree([value, *slopes], [loss, *gradient(loss, parameters)], EPS)


def blocks_of(run, points):
    _, generator = run.draw(5, torch.float64)
    for start in range(0, points, run.BLOCK):
        yield run.points_from(generator, min(run.BLOCK, points - start), torch.float64)


@every
def test_c_computes_the_same(network, emitted):
    given, x, y, direction = point(network, 10)
    fast, native = emitted(network, "fast").FastGradient(given), emitted(network, "native").NativeGradient(given)
    for one, other in ((native, fast),) if not network.penalty else ((native, fast), without_penalty(network, emitted)):
        (value, slopes), (expected, others) = one.value_and_grad(x, y), other.value_and_grad(x, y)
        assert_agree([value, *slopes], [expected, *others], EPS)
        assert_agree(one.hvp(x, y, direction), other.hvp(x, y, direction), EPS)
        assert_agree(one.per_sample_grad(x, y), other.per_sample_grad(x, y), EPS)


def without_penalty(network, emitted):
    given, *_ = point(network, 10)
    kinds = emitted(network, "native").NativeGradient, emitted(network, "fast").FastGradient
    return tuple(kind(given, penalty=False) for kind in kinds)


@every
def test_the_reference_is_the_network_too(network, emitted):
    reference, run = emitted(network, "reference"), emitted(network, "run")
    drawn, x, y = run.sample(5, 7, torch.float64)
    parameters = [parameter.clone().requires_grad_() for parameter in drawn]
    expected = gradient(loss_of(network, parameters, x, y), parameters)
    assert_agree(reference.gradients(5, 7, torch.float64), expected, EPS)
    assert_agree(reference.gradients(5, 7, torch.float64, rows=2), expected, EPS)


@pytest.mark.parametrize("reduction", ["sum", "mean", "batchmean"])
def test_processes_that_share_the_rows_count_the_penalty_once(reduction, emitted, monkeypatch):
    network = Network(reduction=reduction, penalty="0.05*w**2")
    train, backends = emitted(network, "train"), emitted(network, "backends")
    parameters, x, y = emitted(network, "run").sample(5, 12, torch.float64)
    for rows in (2, 11):
        monkeypatch.setenv("WORLD_SIZE", "3")
        added = []
        for rank in range(3):
            monkeypatch.setenv("RANK", str(rank))
            ranks = emitted(network, "ranks").Ranks("cpu")
            monkeypatch.setattr(ranks, "add", added.append)
            once = {"penalty": ranks.first} if reduction == "sum" else {}
            of = backends.gradient_by("torch", parameters, rows, ranks, **once)
            train.step_gradient(of, x, y, torch.arange(rows), ranks)
        loss, slopes = emitted(network).value_and_grad(parameters, x[:rows], y[:rows])
        assert_agree([sum(added)], [torch.cat([part.flatten() for part in (loss, *slopes)])], EPS)


def test_the_commands_of_a_package_agree_with_autograd_also_in_blocks_and_processes(tmp_path):
    options = ["--layers=2-4-4-1", "--skip=1-2", "--penalty=0.05*w**2", "--out", str(tmp_path / "mine")]
    assert build.main(options) == 0
    command = ["-m", "mine.run", "--compare", "--dtype", "float64", "--out", str(tmp_path)]
    blocks = "import sys, mine.run as run; run.BLOCK = 7; sys.exit(run.main(sys.argv[1:]))"
    for start in (command, ["-c", blocks, *command[2:], "--points", "30"]):
        done = subprocess.run(
            [sys.executable, *start], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0 and "all gradients agree" in done.stdout, done.stdout + done.stderr
    spread = ["-m", "mine.run", "--compare", "--points", "600000", "--force", "--out", str(tmp_path)]
    done = torchrun(2, spread, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "all gradients agree" in done.stdout, done.stdout + done.stderr
    assert build.main(["--check", "--out", str(tmp_path / "mine")]) == 0


def test_the_published_loss_of_the_toy_network():
    """CS231n, assignment 1, two-layer net: softmax, mean, 0.05 times the squares of the weights."""
    network = Network((4, 10, 3), "relu", loss="cross_entropy", reduction="mean", penalty="0.05*w**2")
    namespace = {"__name__": "backward"}
    exec(render(network, ["backward.py"])["backward.py"], namespace)
    numpy.random.seed(0)
    W1 = 1e-1 * numpy.random.randn(4, 10)
    W2 = 1e-1 * numpy.random.randn(10, 3)
    numpy.random.seed(1)
    x = 10 * numpy.random.randn(5, 4)
    y = numpy.eye(3)[[0, 1, 2, 2, 1]]
    parameters = map(torch.from_numpy, (W1.T.copy(), numpy.zeros(10), W2.T.copy(), numpy.zeros(3)))
    loss, _ = namespace["value_and_grad"](list(parameters), torch.from_numpy(x), torch.from_numpy(y))
    assert abs(loss.item() - 1.30378789133) < 1e-11


SMALL = Network((2, 2, 2, 1), "tanh", penalty="w**4/4", skip=((0, 1), (1, 2)))
MUTANTS = {
    "the penalty lost": (r" \+ penalty2\.sum\(\)", ""),
    "its slope lost": (r"(grad_W2 = delta2\.T @ a1) \+ .*?  #", r"\1  #"),
    "its curvature lost": (r"(dot_grad_W1 = .*?) \+ 3 \* .*?  #", r"\1  #"),
    "a penalty of another layer": (r"(penalty1 = .*?)W1", r"\1W2"),
    "what skips lost": (r"(z2 = [^\n]*?\)) \+ a1", r"\1"),
    "what skips sent back twice": (r"delta2 @ W2 \+ delta2", "delta2 @ W2 + 2 * delta2"),
    "another layer skips": (r"(z2 = [^\n]*?\)) \+ a1", r"\1 + x"),
}


def test_a_network_with_both_is_proved(tmp_path):
    build.write_package(tmp_path / "mine", render(SMALL))
    certificate = prove(tmp_path / "mine")
    assert certificate.exact and f"penalty {SMALL.penalty}, skip 0-1,1-2" in str(certificate)
    assert {"penalty_and_grad", "penalty_hvp"} <= {name for part in certificate.shown for name in part.functions}
    assert json.loads(certificate.json())["network"]["skip"] == [[0, 1], [1, 2]]


BARE = Network((2, 2, 2, 2), "tanh", bias="hidden", reduction="batchmean")


def test_a_network_without_biases_in_the_output_layer_is_proved_and_a_slip_in_it_is_not(tmp_path):
    build.write_package(tmp_path / "mine", render(BARE))
    certificate = prove(tmp_path / "mine")
    assert certificate.exact and "batchmean, biases in hidden layers only" in str(certificate)
    path = tmp_path / "mine" / "backward.py"
    for right, wrong in (("z3 = a2 @ W3.T", "z3 = a2 @ W3"), ("2 / N * (z3 - y)", "1 / N * (z3 - y)")):
        text = path.read_text(encoding="utf-8")
        assert right in text
        path.write_text(text.replace(right, wrong), encoding="utf-8")
        with pytest.raises(NotProved):
            prove(tmp_path / "mine")
        path.write_text(text, encoding="utf-8")


def test_weights_without_biases_go_into_modules_and_files_and_back(emitted, tmp_path):
    backward, weights = emitted(BARE), emitted(BARE, "weights")
    net = torch.nn.Sequential(
        *[torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2), torch.nn.Tanh()],
        torch.nn.Linear(2, 2, bias=False),
    )
    parameters = backward.Parameters.from_module(net)
    assert list(parameters._fields) == ["W1", "b1", "W2", "b2", "W3"]
    x = torch.rand(4, 2)
    assert_agree([backward.forward(parameters, x)], [net(x).detach()], EPS)
    for name in ("w.pt", "w.safetensors"):
        weights.save(tmp_path / name, parameters)
        assert all(map(torch.equal, weights.load(tmp_path / name, torch.float32), parameters))
    with pytest.raises(ValueError, match=r"expected W1 \(2, 2\), b1 \(2,\), W2 \(2, 2\), b2 \(2,\), W3 \(2, 2\), got"):
        backward.Parameters.from_module(torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(3)]))


@pytest.fixture(scope="module")
def small():
    return render(SMALL, ["__init__.py", "backward.py", "fast.py"])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_proof_rejects_a_slip_in_either(mutant, small, tmp_path):
    build.write_package(tmp_path / "mine", small)
    path = tmp_path / "mine" / "backward.py"
    pattern, wrong = MUTANTS[mutant]
    text, count = re.subn(pattern, wrong, path.read_text(encoding="utf-8"))
    assert count, "no such line"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NotProved):
        prove(tmp_path / "mine")


def test_they_are_settings_of_a_file_too(tmp_path, monkeypatch):
    (tmp_path / "net.toml").write_text(
        'layers = [2, 3, 3, 1]\npenalty = "0.05*w**2"\nskip = [[1, 2]]\nbias = "None"\nreduction = "batchmean"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert build.main(["net.toml", "--out", "one"]) == 0
    assert (
        build.main(
            [
                "--layers=2-3-3-1",
                "--penalty=0.05*w**2",
                "--skip=1-2",
                "--bias=none",
                "--reduction=Batch-Mean",
                "--out",
                "other",
            ]
        )
        == 0
    )
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    assert build.main(["net.toml", "--penalty=w**2", "--out", "third"]) == 0
    assert "'penalty': 'w**2'" in (tmp_path / "third" / "backward.py").read_text().replace('"', "'")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--penalty=0.05", "penalty: '0.05' has no w"),
        ("--penalty=z**2", "penalty: not allowed here: z"),
        ("--penalty=w**", "penalty: "),
        ("--skip=1", "skip: expected pairs of layers, as 1-3 or 1-3,3-5, got '1'"),
        ("--skip=2-1", "skip[0]: 2-1: expected an earlier layer and a later one, from 0, the inputs, to 3"),
        ("--skip=1-4", "skip[0]: 1-4: expected an earlier layer and a later one"),
        ("--skip=0-1", "skip[0]: 0-1: of 2 and 3 units; only equal widths can be added"),
        ("--skip=1-2,1-2", "skip[1]: 1-2 stands twice"),
        ("--bias=no", "bias: no 'no'; did you mean 'none'? known: all, hidden, none"),
        ("--bias=false", "bias: no 'false'; did you mean 'none'? known: all, hidden, none"),
        ("--reduction=none", "reduction: no 'none'; known: sum, mean, batchmean"),
        ("--loss=categorical_crossentropy", "loss: no 'categorical_crossentropy'; did you mean 'cross_entropy'? known"),
        ("--bias=outputs", "bias: no 'outputs'; known: all, hidden, none"),
        ("--reduction=batch", "reduction: no 'batch'; did you mean 'batchmean'? known: sum, mean, batchmean"),
    ],
)
def test_what_neither_can_be_is_named(option, message, tmp_path, capsys):
    assert build.main(["--layers=2-3-3-1", option, "--out", str(tmp_path / "mine")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"penalty": 3}, "penalty: expected a formula in w, got 3"),
        ({"skip": "1-2"}, "skip: expected a list of pairs, got '1-2'"),
        ({"skip": [1]}, r"skip\[0\]: expected a list of two layers, got 1"),
        ({"bias": False}, "bias: expected a name, got False"),
        ({"skip": [[1, True]]}, r"skip\[0\]: expected two layers, as \(1, 3\), got \(1, True\)"),
    ],
)
def test_what_is_of_another_kind_is_named(given, error):
    with pytest.raises(TypeError, match=error):
        Network((2, 3, 3, 1), **given)


def test_the_recursion_is_left_out_where_layers_differ():
    headings = [
        {section.title for section in subject_of(network).document}
        for network in (
            Network((2, 3, 3, 1), penalty="w**2"),
            Network((2, 3, 3, 1), skip=((1, 2),)),
            Network((2, 3, 3, 1), activation="identity"),
        )
    ]
    assert ["The recursion for any depth" in titles for titles in headings] == [True, False, False]


def test_where_a_skip_and_a_product_enter_one_equation_both_are_said_and_derived():
    page = render(Network((2, 3, 3, 1), skip=((1, 2),)), ["derivation.md"])["derivation.md"]
    both = "left factor of a product and derivative of the sum"
    assert rf"\boldsymbol{{W}}_{{2}} + \boldsymbol{{\Delta}}_{{2}} && \text{{{both}}}" in page
    rule = page.partition(f". {both.capitalize()}\n")[2].partition("\n### ")[0]
    assert r"(d\boldsymbol{V}) \boldsymbol{A}^{\top} + d\boldsymbol{V}" in rule
    assert r"\boldsymbol{G} \boldsymbol{A} + \boldsymbol{G} }" in rule
