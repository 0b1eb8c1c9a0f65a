"""The backward of torch modules as text: its numbers beside autograd's, its function, and what is refused."""

import itertools
import re
import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derive.module import Refused, Wrong, main, module_derivation
from derive.modules.graph import Module, results
from tests.helpers.beside_autograd import loaded, truth
from tests.helpers.layers import LAYERS, MLP, GPTBlock, Of, r
from tests.helpers.read_tex import compute

CLOSE = 1e-12


def agree(module: Module, text: ModuleType) -> None:
    outputs, cotangents, gradients, tensors = truth(module)
    names = text.forward.__code__.co_varnames[: text.forward.__code__.co_argcount]
    got, saved = text.forward(*(tensors[name] for name in names))
    for mine, other in zip(results(got), outputs, strict=True):
        torch.testing.assert_close(mine, other, rtol=CLOSE, atol=CLOSE)
    mine = text.backward(*cotangents, saved)
    wanted = {name: torch.zeros_like(tensors[name]) if gradients[name] is None else gradients[name] for name in mine}
    assert set(mine) == {name for name, one in module.inputs().items() if one.wanted and one.data is None}
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=CLOSE, atol=CLOSE, msg=lambda m, n=name: f"{n}: {m}")
    directions = {name: torch.randn_like(gradient) for name, gradient in wanted.items()}
    values, moved = map(results, text.jvp(*(tensors[name] for name in names), *directions.values()))
    torch.testing.assert_close(values, results(got))
    assert [one.shape for one in moved] == [one.shape for one in outputs]
    torch.testing.assert_close(
        paired(moved, cotangents), paired(wanted.values(), directions.values()), rtol=1e-9, atol=1e-9
    )
    if hasattr(text, "backward_per_sample"):
        agree_by_row(module, text.backward_per_sample(*cotangents, saved), cotangents)


def paired(ones, others) -> torch.Tensor:
    return sum((one * other).sum() for one, other in zip(ones, others, strict=True))


