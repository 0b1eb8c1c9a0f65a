"""Slips put into right backwards, one at a time: none is accepted but those that change no number."""

import ast
import random
from collections.abc import Iterator

import pytest
import torch

from derive.audit import Refused, Wrong, audit
from derive.modules.graph import Module
from derive.modules.written import COTANGENT, Written
from tests.helpers.backwards import CASES, HEAD

OTHERS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {"mT", "T"}


def slips(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            yield ast.BinOp(right, ast.MatMult(), left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OTHERS:
            yield ast.BinOp(left, OTHERS[type(op)](), right)
            yield left
            yield right
        case ast.Attribute(value=value, attr=name) if name in TURNED:
            yield value
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(-value - 1)
        case ast.Call(func=ast.Attribute(value=value, attr="sum" | "mean" | "cumsum" | "flip" | "tril" | "square")):
            yield value
        case ast.Call(func=ast.Attribute(value=value, attr="sum") as function, args=args, keywords=keywords):
            yield ast.Call(ast.Attribute(value, "mean", function.ctx), args, keywords)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand


def mutants(text: str) -> list[str]:
    """The text with one slip in the function that computes gradients."""
    found = []
    tree = ast.parse(text)
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "backward")
    for parent in list(ast.walk(function)):
        for name, value in ast.iter_fields(parent):
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                for other in slips(node) if isinstance(node, ast.AST) else ():
                    put(parent, name, place, other)
                    found.append(ast.unparse(ast.fix_missing_locations(tree)))
                    put(parent, name, place, node)
    return found


def put(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


def gradients(path, case) -> list[torch.Tensor]:
    """What a file gives of random numbers, in float64."""
    module = Module(case.layer(), case.example())
    written = Written(path, module)
    generator = torch.Generator().manual_seed(1)
    tensors = {f"{COTANGENT}{place}": output for place, output in enumerate(module.outputs())} | module.tensors()
    drawn = {
        name: torch.rand(t.shape, generator=generator, dtype=torch.float64) - 0.5 if t.is_floating_point() else t
        for name, t in tensors.items()
    }
    return list(written.called(drawn))


def accepted(name: str, texts: list[str], tmp_path) -> list[str]:
    """Those that are not rejected, although they give other numbers."""
    case, found = CASES[name], []
    right = tmp_path / "right.py"
    right.write_text(HEAD + case.backward)
    wanted = gradients(right, case)
    for number, text in enumerate(texts):
        path = tmp_path / f"mutant{number}.py"
        path.write_text(HEAD + text)
        try:
            audit(case.layer(), case.example(), path)
        except (Wrong, Refused):
            continue
        got = gradients(path, case)
        if any(not torch.allclose(mine, other, rtol=1e-9, atol=1e-12) for mine, other in zip(got, wanted, strict=True)):
            found.append(text)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_slip_is_not_accepted(name, tmp_path):
    texts = mutants(CASES[name].backward)
    assert len(texts) >= 10
    assert accepted(name, random.sample(texts, 3), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_slip_is_accepted(name, tmp_path):
    texts = mutants(CASES[name].backward)
    assert accepted(name, random.sample(texts, min(len(texts), 25)), tmp_path) == []
