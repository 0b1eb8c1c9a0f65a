"""Numbers of classes in the place of targets, where the loss couples a row: as torch's losses take them."""

import re

import pytest
import torch

from derive.packages import render
from derive.problems import Network

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


REFUSED = {
    3: "y: 3: expected a class from 0 to 2",
    -1: "y: -1: expected a class from 0 to 2",
    -100: "y: -100: expected a class from 0 to 2; x[y != -100] and y[y != -100] are the rows that are not ignored",
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
