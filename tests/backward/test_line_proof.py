"""Each line of an emitted text is shown to compute what it must, and no slip in one is accepted."""

import random
from contextlib import nullcontext, suppress

import pytest
import torch
from torch import nn

from derive.backward import ModuleDerivation, module_derivation
from derive.backward.instrumented import LAYER_FUNCTIONS
from derive.module import Refused, Wrong
from derive.modules.graph import results
from tests.helpers.beside_autograd import loaded, truth
from tests.helpers.layers import LAYERS, MLP, Of, r
from tests.helpers.slips import mutants

QUICK = (
    *(
        "attention",
        "batch norm",
        "bilinear",
        "branches",
        "by sizes",
        "classes",
        "detached",
        "dropout by its mask",
        "fused heads",
    ),
    *("frozen and unused", "glu", "group norm", "hidden keys", "indices", "layer norm", "layout", "losses"),
    *("mean pool", "products", "reductions", "relu", "repeated", "rms norm", "rnn cell", "rope", "silu", "swiglu"),
    *("margin of an angle", "prelu", "product of entries", "shown keys", "similarity", "tied", "transposed conv1d"),
    *("two outputs", "whole numbers as floats", "windows of an image"),
)
NUMERIC = ("largest of lines", "max pool", "what is given alone")  # which is the largest is not decided with symbols
SLIPPED = ("attention", "classes", "layer norm", "mean pool", "swiglu", "two outputs")


def derived_of(name: str) -> ModuleDerivation:
    make, example = LAYERS[name]
    return module_derivation(make(), example())


def exact(name: str) -> None:
    derived = derived_of(name)
    shown = derived.of_lines(derived.source())
    assert shown.entries and not shown.checked, str(shown)


@pytest.mark.parametrize("name", QUICK)
def test_each_line_is_identical_to_what_it_must_be(name):
    exact(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {*QUICK, *NUMERIC}))
def test_each_line_of_all_others_is_identical_to_what_it_must_be(name):
    exact(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMERIC)
def test_where_the_largest_is_taken_it_is_checked_numerically(name):
    certificate = derived_of(name).prove()
    assert not certificate.exact and "not decided with symbols" in str(certificate)


def test_the_certificate_says_what_was_shown():
    certificate = module_derivation(MLP(torch.tanh), [r(3, 2)]).prove()
    lines, numbers, rows, tangents = certificate.shown
    assert certificate.exact and str(certificate).startswith("proved: MLP\n")
    assert lines.how.endswith("at x 4x2") or lines.how.endswith("at x 5x2")
    assert "dfc1_weight" in numbers.functions and "x 3x2; x " in numbers.how
    assert rows.functions == ("backward_per_sample",) and rows.how.endswith("at 2 random points, at x 3x2")
    assert tangents.functions == ("jvp",) and "whose pairing with G is that of backward" in tangents.how


def test_the_largest_as_an_output_is_checked_numerically():
    """No value of the module is made of it, so that its symbol stands for itself."""
    certificate = module_derivation(Of(lambda s, x: (x.sin().cumsum(1), x.sin().amax(1))), [r(2, 3)]).prove()
    assert not certificate.exact and "moves with them" in str(certificate)


def test_an_edited_text_that_is_not_decided_is_refused_and_one_that_names_two_values_alike():
    derived = module_derivation(lambda x: x.sin(), [r(2, 3)])
    before, line, after = derived.source().partition("    grad_x = ")
    for text, said in (
        (f"{before}{line}1 * {after}", ""),
        (f"{before}    G = torch.clamp(G, max=1e9)\n{line}{after}", "could not be proved"),
        (f"{before}    grad_x = 2 * G\n{line}{after}", "gives grad_x a value twice"),
    ):
        with pytest.raises(Refused, match=said) if said else nullcontext():
            derived.prove(text)


def test_what_cannot_be_decided_with_symbols_is_checked_numerically():
    certificate = module_derivation(Of(lambda s, x, y: x.exp() ** y), [r(2), r(2)]).prove()
    assert not certificate.exact
    assert "not decided with symbols" in str(certificate)


