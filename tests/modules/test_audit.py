"""Backwards written by hand, right and wrong, held against torch modules."""

import math

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derive import audit as command
from derive.audit import Refused, Wrong, audit
from tests.helpers.backwards import CASES, HEAD

SHIPPED = [(name, where) for name, case in CASES.items() for where in case.shipped]


@pytest.fixture
def file(tmp_path):
    """A file with a text below the imports that it needs."""

    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + text)
        return path

    return write


@pytest.mark.parametrize("name", CASES)
def test_a_right_backward_is_proved(name, file):
    case = CASES[name]
    verdict = audit(case.layer(), case.example(), file(case.backward))
    assert verdict.exact, str(verdict)
    assert len(verdict.sizes) > 1 and not verdict.missing


@pytest.mark.parametrize("name, where", SHIPPED, ids=[where for _, where in SHIPPED])
def test_a_wrong_backward_is_rejected(name, where, file):
    case = CASES[name]
    right, wrong = case.shipped[where]
    assert case.backward.count(right) == 1
    with pytest.raises(
        Wrong, match=r"the gradient for \w+\[[\d, ]*\] is \S+ where it should be \S+, .*(mine\.py:\d+|None.*)"
    ):
        audit(case.layer(), case.example(), file(case.backward.replace(right, wrong)))


def test_it_names_the_gradient_the_entry_both_values_and_the_line(file):
    path = file("def backward(G, x):\n    c = 2 * G\n    return {'x': c * x.flip(1)}\n")
    with pytest.raises(Wrong) as caught:
        audit(lambda x: x * x, (torch.rand(2, 2),), path)
    assert str(caught.value).startswith("the gradient for x[0, 0] is ")
    assert str(caught.value).endswith(f", at x 2x2, {path}:8")
    got, wanted = (
        float(word)
        for word in str(caught.value).replace(",", "").split()
        if word[-1].isdigit() and "." in word and word[0] in "-0123456789"
    )
    assert abs(got - wanted) > 1e-6


def swiglu(G, e, g):
    s = torch.sigmoid(e)
    return G * g * s * (1 + e * (1 - s)), G * e * s


def test_functions_and_pairs_and_classes_are_taken_as_they_are():
    class Mine(torch.autograd.Function):
        @staticmethod
        def forward(e, g):
            return e * torch.sigmoid(e) * g

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, G):
            return swiglu(G, *ctx.saved_tensors)

    def forward(e, g):
        return F.silu(e) * g, [e, g]

    def layer(e, g):
        return F.silu(e) * g

    example = torch.rand(2, 3), torch.rand(2, 3)
    for given in (swiglu, (forward, lambda G, saved: swiglu(G, *saved)), Mine):
        assert audit(layer, example, given).exact


def test_forward_is_held_too():
    def forward(x):
        return x * x + 1, x

    with pytest.raises(Wrong, match=r"output 0 of forward\[0\] is 1\.\d+ where it should be"):
        audit(lambda x: x * x, (torch.rand(2),), (forward, lambda G, x: 2 * G * x))

    def product(x, y):
        return x * y

    def backward(G, x, y):
        return G * y, G * x

    alone = (lambda x: x.exp(), lambda G, x: G * x.exp())
    assert audit(lambda x: torch.exp(x), (torch.rand(2),), alone).shown == ("output 0", "dx")
    for right in (product, lambda x, y: y * x):
        assert audit(product, (torch.rand(2), torch.rand(2)), (right, backward)).shown == ("output 0", "dx", "dy")
    with pytest.raises(Wrong, match="output 0 of forward"):
        audit(product, (torch.rand(2), torch.rand(2)), (lambda x, y: x + y, backward))
    with pytest.raises(Refused, match=r"forward takes z, which is no argument of backward"):
        audit(product, (torch.rand(2), torch.rand(2)), (lambda x, z: x, backward))


