"""Emitted source, run on symbols instead of numbers, exactly."""

import ast
import math
import re
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

from sympy import Float, Integer, Rational

from derive.proof.stand_in import MATH, module, torch_stand_in

STANDARD = ("collections", "collections.abc", "itertools", "typing")
BUILTINS = re.findall(
    r"\w+",
    """AttributeError RuntimeError TypeError ValueError __build_class__ any bool classmethod dict float int isinstance
    len list map max min next property range sorted str sum tuple type zip""",
)
OF_SIZES = {  # functions and methods among whose arguments are sizes, axes or orders
    *("amax", "arange", "cat", "expand", "eye", "logsumexp", "matrix_power", "new_empty", "new_ones"),
    *("new_zeros", "pad", "polygamma", "reshape", "split", "split_with_sizes", "sum", "unsqueeze", "view", "zeta"),
}


def run_source(
    source: str, filename: str, beside: dict[str, dict[str, Any]] | None = None, rounds: bool = False
) -> dict[str, Any]:
    """The namespace of emitted source, run with symbolic tensors; `beside` has those of its package's other modules.

    Numbers are what they say; where it `rounds`, sums of decimals are rounded as Python rounds them. Only what
    `grammar.check_grammar` has let pass is safe to run. Raises ImportError where it imports anything but these, torch,
    math and the typing modules.
    """
    stand_ins = {"torch": torch_stand_in(), "math": module(MATH | {"math.prod": math.prod})}
    stand_ins["torch.autograd"] = SimpleNamespace(forward_ad=SimpleNamespace(_current_level=-1))

    def limited_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if name in stand_ins and not level:
            return stand_ins[name]
        if name in STANDARD and not level:
            return public(import_module(name))
        if level == 1 and beside is not None and name in beside:
            return SimpleNamespace(**beside[name])
        raise ImportError(f"{filename}: imports {name}, which emitted code does not")

    tree = ast.fix_missing_locations(Exact().visit(ast.parse(source, filename)))
    builtins = {name: getattr(import_module("builtins"), name) for name in BUILTINS} | {"__import__": limited_import}
    namespace = {"__builtins__": builtins, "__name__": "emitted", "_exact": as_held if rounds else as_said}
    exec(compile(tree, filename, "exec"), namespace)
    return namespace


def public(module: ModuleType) -> SimpleNamespace:
    """What a module offers, without what it imports itself."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return SimpleNamespace(**{name: getattr(module, name) for name in names})


def as_said(value: Any) -> Any:
    """A number as what it says: 0.01 is a hundredth; anything else itself."""
    if isinstance(value, float):
        return Rational(repr(value))
    return Integer(value) if type(value) is int else value


def as_held(value: Any) -> Any:
    """A number as Python has it."""
    return Float(value, precision=53) if isinstance(value, float) else as_said(value)


class Exact(ast.NodeTransformer):
    """Reads decimals, and what is divided or raised to a power, as what they say: 1 / 3 is a third."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return self.wrapped(node) if isinstance(node.value, float) and math.isfinite(node.value) else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """A decimal is no index, whatever it says."""
        node.value = self.visit(node.value)
        node.slice = self.outside(node.slice)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Nor is it a size or an axis."""
        of_sizes = isinstance(node.func, ast.Attribute) and node.func.attr in OF_SIZES
        node.func = self.visit(node.func)
        node.args = [self.outside(part) if of_sizes else self.visit(part) for part in node.args]
        for keyword in node.keywords:
            keyword.value = self.outside(keyword.value) if of_sizes else self.visit(keyword.value)
        return node

    def outside(self, node: ast.expr) -> ast.expr:
        """What stands there, with decimals as they are."""
        if isinstance(node, ast.Constant):
            return node
        if isinstance(node, ast.Tuple | ast.List):
            node.elts = list(map(self.outside, node.elts))
            return node
        if isinstance(node, ast.UnaryOp):
            node.operand = self.outside(node.operand)
            return node
        if isinstance(node, ast.Slice):
            for name in ("lower", "upper", "step"):
                bound = getattr(node, name)
                setattr(node, name, bound and self.outside(bound))
            return node
        return self.visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Div | ast.Pow):
            node.left, node.right = self.wrapped(node.left), self.wrapped(node.right)
        return node

    def wrapped(self, node: ast.expr) -> ast.expr:
        return ast.copy_location(ast.Call(ast.Name("_exact", ast.Load()), [node], []), node)