@pytest.mark.parametrize(
    ("function", "right", "wrong", "said"),
    [
        ("jvp", "return y,", "return 2 * y,", r"output 0 of jvp\[0\] is"),
        ("jvp", "return y, d_y", "return y, math.inf * 0 * d_y", "jvp is nan"),
        ("jvp", "return y, d_y", "return y, d_y[None]", "the tangent of output 0 has the shape"),
        ("backward_per_sample", "grad_a = ", "grad_a = 2 * ", r"row 0 of a\[0\] is"),
        ("backward_per_sample", "grad_a = ", "grad_a = math.inf * 0 * ", r"row 0 of a\[0\] is nan"),
    ],
)
def test_where_lines_are_not_decided_numbers_hold_each_function(function, right, wrong, said):
    def power(a, b):
        return a.exp() ** b

    derived = module_derivation(power, [r(2), r(2)])
    before, between, after = f"import math\n{derived.source()}".partition(f"def {function}(")
    assert after.count(right) == 1
    with pytest.raises(Wrong, match=said):
        derived.of_lines(f"{before}{between}{after.replace(right, wrong)}")


def test_a_text_without_tangents_is_proved_and_its_certificate_names_none():
    derived = module_derivation(MLP(torch.tanh), [r(3, 2)])
    certificate = derived.prove(f"{derived.source().partition('def jvp(')[0].rstrip()}\n")
    assert certificate.exact and certificate.shown[0].functions == ("forward", "backward", "backward_per_sample")
    assert [shown.functions for shown in certificate.shown[2:]] == [("backward_per_sample",)]


def accepted(name: str, texts: list[str]) -> list[str]:
    """Those that are accepted, line by line and then as a whole, although they give other numbers."""
    derived, found = derived_of(name), []

    def numbers(text: str) -> list[torch.Tensor]:
        module = loaded(text)
        torch.manual_seed(0)
        _, cotangents, _, tensors = truth(derived.module)
        names = module.forward.__code__.co_varnames[: module.forward.__code__.co_argcount]
        output, saved = module.forward(*(tensors[name] for name in names))
        gradients = module.backward(*cotangents, saved)
        each = module.backward_per_sample(*cotangents, saved) if "backward_per_sample" in text else {}
        moved = module.jvp(*(tensors[name] for name in names), *(tensors[name].exp() for name in gradients))
        return [*results(output), *gradients.values(), *each.values(), *results(moved)]

    right = numbers(derived.source())
    for text in texts:
        try:
            shown = derived.of_lines(text)
        except (Wrong, Refused):
            continue
        if shown.checked:
            continue
        got = numbers(text)
        if any(
            mine.shape != other.shape or not torch.allclose(mine, other, rtol=1e-9, atol=1e-12)
            for mine, other in zip(got, right, strict=True)
        ):
            with suppress(Wrong, Refused):
                derived.prove(text)
                found.append(text)
    return found


def slipped(name: str, count: int) -> list[str]:
    text = derived_of(name).source()
    functions = [name for name in LAYER_FUNCTIONS if f"def {name}(" in text]
    texts = [mutant for name in functions for mutant in mutants(text, name)]
    return random.Random(0).sample(texts, min(count, len(texts)))


@pytest.mark.parametrize("name", SLIPPED)
def test_a_slip_in_a_line_is_not_accepted(name):
    assert accepted(name, slipped(name, 3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SLIPPED, "gpt block"])
def test_no_slip_in_a_line_is_accepted(name):
    assert accepted(name, slipped(name, 40 if name in SLIPPED else 6)) == []


def test_gradients_that_are_given_in_another_order_or_cut_off_are_wrong():
    derived = module_derivation(nn.LayerNorm(3), [r(2, 3)])
    text = derived.source()
    for right, wrong in (
        ('"weight": grad_weight', '"weight": grad_bias'),
        ("y_rstd, y_hat = saved", "y_hat, y_rstd = saved"),
        ("y_hat = y_rstd * (input - y_mean)", "y_hat = y_rstd * (input - y_mean.detach())"),
    ):
        assert text.count(right) == 2  # for all rows, and for each; or beside tangents
        before, between, after = text.split(right)
        for changed in (f"{before}{wrong}{between}{right}{after}", f"{before}{right}{between}{wrong}{after}"):
            if "detach" in wrong:
                assert derived.of_lines(changed).checked == 0  # the same numbers, whatever autograd would make of it
            else:
                with pytest.raises((Wrong, Refused)):
                    derived.prove(changed)