def agree_by_row(module: Module, mine: dict[str, torch.Tensor], cotangents: list[torch.Tensor]) -> None:
    for row in range(len(cotangents[0])):
        alone = [torch.zeros_like(one) for one in cotangents]
        for one, other in zip(alone, cotangents, strict=True):
            one[row] = other[row]
        _, _, gradients, tensors = truth(module, alone)
        for name, gradient in mine.items():
            wanted = torch.zeros_like(tensors[name]) if gradients[name] is None else gradients[name]
            if gradient.shape == wanted.shape:
                gradient, wanted = gradient[row], wanted[row]
            else:
                gradient = gradient[row]
            torch.testing.assert_close(gradient, wanted, rtol=CLOSE, atol=CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def hold_shapes(module: Module, text: ModuleType, source: str) -> None:
    """What stands behind a line is the shape of what it makes."""
    _, cotangents, _, tensors = truth(module)
    names = text.forward.__code__.co_varnames[: text.forward.__code__.co_argcount]
    sizes = {letter: n for name in names for letter, n in zip(text.SHAPES[name], tensors[name].shape, strict=True)}
    ahead = locals_of(text.forward, *(tensors[name] for name in names))
    for function, found in (("forward", ahead), ("backward", locals_of(text.backward, *cotangents, ahead["saved"]))):
        body = source.partition(f"\ndef {function}(")[2].partition("\ndef ")[0]
        for made, shape in re.findall(r"^ {4}(\w+(?:, \w+)*) = .*  # (\((?:[^()]|\([^()]*\))*\))", body, re.M):
            said = eval(shape, {}, ahead | found | sizes)
            for name in made.split(", "):
                real = getattr(found[name], "shape", said)
                assert len(said) == len(real) and all(n in (m, ...) for n, m in zip(said, real, strict=True)), made


def locals_of(function, *arguments) -> dict[str, torch.Tensor]:
    """The variables of a function where it returns."""
    found = {}

    def keep(frame, event, _):
        if event == "return" and frame.f_code is function.__code__:
            found.update(frame.f_locals)

    sys.setprofile(keep)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return found


# cell by cell, or by their data
OF_ONE_SIZE = {"gru in both directions", "hidden keys", "layout", "lstm", "shown keys"}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_autograds_at_the_given_sizes_and_at_others(name):
    make, example = LAYERS[name]
    derived = module_derivation(make(), example())
    source = derived.source()
    text = loaded(source)
    agree(derived.module, text)
    hold_shapes(derived.module, text, source)
    assert bool(derived.reading.resized) == (name not in OF_ONE_SIZE)
    if derived.reading.resized:
        agree(derived.reading.resized, text)
        hold_shapes(derived.reading.resized, text, source)


def test_one_text_serves_all_sizes():
    """What modules of other widths give differs in the sizes of weights alone."""
    texts = [module_derivation(GPTBlock(d, 2 * d), [r(2, 3, d)]).source() for d in (4, 6)]
    small, large = (text.partition("def forward")[2].splitlines() for text in texts)
    different = [pair for pair in zip(small, large, strict=True) if pair[0].split("#")[0] != pair[1].split("#")[0]]
    assert len(different) <= 25 and len(small) == len(large)


SIZED = {  # functions, their examples, and arguments of other sizes
    "pooling that looks like three images": (lambda x: F.max_pool2d(x, 2, 1, 0, 2), [r(1, 2, 5, 6)], [r(2, 3, 8, 9)]),
    "means of what is pooled": (
        lambda x: F.avg_pool2d(F.max_pool2d(x, 2), 2).mean((1, 2, 3)),
        [r(2, 2, 4, 4)],
        [r(1, 3, 8, 5)],
    ),
    "a window of all": (lambda x: F.avg_pool2d(x, x.shape[2:]), [r(2, 3, 4, 4)], [r(2, 3, 2, 5)]),
    "a border up to a size": (lambda x: F.pad(x, (0, 8 - x.shape[1])), [r(4, 4)], [r(3, 5)]),
    "half of the rows": (lambda x: x[: len(x) // 2].sum() / len(x), [r(4, 4)], [r(6, 4)]),
    "the last three": (lambda x: x[:, -3:].sum(1), [r(2, 4)], [r(2, 2)]),
    "an axis that is gone where it is 1": (lambda x: (x * x).squeeze(0).mean(0), [r(1, 4)], [r(2, 4)]),
    "batches of one size": (lambda a, b: a.sum() * b.mean(), [r(3, 3), r(3, 3)], [r(2, 3), r(4, 3)]),
    "a kernel that is given": (lambda x, w: F.conv1d(x, w), [r(2, 3, 7), r(4, 3, 2)], [r(2, 3, 7), r(4, 3, 3)]),
    "the first of many": (lambda x: (x[:, :64] ** 2).sum(1), [r(3, 8)], [r(3, 70)]),
    "rows up to a number": (lambda x: F.softmax(x[:512], 0), [r(3, 8)], [r(600, 8)]),
    "the root of a width": (lambda q, k: q @ k.mT / q.shape[1] ** 0.5, [r(3, 4), r(5, 4)], [r(3, 3), r(5, 3)]),
}


@pytest.mark.parametrize("what", SIZED)
def test_at_sizes_that_it_is_not_for_a_text_is_right_or_refuses(what):
    function, example, given = SIZED[what]
    derived = module_derivation(function, example)
    text = loaded(derived.source())
    agree(derived.module, text)
    try:
        text.forward(*given)
    except ValueError as error:
        assert re.fullmatch(r"\w+: expected the shape \(.*\), got \(.*\)", str(error))
    else:
        agree(Module(function, given), text)
    assert str(derived.prove()).startswith(("proved", "checked"))


def test_a_cotangent_or_a_tangent_of_another_shape_is_refused_though_torch_would_repeat_it():
    derived = module_derivation(lambda x, w, b: (F.linear(x, w, b), x.exp()), [r(3, 4), r(2, 4), r(2)])
    text = loaded(derived.source())
    x, w, b = r(5, 4), r(2, 4), r(2)
    saved = text.forward(x, w, b)[1]
    for back in text.backward, text.backward_per_sample:
        back(r(5, 2), r(5, 4), saved)
        for shapes in (
            ((2,), (5, 4)),
            ((), (5, 4)),
            ((5, 1), (5, 4)),
            ((1, 2), (5, 4)),
            ((5, 2), (4,)),
            ((5, 2), (1, 4)),
        ):
            with pytest.raises(ValueError, match=r"\w+: expected the shape \(.*\), got \(.*\)"):
                back(*map(torch.zeros, shapes), saved)
    text.jvp(x, w, b, x, w, b)
    for wrong in ((x[:1], w, b), (x, w[:1], b), (x, w, b[:1]), (x, w, b[0])):
        with pytest.raises(ValueError, match=r"d_\w: expected the shape"):
            text.jvp(x, w, b, *wrong)


def test_a_row_of_class_minus_100_is_ignored_as_torch_ignores_it():
    classes = torch.tensor([0, -100, 2])
    for options in ({}, {"reduction": "none"}, {"label_smoothing": 0.1}):
        derived = module_derivation(Of(lambda s, x, y, o=options: F.cross_entropy(x, y, **o)), [r(3, 4), classes])
        agree(derived.module, loaded(derived.source()))


def test_the_certificate_says_where_autograd_has_another_slope_where_branches_meet():
    assert "branches meet: dx" in str(module_derivation(lambda x: x.clamp(min=0), [r(2, 3)]).prove())
    assert "branches meet" not in str(module_derivation(lambda x: x.relu(), [r(2, 3)]).prove())


def test_a_function_of_torch_itself_is_a_module(capsys):
    assert main(["torch.nn.functional:gelu", "--input", "2x3"]) == 0
    text, said = capsys.readouterr()
    assert "proved: gelu" in said and "# return" not in text  # no line of an author's


def test_layer_norm_goes_back_as_it_is_published():
    text = module_derivation(nn.LayerNorm(3), [r(2, 4, 3)]).source()
    assert "grad_y_hat = G * weight" in text
    terms = "grad_y_hat - grad_y_hat.mean(-1, keepdim=True) - y_hat * (grad_y_hat * y_hat).mean(-1, keepdim=True)"
    assert f"y_rstd * ({terms})" in text


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Imports the package that a module is written to."""

    def write(layer, example, name):
        module_derivation(layer, example).write(tmp_path / name)
        monkeypatch.syspath_prepend(str(tmp_path))
        return import_module(f"{name}.function")

    yield write
    for name in [name for name in sys.modules if name.startswith("emitted_")]:
        del sys.modules[name]


def test_the_function_of_autograd_passes_gradcheck(written):
    net = MLP(torch.tanh)
    function = written(net, [r(3, 2)], "emitted_mlp")
    net = net.double()
    tensors = function.tensors(net)
    x = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    inputs = (x, *(one.detach().requires_grad_() for one in tensors.values()))
    assert torch.autograd.gradcheck(function.layer, inputs)
    assert torch.autograd.gradcheck(function.layer_op, inputs)
    torch.library.opcheck(function.layer_op, inputs)
    function.layer(x, **tensors).sum().backward()
    mine = [net.fc1.weight.grad.clone(), x.grad.clone()]
    net.zero_grad()
    x.grad = None
    net(x).sum().backward()
    torch.testing.assert_close(mine, [net.fc1.weight.grad, x.grad])
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(function.layer(*inputs).sum(), inputs[0], create_graph=True)


@pytest.mark.parametrize("name", ["batch norm", "classes", "gru cell", "tied", "two outputs"])
def test_the_reference_says_how_far_the_text_is_from_autograd(written, monkeypatch, name):
    make, example = LAYERS[name]
    net, inputs = make(), [one.double() if one.is_floating_point() else one for one in example()]
    function = written(net, example(), f"emitted_{name.replace(' ', '_')}")
    reference, net = import_module(f"{function.__package__}.reference"), net.double()
    before = {path: one.clone() for path, one in net.state_dict().items()}
    distances = reference.compare(net, *inputs)
    assert {f"dL/d{one}" for one in reference.MOVING} < distances.keys()
    assert max(distances.values()) < 1e-11
    assert all(torch.equal(one, before[path]) for path, one in net.state_dict().items())
    assert all(one.grad is None for one in net.parameters())
    backward = reference.backward
    for factor in (1.5, torch.nan):
        monkeypatch.setattr(
            reference, "backward", lambda *given, f=factor: {name: f * one for name, one in backward(*given).items()}
        )
        wrong = [distance for what, distance in reference.compare(net, *inputs).items() if what.startswith("dL/d")]
        assert all(not distance <= 0.4 or distance == 0 for distance in wrong) and any(wrong)


def test_what_is_hidden_by_a_mask_gives_no_nan():
    make, example = LAYERS["hidden keys"]
    derived = module_derivation(make(), example())
    text = loaded(derived.source())
    q, k, v, mask = (one.double() for one in example())
    output, saved = text.forward(q, k, v, mask)
    gradients = text.backward(torch.ones_like(output), saved)
    assert all(one.isfinite().all() for one in gradients.values())


def test_the_gradient_of_a_product_is_that_of_autograd_where_entries_are_0():
    x = torch.tensor([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0]], dtype=torch.float64, requires_grad=True)
    for function in (lambda x: x.prod(1), lambda x: x.prod(0), lambda x: x[:1].prod()):
        text = loaded(module_derivation(function, [x.detach()]).source())
        y = function(x)
        (wanted,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(text.backward(torch.ones_like(y), text.forward(x.detach())[1])["x"], wanted)


@pytest.mark.parametrize("function", [lambda s, t: t.sum() ** 0.5, lambda s, t: torch.acos(t).sum()])
def test_a_text_is_not_called_wrong_where_the_module_has_no_slope(function):
    """tanh is 1 or -1 far from 0 to all digits, and a root may be of 0 there."""
    module = Of(lambda s, x: function(s, torch.tanh(x**9)))
    assert "proved" in str(module_derivation(module, [r(2)]).prove())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("batch norm", r"aten\.batch_norm\.default computes with several rows of input"),
        ("resnet block", r"aten\._native_batch_norm_legit\S* at layers\.py:134 .*rows of x"),
        ("infonce", "the first axis of what comes out is no batch"),
    ],
)
def test_there_are_no_gradients_for_each_row_where_rows_are_coupled(name, why):
    make, example = LAYERS[name]
    derived = module_derivation(make(), example())
    text = derived.source()
    assert "backward_per_sample" not in text
    assert re.search(f"No gradients for each row: {why}", text.replace("\n", " "))


def test_gradients_of_rows_are_those_of_vmap():
    make, example = LAYERS["causal heads"]
    module, (x,) = make().double(), (one.double() for one in example())
    text = loaded(module_derivation(module, [x]).source())
    tensors = {name: one.detach() for name, one in module.named_parameters()}
    buffers = dict(module.named_buffers())

    def of_row(x, g):
        _, pull = torch.func.vjp(
            lambda held: torch.func.functional_call(module, {**held, **buffers}, x[None])[0], tensors
        )
        return pull(g)[0]

    G = torch.randn_like(module(x))
    wanted = torch.func.vmap(of_row)(x, G)
    named = {path: one.detach() for path, one in [*module.named_buffers(), *module.named_parameters()]}
    takes = {name: named[path] for name, path in text.PARAMETERS.items()}
    mine = text.backward_per_sample(G, text.forward(x, **takes)[1])
    for path, gradient in wanted.items():
        torch.testing.assert_close(mine[path.replace(".", "_")], gradient)


REFUSED = {
    "a recurrent network with projections": (
        lambda s, x: nn.LSTM(3, 4, proj_size=2)(x[None])[0],
        r"aten\.lstm\.input at .*:\d+: with projections of its state",
    ),
    "dropout in training": (lambda s, x: F.dropout(x, 0.5), "dropout in training.*mask"),
    "a transposed convolution with more at its ends than its stride": (
        lambda s, x: F.conv_transpose1d(x[None], x[:, None, :2], output_padding=1, dilation=2),
        r"aten\.conv_transpose1d.*at .*:\d+: output_padding=\(1,\), expected less than the stride",
    ),
    "an operation that is not known": (lambda s, x: torch.fft.fft(x).real, r"aten\.fft.*not known"),
    "what torch has no function for": (
        lambda s, x: x * torch.zeros_like(x).copy_(x.detach()),
        r"aten\.copy.*no function",
    ),
    "a slope that is not known": (lambda s, x: x.cumprod(1), r"aten\.cumprod.*at .*:\d+: its backward is not known"),
    "a norm": (lambda s, x: torch.linalg.vector_norm(x, 3), "p=3"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_known_is_refused_with_its_line(why):
    function, message = REFUSED[why]
    with pytest.raises(Refused, match=message) as caught:
        module_derivation(Of(function), [r(2, 3)])
    assert "test_module_text.py:" in str(caught.value)


def test_what_is_computed_without_gradients_is_refused_in_words():
    with pytest.raises(Refused, match="grad_enabled: this operation is not known"):
        module_derivation(lambda x: x * torch.no_grad()(torch.mean)(x), [r(2, 3)])


def test_names_that_the_text_has_for_itself_are_refused():
    def taken(G, x):
        return G * x

    def both(x, grad_x):
        return x * grad_x

    for function in (taken, both):
        with pytest.raises(Refused, match="the text needs this name"):
            module_derivation(function, [r(2), r(2)])


def test_the_page_says_which_slopes_are_written_with_the_opposite_and_that_is_so():
    plain = module_derivation(nn.Linear(3, 2), [r(2, 3)]).markdown()
    written = module_derivation(nn.GRUCell(3, 2), [r(2, 3), r(2, 2)]).markdown()
    assert r"\sigma(-u)" not in plain
    h = 1e-5
    found = re.findall(r"is \$`([^`=]*) = ([^`]*)`\$", written)
    for function, sides in zip((lambda v: 1 / (1 + np.exp(-v)), np.tanh), found, strict=True):
        for side, u in itertools.product(sides, (-2.0, 0.3, 1.5)):
            slope = compute(side, {"a": function(u), "u": u})
            np.testing.assert_allclose(slope, (function(u + h) - function(u - h)) / (2 * h), rtol=1e-8)


NET = "import torch\nfrom torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Linear(2, 2), nn.Tanh())\n"


def test_the_command_writes_checks_and_refuses(tmp_path, capsys):
    file, folder = tmp_path / "net.py", tmp_path / "mine"
    file.write_text(NET)
    command = [f"{file}:net", "--input", "x: 2x2", "--out", str(folder)]
    command[2] = "2x2"
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("proved: net\n")
    assert set(
        re.search(rf"^wrote (.+) and certificate\.json to {re.escape(str(folder))}$", out, re.M)[1].split(", ")
    ) == {path.name for path in folder.iterdir() if path.name != "certificate.json"}
    assert {path.name for path in folder.iterdir()} == {
        *(
            "certificate.json",
            "derivation.html",
            "derivation.md",
            "derivation.tex",
            "function.py",
            "layer.py",
            "reference.py",
        )
    }
    assert main([*command, "--check"]) == 0
    text = (folder / "layer.py").read_text()
    assert "grad__0_bias = " in text
    (folder / "layer.py").write_text(text.replace("grad__0.sum(0)", "grad__0.mean(0)"))
    assert main([*command, "--check"]) == 1
    assert "WRONG: " in capsys.readouterr().err
    assert main([f"{file}:none", "--input", "2x2"]) == 2
    assert "has no none" in capsys.readouterr().err


def test_a_text_that_is_wrong_is_not_written(tmp_path):
    derived = module_derivation(nn.LayerNorm(3), [r(2, 3)])
    right = derived.source()
    with pytest.raises(Wrong):
        derived.prove(right.replace(".mean(-1, keepdim=True)", ".sum(-1, keepdim=True)"))
