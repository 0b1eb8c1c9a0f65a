"""Numbers of classes in the place of targets, where the loss couples a row: as torch's losses take them."""

import re

import pytest
import torch

from derive.packages import render
from derive.problems import Network
from tests.helpers.gate import assert_agree

CLASSES = Network((2, 3, 3), activation="tanh", loss="cross_entropy", reduction="mean")
LABELS = torch.tensor([2, 0, 1, 1, 0])


@pytest.fixture
def case(emitted):
    run = emitted(CLASSES, "run")
    parameters, x, _ = run.sample(3, 5, torch.float64)
    return parameters, x, torch.nn.functional.one_hot(LABELS, 3).double()


def test_every_function_takes_classes(emitted, case):
    backward, (parameters, x, rows) = emitted(CLASSES, "backward"), case
    direction = [torch.rand_like(p) for p in parameters]
    for call in (
        lambda y: backward.value_and_grad(parameters, x, y)[1],
        lambda y: backward.value_and_grad(iter(parameters), x, y)[:1],
        lambda y: [backward.input_grad(parameters, x, y)],
        lambda y: backward.per_sample_grad(parameters, x, y),
        lambda y: backward.hvp(parameters, x, y, direction),
        lambda y: emitted(CLASSES, "steps").steps(parameters, x, y).values(),
        lambda y: [emitted(CLASSES, "function").loss(parameters, x, y)],
    ):
        assert all(torch.equal(*pair) for pair in zip(call(LABELS), call(rows), strict=True))
    prediction = backward.forward(parameters, x)
    loss, _ = backward.value_and_grad(parameters, x, LABELS)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(prediction, LABELS), rtol=1e-14)


@pytest.mark.parametrize("kind", ["FastGradient", "NativeGradient"])
def test_the_fast_modules_take_classes(kind, emitted, case):
    parameters, x, rows = case
    of = getattr(emitted(CLASSES, {"FastGradient": "fast", "NativeGradient": "native"}[kind]), kind)(parameters)
    loss, gradient = of.value_and_grad(x, rows)
    right = [loss.clone(), *(g.clone() for g in gradient)]
    loss, gradient = of.value_and_grad(x, LABELS)
    assert all(map(torch.equal, [loss, *gradient], right))


IGNORED = {
    "some": [2, -100, 1, -100, 0, -100, 2, 1, -100],
    "the first and the last": [-100, 0, 1, 2, 2, 1, 0, 0, -100],
    "all but one": [*[-100] * 5, 1, *[-100] * 3],
}
OF_CLASSES = {
    "mean": CLASSES,
    "sum": Network((2, 3, 3), activation="tanh", loss="cross_entropy"),
    "batchmean": Network((2, 3, 3), activation="tanh", loss="cross_entropy", reduction="batchmean", penalty="w**2"),
    "wide": Network((2, 64, 64, 3), activation="tanh", loss="cross_entropy", reduction="mean", bias="hidden"),
}


def of_torch(network, parameters, x, y):
    """torch's own loss of class numbers, of which it ignores -100, with the penalty."""
    left, a = list(parameters), x
    for layer in range(1, network.depth + 1):
        a = torch.nn.functional.linear(a, left.pop(0), left.pop(0) if network.has_biases(layer) else None)
        a = torch.tanh(a) if layer < network.depth else a
    reduction = "sum" if network.reduction == "sum" else "mean"
    penalty = sum((p**2).sum() for p in parameters if p.ndim == 2) if network.penalty else 0
    return torch.nn.functional.cross_entropy(a, y, reduction=reduction), penalty


@pytest.mark.parametrize("labels", IGNORED.values(), ids=IGNORED)
@pytest.mark.parametrize("network", OF_CLASSES.values(), ids=OF_CLASSES)
def test_rows_to_ignore_are_ignored_as_by_torch(network, labels, emitted):
    """In the loss, in what a mean divides by, and in every derivative, of every module; whatever the chunks."""
    backward, y = emitted(network), torch.tensor(labels)
    given, x, _ = emitted(network, "run").sample(3, len(y), torch.float64)
    direction = [torch.rand_like(p) for p in given]
    parameters, inputs = [p.clone().requires_grad_() for p in given], x.clone().requires_grad_()
    rows, penalty = of_torch(network, parameters, inputs, y)
    loss = rows + penalty
    slopes = torch.autograd.grad(loss, [*parameters, inputs], create_graph=True)
    expected = [loss, *slopes[:-1]]
    along = sum((slope * part).sum() for slope, part in zip(slopes[:-1], direction, strict=True))
    curved = torch.autograd.grad(along, parameters)
    each = [
        torch.autograd.grad(of_torch(network, parameters, x[n : n + 1], y[n : n + 1])[0], parameters)
        if label != -100
        else [torch.zeros_like(p) for p in given]
        for n, label in enumerate(labels)
    ]
    each = [torch.stack(parts) for parts in zip(*each, strict=True)]

    value, gradient = backward.value_and_grad(given, x, y)
    assert_agree([value, *gradient], expected, 64)
    assert_agree([backward.input_grad(iter(given), x, y)], slopes[-1:], 64)
    assert_agree(backward.per_sample_grad(given, x, y), each, 64)
    assert_agree(backward.hvp(given, x, y, direction), curved, 256)
    inputs = x.clone().requires_grad_()
    for function in (emitted(network, "function").loss, emitted(network, "function").loss_op):
        value = function(parameters, inputs, y)
        assert_agree(torch.autograd.grad(value, [*parameters, inputs]), slopes, 64)
    for kind, module in {"FastGradient": "fast", "NativeGradient": "native"}.items():
        of = getattr(emitted(network, module), kind)(given)
        of._chunk = of._hvp_chunk = 2
        for value, gradient in (
            of.value_and_grad(x, y, copy=True),
            of.accumulate([(x[:1], y[:1]), (x[1:4], y[1:4]), (x[4:], y[4:])]),
        ):
            assert_agree([value, *gradient], expected, 64)
        assert_agree(of.hvp(x, y, direction), curved, 256)
        assert_agree(of.per_sample_grad(x, y), each, 64)
        out = torch.full((network.entries, len(y)), 7.0, dtype=torch.float64)
        found = of.per_sample_grad(x, y, out)
        assert_agree(found, each, 64)
        assert all(part.untyped_storage().data_ptr() == out.untyped_storage().data_ptr() for part in found)
        with pytest.raises(ValueError, match="out: expected"):
            of.per_sample_grad(x, y, out[:, 1:])


