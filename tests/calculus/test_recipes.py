"""Recipes: each runs as the page has it, and its gradients are autograd's of torch's own functions."""

import pytest
import torch
import torch.nn.functional as F

from derive import derivation
from derive.matrix_numbers import relative_difference
from tests.helpers.expressions import computed
from tests.helpers.recipes import RECIPES, SIZES
from tests.tools import recipes

PAGE = recipes.PAGE.read_text(encoding="utf-8")
each = pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.title for recipe in RECIPES])


def rnn(steps, A, W1, U, c):
    cell = torch.nn.RNNCell(4, 3).double()
    weights = {"weight_ih": W1.T, "weight_hh": U.T, "bias_ih": c[0], "bias_hh": torch.zeros(3, dtype=torch.float64)}
    for x in steps:
        A = torch.func.functional_call(cell, weights, (x, A))
    return A


def lstm(X1, X2, A, c, U, V):
    cell = torch.nn.LSTMCell(2, 2, bias=False).double()
    state = A, c
    for x in (X1, X2):
        weights = {"weight_ih": U.T, "weight_hh": V.T}
        state = torch.func.functional_call(cell, weights, (x, state))
    return (state[0] ** 2).sum()


def drawn(symbol, kind):
    rows, columns = (int(size.subs({s: SIZES[s.name] for s in size.free_symbols})) for size in symbol.shape)
    if kind == "one-hot":
        return F.one_hot(torch.randint(columns, (rows,)), columns).double()
    if kind in ("probability", "positive"):
        return torch.rand(rows, columns, dtype=torch.float64)
    return torch.randn(rows, columns, dtype=torch.float64)


@each
def test_a_recipe_has_autograds_gradients(recipe):
    torch.manual_seed(7)
    names = recipes.run(recipe)
    subject = derivation(names["loss"], names["variables"], prove=False)
    given = {
        str(s): drawn(s, recipe.kinds.get(str(s))) if getattr(s, "shape", None) else torch.tensor(0.05).double()
        for s in subject.original.values()
    }
    wanted = {str(variable) for variable in names["variables"]}
    leaves = {name: tensor.clone().requires_grad_(name in wanted) for name, tensor in given.items()}
    value = eval(recipe.torch, {"torch": torch, "F": F, "rnn": rnn, "lstm": lstm, **leaves})
    slopes = torch.autograd.grad(value, [leaves[str(variable)] for variable in names["variables"]])
    own = {str(shown): symbol.name for symbol, shown in subject.original.items()}
    mine, gradients = computed(subject, **{own[name]: tensor for name, tensor in given.items()})
    assert relative_difference(mine, value.detach()) < 1e-12
    for variable, slope in zip(names["variables"], slopes, strict=True):
        assert relative_difference(getattr(gradients, own[str(variable)]), slope) < 1e-12, variable


@each
def test_the_page_shows_it_as_it_is(recipe):
    assert recipes.section(recipe) in PAGE, "python -m tests.tools.recipes writes it anew"


def test_the_page_has_them_all_and_nothing_else():
    assert PAGE.startswith(recipes.INTRODUCTION) and PAGE.count("\n## ") == len(RECIPES) >= 20
    assert len({recipe.title for recipe in RECIPES}) == len(RECIPES)


@pytest.mark.slow
@each
def test_a_recipe_is_proved_or_checked(recipe):
    names = recipes.run(recipe)
    derivation(names["loss"], names["variables"])