def test_two_outputs_have_two_cotangents():
    def layer(x, y):
        return x * y, (x + y).sum()

    assert audit(layer, (torch.rand(2), torch.rand(2)), lambda G, H, x, y: (G * y + H, G * x + H)).exact
    with pytest.raises(Wrong, match="the gradient for y"):
        audit(layer, (torch.rand(2), torch.rand(2)), lambda G, H, x, y: (G * y + H, G * x))


def test_what_only_holds_at_the_given_sizes_is_wrong():
    """A mean over the batch, divided by the number of features, which is the same number here."""

    def backward(G, x):
        return G.expand_as(x) / x.shape[1]

    with pytest.raises(Wrong, match=r"x 3x\d"):
        audit(lambda x: x.sum(1).mean(0), (torch.rand(2, 2),), backward)


def test_what_fails_at_other_sizes_is_wrong():
    with pytest.raises(Wrong, match=r"fails: RuntimeError: .*, at x 3x"):
        audit(lambda x: x.sum(), (torch.rand(2, 4),), lambda G, x: G.expand(2, 4).reshape(2, 4) + 0 * x)


def test_a_kernel_of_its_own_is_only_called():
    """numpy here, which torch.export does not record."""

    def backward(G, e, g):
        arrays = [tensor.numpy() for tensor in (G, e, g)]
        return tuple(torch.from_numpy(found.copy()) for found in kernel(*arrays))

    def kernel(G, e, g, sign=1):
        s = 1 / (1 + numpy.exp(-e))
        return G * g * s * (1 + sign * e * (1 - s)), G * e * s

    def layer(e, g):
        return F.silu(e) * g

    example = torch.rand(2, 3), torch.rand(2, 3)
    with pytest.raises(Refused):
        audit(layer, example, backward)
    verdict = audit(layer, example, backward, opaque=True)
    assert not verdict.exact and "to 8 digits, in float64" in str(verdict) and verdict.shown == ("de", "dg")

    def wrong(G, e, g):
        return tuple(torch.from_numpy(found) for found in kernel(*(tensor.numpy() for tensor in (G, e, g)), sign=-1))

    with pytest.raises(Wrong, match=r"the gradient for e\[0, 0\] is"):
        audit(layer, example, wrong, opaque=True)
    with pytest.raises(Wrong, match="fails: ZeroDivisionError"):
        audit(layer, example, lambda G, e, g: 1 / 0, opaque=True)

    def along_memory(G, e, g):
        return backward(*(one.as_strided(one.shape, (3, 1)) for one in (G.clone(), e, g)))

    with pytest.raises(Wrong, match=r"is another where tensors are not contiguous$"):
        audit(layer, example, along_memory, opaque=True)
    verdict = audit(layer, example, backward, opaque=True, precision="float32")
    assert "to 8 times what autograd loses to rounding, in float32 on cpu" in str(verdict)
    with pytest.raises(Wrong, match=r"the gradient for e\[0, 0\] is"):
        audit(layer, example, wrong, opaque=True, precision="float32")
    with pytest.raises(Wrong, match="the gradient for e"):  # a digit more than float32 rounds away
        audit(layer, example, lambda G, e, g: (backward(G, e, g)[0] * 1.0001, None), opaque=True, precision="float32")
    with pytest.raises(Refused, match="only what is opaque has"):
        audit(layer, example, backward, precision="float32")
    with pytest.raises(Refused, match="int32: expected float64"):
        audit(layer, example, backward, opaque=True, precision="int32")