def test_of_no_rows_that_count_a_sum_is_0_and_a_mean_is_refused(emitted):
    y = torch.full((5,), -100)
    parameters, x, _ = emitted(CLASSES, "run").sample(3, 5, torch.float64)
    for of in (emitted(CLASSES), emitted(CLASSES, "fast").FastGradient(parameters)):
        for function in (
            ("value_and_grad", "input_grad", "hvp") if of is emitted(CLASSES) else ("value_and_grad", "hvp")
        ):
            given = ([parameters] if of is emitted(CLASSES) else []) + [x, y] + [parameters] * (function == "hvp")
            with pytest.raises(ValueError, match="a mean over no rows"):
                getattr(of, function)(*given)
        each = of.per_sample_grad(*([parameters] if of is emitted(CLASSES) else []), x, y)
        assert not any(part.any() for part in each) and each.W1.shape == (5, 3, 2)
    network = OF_CLASSES["sum"]
    for loss, gradient in (
        emitted(network).value_and_grad(parameters, x, y),
        emitted(network, "fast").FastGradient(parameters).value_and_grad(x, y),
    ):
        assert loss == 0 and not any(part.any() for part in gradient)
    assert not emitted(network).input_grad(parameters, x, y).any()


def test_rows_to_ignore_do_not_hide_what_else_is_wrong(emitted, case):
    parameters, x, _ = case
    backward, y = emitted(CLASSES), LABELS.clone()
    y[1] = -100
    for wrong in (x[:4], x.float(), x[:, :1], x.tolist(), x.numpy()):
        for function in (backward.value_and_grad, backward.input_grad, backward.per_sample_grad):
            with pytest.raises((ValueError, TypeError), match=r"^(x|y): expected"):
                function(parameters, wrong, y)


REFUSED = {
    3: "y: 3: expected a class from 0 to 2, or -100 for a row to ignore",
    -1: "y: -1: expected a class from 0 to 2, or -100 for a row to ignore",
    -99: "y: -99: expected a class from 0 to 2, or -100 for a row to ignore",
}


@pytest.mark.parametrize("number", REFUSED)
def test_a_class_that_is_none_is_an_index_error_as_torchs(number, emitted, case):
    parameters, x, _ = case
    wrong = LABELS.clone()
    wrong[3] = number
    with pytest.raises(IndexError, match=f"^{re.escape(REFUSED[number])}$"):
        emitted(CLASSES, "backward").value_and_grad(parameters, x, wrong)
    with pytest.raises(IndexError, match=re.escape(REFUSED[number])):
        emitted(CLASSES, "fast").FastGradient(parameters).value_and_grad(x, wrong)


@pytest.mark.parametrize("y", [LABELS.double(), LABELS.int(), LABELS[:, None], LABELS[:, None].double()], ids=str)
def test_classes_of_another_form_are_refused_with_what_makes_them_classes(y, emitted, case):
    parameters, x, _ = case
    for of in (emitted(CLASSES).value_and_grad, emitted(CLASSES).per_sample_grad):
        with pytest.raises(
            ValueError, match=r"^y: expected rows of 3 numbers, or int64 classes .* y\.flatten\(\)\.long\(\)"
        ):
            of(parameters, x, y)
    assert emitted(CLASSES).value_and_grad(parameters, x, y.flatten().long())[0].ndim == 0


@pytest.mark.parametrize("y", [LABELS.double(), LABELS.int(), LABELS[:4], LABELS[:, None]], ids=str)
def test_what_are_no_classes_is_refused_by_its_shape_or_dtype(y, emitted, case):
    parameters, x, _ = case
    with pytest.raises((ValueError, TypeError), match=r"^y: expected "):
        emitted(CLASSES, "backward").value_and_grad(parameters, x, y)


def test_a_network_without_classes_says_nothing_of_them(emitted):
    network = Network((2, 3, 3))
    assert "_one_hot" not in render(network, ["backward.py"])["backward.py"]
    parameters, x, _ = emitted(network, "run").sample(3, 5, torch.float64)
    with pytest.raises(TypeError, match="y: expected"):
        emitted(network, "backward").value_and_grad(parameters, x, LABELS)


def test_training_says_how_many_classes_are_right(emitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = torch.rand(60, 2)
    labels = (x[:, 0] > x[:, 1]).long() + (x.sum(1) > 1.2)
    lines = [f"{a},{b},{c}" for (a, b), c in zip(x.tolist(), labels.tolist(), strict=True)]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    train, weights, backward = (emitted(CLASSES, name) for name in ("train", "weights", "backward"))
    assert train.main(["--data", "points.csv", "--epochs", "40", "--lr", "0.05"]) == 0
    right = int((backward.forward(weights.load(tmp_path / "weights.pt", torch.float32), x).argmax(1) == labels).sum())
    assert f"; the likeliest class is right at {right} of 60 points, {right / 60:.1%}\n" in capsys.readouterr().out
    assert right > 40
