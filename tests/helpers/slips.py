"""Slips put into the functions of a text, one at a time."""

import ast
from collections.abc import Iterator

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


def mutants(text: str, name: str = "backward") -> list[str]:
    """The text with one slip in the function of that name, which computes gradients."""
    found = []
    tree = ast.parse(text)
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)
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