class JoinedHalves(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        return torch.cat([a, b], 1)

    @staticmethod
    def backward(ctx, G):
        return G.chunk(2, 1)


class Joined(JoinedHalves):
    @staticmethod
    def forward(ctx, a, b):
        ctx.width = a.shape[1]
        return torch.cat([a, b], 1)

    @staticmethod
    def backward(ctx, G):
        return G[:, : ctx.width], G[:, ctx.width :]


class JoinedAlike(JoinedHalves):
    @staticmethod
    def forward(ctx, a, b):
        assert a.shape == b.shape
        return torch.cat([a, b], 1)


def test_sizes_that_are_alike_by_chance_are_tried_apart():
    """What raises at such sizes gives no number, and is not held there."""

    def attention(q, k, v):
        return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v

    def backward(G, q, k, v, width=None):
        scale = 1 / math.sqrt((q if width is None else width(v)).shape[-1])
        P = torch.softmax(q @ k.mT * scale, -1)
        gP = G @ v.mT
        gS = scale * P * (gP - (gP * P).sum(-1, keepdim=True))
        return {"q": gS @ k, "k": gS.mT @ q, "v": P.mT @ G}

    given = [torch.rand(2, 3, 4)] * 3
    assert audit(attention, given, backward).exact
    with pytest.raises(Wrong, match=r"at q 2x\dx4, k 2x3x4, v 2x3x[^4]"):
        audit(attention, given, lambda G, q, k, v: backward(G, q, k, v, lambda v: v))

    def joined(a, b):
        return torch.cat([a, b], 1)

    given = [torch.rand(3, 4)] * 2
    assert any(
        a.split()[1] != b.split()[1] for a, b in (said.split(", ") for said in audit(joined, given, Joined).sizes)
    )
    assert audit(joined, given, JoinedAlike).exact
    with pytest.raises(Wrong, match="the gradient for a has the shape"):
        audit(joined, given, JoinedHalves)


def test_it_may_be_held_at_the_given_sizes_alone():
    """Pooling drops a row of an odd image, and this backward knows even ones only."""

    def backward(G, input):
        size = {"scale_factor": 2}
        return G.repeat_interleave(2, 2).repeat_interleave(2, 3) * (
            input == F.interpolate(F.max_pool2d(input, 2), **size)
        )

    example = (torch.rand(1, 1, 4, 4),)
    with pytest.raises(Wrong, match=r"fails: RuntimeError: .*, at input 2x3x5x5"):
        audit(nn.MaxPool2d(2), example, backward)
    verdict = audit(nn.MaxPool2d(2), example, backward, other_sizes=False)
    assert verdict.sizes == ("input 1x1x4x4",) and "\nat no other sizes" in str(verdict)
    with pytest.raises(Wrong, match="the gradient for input"):
        audit(nn.MaxPool2d(2), example, lambda G, input: backward(G, -input), other_sizes=False)


FAR = {
    "hardswish above 3": (F.hardswish, lambda G, input: G * torch.where(input <= -3, 0.0, (2 * input + 3) / 6)),
    "relu6 above 6": (F.relu6, lambda G, input: G * (input > 0)),
    "softplus above 20": (
        lambda x: F.softplus(x, 2.0),
        lambda G, x: G * torch.where(x > 10, 0.5, torch.sigmoid(2 * x)),
    ),
    "huber beyond delta": (
        lambda x: F.huber_loss(x, 0 * x, reduction="none", delta=4.0),
        lambda G, x: G * x,
    ),
}


@pytest.mark.parametrize("where", FAR)
def test_what_is_wrong_far_from_0_is_wrong(where):
    layer, backward = FAR[where]
    with pytest.raises(Wrong):
        audit(layer, (torch.rand(3, 2),), backward)


def test_what_is_detached_does_not_move():
    def layer(x):
        return x + (torch.sign(x) * x.detach() - x).detach() * x

    assert audit(layer, (torch.rand(3),), lambda G, x: G * (1 + torch.sign(x) * x - x)).sizes
    with pytest.raises(Wrong):
        audit(layer, (torch.rand(3),), lambda G, x: G * (1 + 2 * torch.sign(x) * x - 2 * x))


def test_memory_that_is_not_set_is_wrong_and_that_is_set_entry_by_entry_is_right():
    def backward(G, x, columns):
        out = torch.empty_like(x)
        for i in range(x.shape[0]):
            for j in range(columns):
                out[i, j] = 2 * x[i, j] * G[i, j]
        return out

    assert audit(lambda x: x * x, (torch.rand(1, 3),), lambda G, x: backward(G, x, x.shape[1])).exact
    with pytest.raises(Wrong, match=r"x\[0, 2\] is nan"):
        audit(lambda x: x * x, (torch.rand(1, 3),), lambda G, x: backward(G, x, 2))


def test_code_that_ends_the_program_or_says_no_grad():
    def backward(G, x):
        with torch.no_grad():
            return 2 * G * x

    assert audit(lambda x: x * x, (torch.rand(3),), backward).exact
    with pytest.raises(Refused, match="ends the program"):
        audit(lambda x: x * x, (torch.rand(3),), lambda G, x: exit(0))


def test_what_fails_without_a_word_is_wrong():
    def backward(G, x):
        raise NotImplementedError

    for opaque in (False, True):
        with pytest.raises(Wrong, match=r"fails: NotImplementedError: , .*test_audit\.py:\d+, at x 3"):
            audit(lambda x: x * x, (torch.rand(3),), backward, opaque=opaque)


def test_running_statistics_are_not_those_of_a_new_module():
    def backward(G, input, weight, running_var):
        return G * weight / torch.sqrt(running_var + 1e-5)

    def forgetful(G, input, weight, running_var):
        return G * weight

    layer = nn.BatchNorm1d(2, eps=1e-5).eval()
    verdict = audit(
        layer,
        (torch.rand(3, 2),),
        lambda G, input, weight, running_var: {"input": backward(G, input, weight, running_var)},
    )
    assert verdict.exact and verdict.missing == ("weight", "bias")
    assert "NOT shown, as it gives none: the gradient for weight, bias" in str(verdict)
    with pytest.raises(Wrong):
        audit(
            layer,
            (torch.rand(3, 2),),
            lambda G, input, weight, running_var: {"input": forgetful(G, input, weight, running_var)},
        )


def test_constants_stand_for_what_was_rounded():
    def layer(x):
        return x / math.sqrt(3) + x * (1 / 3) + F.gelu(x)

    def backward(G, x):
        slope = 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return G * 3**-0.5 + G * 0.3333333333333333 + G * slope

    assert audit(layer, (torch.rand(2, 3),), backward).exact
    assert audit(layer, (torch.rand(2, 3),), lambda G, x: backward(G, x) * 1e40 * 1e-40).exact
    with pytest.raises(Wrong):
        audit(layer, (torch.rand(2, 3),), lambda G, x: backward(G, x) + 1e-13 * G)
    with pytest.raises(Refused, match=r"it is not known what 0\.12345678901234561 at .* stands for"):
        audit(lambda x: x * 0.12345678901234561, (torch.rand(2),), lambda G, x: G * 0.12345678901234563)


def test_masks_and_classes_are_given():
    mask = torch.tensor([[0.0, -math.inf], [0.0, 0.0]])
    hidden = torch.tensor([[True, False], [True, True]])

    def backward(G, s, mask):
        p = torch.softmax(s + mask, -1)
        return {"s": p * (G - (G * p).sum(-1, keepdim=True))}

    def by_truth(G, s, hidden):
        return backward(G, s, torch.zeros_like(s).masked_fill(~hidden, -math.inf))

    audit(lambda s, mask: torch.softmax(s + mask, -1), (torch.rand(2, 2), mask), backward)
    audit(lambda s, hidden: s.masked_fill(~hidden, -math.inf).softmax(-1), (torch.rand(2, 2), hidden), by_truth)


def test_a_kink_is_no_reason_to_reject():
    """torch's slope of relu at 0 is a decree; no random number lies there."""
    assert audit(F.relu, (torch.rand(2, 3),), lambda G, input: G * (input > 0)).exact
    with pytest.raises(Wrong):
        audit(F.relu, (torch.rand(2, 3),), lambda G, input: G * (input < 0))


def test_tied_and_frozen_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
            self.other.weight = self.one.weight
            self.other.bias.requires_grad_(False)

        def forward(self, x):
            return self.other(torch.tanh(self.one(x)))

    def backward(G, x, one_weight):
        h = torch.tanh(x @ one_weight.T)
        dz = G @ one_weight * (1 - h**2)
        return {"x": dz @ one_weight, "one_weight": dz.T @ x + G.T @ h}

    verdict = audit(Tied(), (torch.rand(3, 2),), backward)
    assert not verdict.missing
    with pytest.raises(Wrong, match="one_weight"):
        audit(Tied(), (torch.rand(3, 2),), lambda *a: backward(*a) | {"one_weight": a[0].T @ torch.tanh(a[1] @ a[2].T)})


REFUSED = {
    "an operation that is not known": (
        lambda G, x: G * torch.special.bessel_j0(x),
        r"aten\.special_bessel_j0\.default at .*: this operation is not known",
    ),
    "a branch on numbers": (lambda G, x: G if x.sum() > 0 else -G, "torch.export does not record it"),
    "dropout": (lambda G, x: F.dropout(G), "dropout"),
    "no gradient": (lambda G, x: {}, "gives no gradient"),
    "something else": (lambda G, x: 3, "returns a int"),
    "too few": (lambda G, x, y: (G,), "1 gradients, expected 2: x, y"),
    "a gradient for nothing": (lambda G, x: {"w": G}, "a gradient for w, .* are for x, y"),
    "an argument that is not there": (
        lambda G, x, z: G,
        "z is no input, parameter or buffer of the module: it has x, y",
    ),
    "no tensor": (lambda G, x: {"x": 1.0}, "is a float, expected a tensor"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_audited_is_refused(what):
    backward, said = REFUSED[what]
    with pytest.raises(Refused, match=said):
        audit(lambda x, y: x * y, (torch.rand(2), torch.rand(2)), backward)


def test_modules_that_cannot_be_audited_are_refused():
    with pytest.raises(Refused, match=r"the module: aten\.\S+ at .*test_audit\.py:\d+: this operation is not known"):
        audit(lambda x: torch.special.bessel_j0(x), (torch.rand(2),), lambda G, x: G)
    with pytest.raises(Refused, match="dropout in training"):
        audit(nn.Dropout(), (torch.rand(2),), lambda G, input: G)
    with pytest.raises(Refused, match="at most 20000"):
        audit(nn.Linear(1000, 30), (torch.rand(1, 1000),), lambda G, input, weight: {"input": G @ weight})


def test_a_wrong_shape_and_a_failing_backward_are_wrong():
    with pytest.raises(Wrong, match=r"the gradient for y has the shape \(3, 2\), expected \(2,\)"):
        audit(lambda x, y: x * y, (torch.rand(3, 2), torch.rand(2)), lambda G, x, y: (G * y, G * x))
    with pytest.raises(Wrong, match=r"fails: RuntimeError: .*, .*test_audit\.py:\d+, at x 2x3"):
        audit(lambda x: x * x, (torch.rand(2, 3),), lambda G, x: G @ x)


LAYERS = """
from torch import nn

def norm():
    return nn.LayerNorm(3)

def loss(x, labels):
    return nn.functional.cross_entropy(x, labels)
"""


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "layers_of_mine.py").write_text(LAYERS)
    (tmp_path / "right.py").write_text(HEAD + CASES["LayerNorm"].backward)
    (tmp_path / "wrong.py").write_text(HEAD + CASES["LayerNorm"].backward.replace("G.sum((0, 1))", "G.mean((0, 1))"))
    (tmp_path / "loss.py").write_text(
        f"{HEAD}def backward(G, x, labels):\n    one = torch.nn.functional.one_hot(labels, x.shape[1])\n"
        "    return {'x': G * (x.softmax(1) - one) / len(x)}\n"
    )
    (tmp_path / "broken.py").write_text("def backward(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    norm = "layers_of_mine:norm"
    assert command.main([norm, "right.py", "--input", "input: 2x1x3"]) == 0
    assert capsys.readouterr().out.startswith("proved: right.py: dinput, dweight, dbias\n")
    assert command.main([norm, "wrong.py", "--input", "2x1x3"]) == 1
    assert "WRONG: the gradient for bias[0] is" in capsys.readouterr().err
    assert command.main(["layers_of_mine.py:loss", "loss.py", "--input", "x: 4x3", "--input", "labels: 4 of 3"]) == 0
    assert capsys.readouterr().out.startswith("proved: loss.py: dx\n")
    assert command.main([norm, "right.py", "--input", "input: 2x1x3", "--opaque"]) == 0
    assert "to 8 digits, in float64" in capsys.readouterr().out
    for arguments, said in (
        ([norm, "none.py", "--input", "2x1x3"], "none.py: No such file"),
        ([norm, "broken.py", "--input", "2x1x3"], "broken.py: SyntaxError"),
        ([norm, "right.py", "--input", "x: 2x3"], "x: no argument has this name; they are input"),
        ([norm, "right.py", "--input", "2 by 3"], "expected 'name: 2x3x4'"),
        (["layers_of_mine:other", "right.py"], "layers_of_mine has no other"),
        (["nowhere", "right.py"], "nowhere: expected package.file:name"),
        (["nowhere:norm", "right.py"], "nowhere: ModuleNotFoundError"),
        ([norm, "right.py"], "forward"),
    ):
        assert command.main(arguments) == 2, arguments
        assert said in capsys.readouterr().err.replace("\n", " "), arguments


def test_a_branch_that_no_point_took_is_named():
    def far(x):
        return torch.where(x > 1000, x * x, x)

    verdict = audit(far, (torch.rand(7, 7),), lambda G, x: G + 0 * x, other_sizes=False)
    assert not verdict.exact
    assert "NOT shown, as no point took it: the other branch of aten.where" in str(verdict)


class Straight(torch.autograd.Function):
    """Through a step as if it were none."""

    @staticmethod
    def forward(ctx, x):
        return x * (x > 0)

    @staticmethod
    def backward(ctx, G):
        return G


class Hooked(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.register_full_backward_hook(lambda module, before, after: (2 * before[0],))


OWN = {
    "a backward": lambda input: Straight.apply(input),
    "a hook": Hooked(),
    "a precision": lambda input: input * (1 if input.dtype == torch.float64 else 2),
}


@pytest.mark.parametrize("what", OWN)
def test_a_module_whose_gradient_is_not_its_derivative_is_refused(what):
    """What is recorded says nothing of it."""

    def straight(G, input):
        return G * (input > 0)

    def hooked(G, input, weight):
        return G @ weight, G.T @ input

    backward = {"a backward": straight, "a hook": hooked, "a precision": lambda G, input: 1 * G}[what]
    with pytest.raises(Refused, match="is not the derivative of what is recorded: a backward or a hook"):
        audit(OWN[what], (torch.rand(2, 3),), backward)


def test_autograd_is_asked_of_a_module_with_running_statistics_too():
    class Normed(nn.BatchNorm1d):
        def forward(self, input):
            return Straight.apply(super().forward(input))

    def backward(G, input, weight, bias, running_mean, running_var):
        rstd = (running_var + 1e-5) ** -0.5
        xhat = (input - running_mean) * rstd
        G = G * (xhat * weight + bias > 0)
        return {"input": G * weight * rstd, "weight": (G * xhat).sum(0), "bias": G.sum(0)}

    with pytest.raises(Refused, match="a backward or a hook"):
        audit(Normed(2).eval(), (torch.rand(3, 2),), backward)


SURROUNDINGS = {  # what a backward does wrong with its context or its cotangent, and what is said
    "where one is frozen": (
        "where only that for x is needed|where that for weight is not needed",
        lambda ctx, G: G if all(ctx.needs_input_grad) else 2 * G,
    ),
    "again": ("when it is called again", lambda ctx, G: ctx.calls * G),
    "other strides": ("not contiguous", lambda ctx, G: G if ctx.x.is_contiguous() else 2 * G),
    "an expanded cotangent": ("one number, expanded", lambda ctx, G: 2 * G if G.stride(0) == 0 else G),
    "float32": ("in float32", lambda ctx, G: G if G.dtype == torch.float64 else 2 * G),
    "into the cotangent": ("writes into dL/dy0", lambda ctx, G: G.mul_(2).div(2)),
    "into the data": ("writes into x", lambda ctx, G: (ctx.x.add_(1), G)[1]),
}


@pytest.mark.parametrize("where", ["", *SURROUNDINGS])
def test_surroundings_change_no_gradient(where):
    """What torch.export records is of one call; other calls of a Function must give the same numbers."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.x, ctx.weight, ctx.calls = x, weight, 0
            return x @ weight.T

        @staticmethod
        def backward(ctx, G):
            ctx.calls += 1
            G = SURROUNDINGS[where][1](ctx, G) if where else G
            of_x, of_weight = ctx.needs_input_grad
            return G @ ctx.weight if of_x else None, G.T @ ctx.x if of_weight else None

    example = (torch.rand(4, 3), torch.rand(2, 3))
    if not where:
        assert audit(lambda x, weight: x @ weight.T, example, Product).exact
        return
    with pytest.raises(Wrong, match=SURROUNDINGS[where][0]):
        audit(lambda x, weight: x @ weight.T, example, Product)


@pytest.mark.parametrize("right", [True, False])
def test_a_cotangent_may_be_none_where_no_zeros_are_asked_for(right):
    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x + 0, 2 * x

        @staticmethod
        def backward(ctx, first, second):
            if first is None:
                return (2 if right else 3) * second
            return first if second is None else first + 2 * second

    def pair(x):
        return x + 0, 2 * x

    if right:
        assert audit(pair, (torch.rand(3),), Pair).exact
        return
    with pytest.raises(Wrong, match=r"another where dL/dy0 is None"):
        audit(pair, (torch.rand(3),), Pair)


@pytest.mark.parametrize("more", [(), (None,), (None, None), (torch.ones(3),)])
def test_none_behind_the_last_gradient_is_nothing_as_it_is_to_torch(more):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, G):
            return 2 * G, *more

    def run():
        return audit(lambda x: 2 * x, (torch.rand(3),), Double)

    if any(one is not None for one in more):
        with pytest.raises(Refused, match="2 gradients, expected 1: x"):
            run()
    else:
        assert run().exact


def test_a_function_made_from_one_that_sets_up_its_context_is_called_as_torch_calls_it():
    class Sets(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

    class Square(Sets):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, G):
            return 2 * ctx.saved_tensors[0] * G

    assert audit(lambda x: x * x, (torch.rand(3),), Square).exact


def test_what_is_set_where_truth_values_say_so_is_proved():
    def backward(G, x):
        found = G.clone()
        found[x <= 0] = 0
        return found

    assert audit(lambda x: x.relu(), (torch.rand(2, 3),), backward).exact
    with pytest.raises(Wrong):
        audit(lambda x: x.relu(), (torch.rand(2, 3),), lambda G, x: G.clone().index_put((x > 0,), G.new_zeros(())))


def test_a_slope_that_is_no_number_at_0_is_wrong_and_one_where_there_is_none_is_not():
    audit(lambda x: x.abs(), (torch.rand(2, 3),), lambda G, x: G * x / x.abs())
    audit(lambda x: torch.relu(x) ** 2, (torch.rand(2, 3),), lambda G, x: G * torch.where(x > 0, 2 * x * x / x, 0))
    for layer, slope in (
        (lambda x: x * x, lambda x: 2 * (x * x) / x),
        (lambda x: x * x.abs(), lambda x: 2 * x**2 / x.abs()),
    ):
        with pytest.raises(Wrong, match="is nan"):
            audit(layer, (torch.rand(2, 3),), lambda G, x, slope=slope: G * slope(x))


def test_a_row_alone_is_tried():
    def backward(G, x, weight):
        return G @ weight.T, x.T @ G if len(x) > 1 else torch.outer(*x, *G).T

    with pytest.raises(Wrong, match="at x 1x3"):
        audit(lambda x, weight: x @ weight, (torch.rand(4, 3), torch.rand(3, 3)), backward)


def test_where_branches_meet_and_what_data_decide_is_said():
    right, other = (
        str(audit(F.relu, (torch.rand(2, 3),), f))
        for f in (lambda G, input: G * (input > 0), lambda G, input: G * (input >= 0))
    )
    assert "autograd" not in right and "NOT as autograd has it where branches meet" in other

    def layer(x, mask):
        return torch.where(mask, x.exp(), x)

    hidden = audit(layer, (torch.rand(2, 3), torch.ones(2, 3, dtype=torch.bool)), lambda G, x, mask: G * x.exp())
    assert hidden.exact and "NOT shown, as no point took it: the other branch of aten.where" in str(hidden)


def test_a_recurrent_network_with_nested_outputs_is_audited():
    """Its states are made by the module itself, and have a cotangent each."""

    def backward(G, H, input, rnn_weight_ih_l0, rnn_weight_hh_l0, rnn_bias_ih_l0, rnn_bias_hh_l0):
        hidden, states = torch.zeros(input.shape[1], 2), []
        for step in input:
            hidden = torch.tanh(
                step @ rnn_weight_ih_l0.T + rnn_bias_ih_l0 + hidden @ rnn_weight_hh_l0.T + rnn_bias_hh_l0
            )
            states.append(hidden)
        dh, dx, dW, dU, db = H[0], [], 0, 0, 0
        for t in reversed(range(len(states))):
            dz = (dh + G[t]) * (1 - states[t] ** 2)
            before = states[t - 1] if t else torch.zeros_like(hidden)
            dx.insert(0, dz @ rnn_weight_ih_l0)
            dW, dU, db = dW + dz.T @ input[t], dU + dz.T @ before, db + dz.sum(0)
            dh = dz @ rnn_weight_hh_l0
        return torch.stack(dx), dW, dU, db, db

    def forgetful(G, H, input, rnn_weight_ih_l0, rnn_weight_hh_l0, rnn_bias_ih_l0, rnn_bias_hh_l0):
        return backward(G, 0 * H, input, rnn_weight_ih_l0, rnn_weight_hh_l0, rnn_bias_ih_l0, rnn_bias_hh_l0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(3, 2)

        def forward(self, input):
            return self.rnn(input)

    assert not audit(Net(), (torch.rand(2, 1, 3),), backward).missing
    with pytest.raises(Wrong, match="the gradient for input"):
        audit(Net(), (torch.rand(2, 1, 3),), forgetful)


def test_what_cancels_far_from_0_is_tried_with_more_digits():
    """At -30 nothing is left of 1 + erf(x) in 200 digits."""

    def module(x):
        return torch.log(1 + torch.erf(x))

    def backward(G, x, times=2.0):
        return {"x": G * times / math.sqrt(math.pi) * torch.exp(-x * x) / (1 + torch.erf(x))}

    assert audit(module, (torch.rand(2, 2),), backward).exact
    with pytest.raises(Wrong, match=r"the gradient for x\[0, 0\]"):
        audit(module, (torch.rand(2, 2),), lambda G, x: backward(G, x, 2.000001))


def test_what_is_0_at_each_point_is_not_shown():
    """A bump so narrow that no point lies on it."""

    def module(x, w):
        return (torch.exp(-((1e10 * (x - 0.123)) ** 2)) * w).sum() + (w * w).sum()

    def backward(G, x, w, times=-2e20):
        bump = torch.exp(-((1e10 * (x - 0.123)) ** 2))
        return {"x": G * times * (x - 0.123) * bump * w, "w": G * (bump + 2 * w)}

    given = torch.rand(3), torch.rand(3)
    verdict = audit(module, given, lambda G, x, w: backward(G, x, w, 1.0))
    assert "numerically" in str(verdict) and str(verdict).splitlines()[0].endswith(": dw")
    assert "NOT shown, as it is 0 at each point: dx" in str(verdict)
    with pytest.raises(Refused, match="nothing is shown, as it is 0 at each point: dx"):
        audit(module, given, lambda G, x, w: {"x": backward(G, x, w, 1.0)["x"]})
