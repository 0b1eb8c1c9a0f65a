"""A stand-in for torch whose tensors hold SymPy expressions: emitted source runs on it unchanged and exactly.

It knows what emitted code uses and nothing else; every number is exact.
"""

import ast
import math
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import sympy
from sympy import Expr, Integer, Piecewise, Rational

from derive.functions import FUNCTIONS
from derive.to_torch import KERNELS

STANDARD = ("collections.abc", "typing")


class Tensor:
    """An array of SymPy expressions with the methods of torch.Tensor that emitted code calls."""

    dtype = "float64"
    device = "cpu"

    def __init__(self, entries: Any) -> None:
        self.entries = numpy.asarray(entries, dtype=object)

    @property
    def shape(self) -> tuple[Integer, ...]:
        return tuple(map(Integer, self.entries.shape))

    @property
    def ndim(self) -> int:
        return self.entries.ndim

    @property
    def T(self) -> "Tensor":
        if self.ndim != 2:
            raise TypeError(f"T: expected 2 dimensions, got {self.ndim}")
        return Tensor(self.entries.T)

    def detach(self) -> "Tensor":
        return self

    def to(self, dtype: str) -> "Tensor":
        return self

    def unsqueeze(self, dim: int) -> "Tensor":
        return Tensor(numpy.expand_dims(self.entries, dim))

    def sum(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        axis = None if dim is None else int(dim)
        return Tensor(numpy.sum(self.entries, axis=axis, keepdims=keepdim, initial=Integer(0)))

    def __matmul__(self, other: "Tensor") -> "Tensor":
        if self.entries.shape[-1] == 0:
            return Tensor(numpy.full((self.entries.shape[0], other.entries.shape[1]), Integer(0)))
        return Tensor(self.entries @ other.entries)

    def __getitem__(self, index: Any) -> "Tensor":
        return Tensor(self.entries[index])

    def __neg__(self) -> "Tensor":
        return Tensor(-self.entries)


def _number(value: Any) -> Any:
    """The entries of a tensor, or an exact number."""
    if isinstance(value, Tensor):
        return value.entries
    if isinstance(value, float):
        raise TypeError(f"{value!r} is not exact")
    return sympy.sympify(value)


def _operator(function: Callable, swapped: bool = False) -> Callable:
    def method(self: Tensor, other: Any) -> Tensor:
        left, right = (_number(other), self.entries) if swapped else (self.entries, _number(other))
        return Tensor(numpy.frompyfunc(function, 2, 1)(left, right))

    return method


for _name, _function in {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "truediv": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
}.items():
    setattr(Tensor, f"__{_name}__", _operator(_function))
    setattr(Tensor, f"__r{_name}__", _operator(_function, swapped=True))
for _name, _relation in {
    "le": sympy.Le,
    "lt": sympy.Lt,
    "ge": sympy.Ge,
    "gt": sympy.Gt,
    "and": sympy.And,
    "or": sympy.Or,
}.items():
    setattr(Tensor, f"__{_name}__", _operator(_relation))


def where(condition: Tensor, value: Any, other: Any) -> Tensor:
    choose = numpy.frompyfunc(lambda c, a, b: Piecewise((a, c), (b, True)), 3, 1)
    return Tensor(choose(condition.entries, _number(value), _number(other)))


def logsumexp(tensor: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    total = Tensor(numpy.frompyfunc(sympy.exp, 1, 1)(tensor.entries)).sum(dim, keepdim)
    return Tensor(numpy.frompyfunc(sympy.log, 1, 1)(total.entries))


def zeros_like(tensor: Tensor) -> Tensor:
    return Tensor(numpy.full(tensor.entries.shape, Integer(0)))


def _kernel(name: str) -> Callable[[Tensor], Tensor]:
    function = FUNCTIONS[name].func if name in FUNCTIONS else getattr(sympy, name)
    return lambda tensor: Tensor(numpy.frompyfunc(function, 1, 1)(tensor.entries))


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the proof knows no {self.__name__}.{name}")


def torch_stand_in() -> ModuleType:
    """The module that emitted source imports as torch."""
    torch = _Module("torch")
    torch.Tensor, torch.where, torch.logsumexp, torch.zeros_like = Tensor, where, logsumexp, zeros_like
    torch.float32, torch.float64 = "float32", "float64"
    torch.nn = SimpleNamespace(functional=_Module("torch.nn.functional"))
    for name, path in KERNELS.items():
        owner = torch.nn.functional if path.startswith("torch.nn.functional.") else torch
        setattr(owner, path.rpartition(".")[2], _kernel(name))
    exact_gelu, tanh_gelu = _kernel("gelu"), _kernel("gelu_tanh")
    torch.nn.functional.gelu = lambda x, approximate="none": (tanh_gelu if approximate == "tanh" else exact_gelu)(x)
    return torch


def math_stand_in() -> ModuleType:
    """The module that emitted source imports as math."""
    module = _Module("math")
    module.sqrt, module.pi, module.e = sympy.sqrt, sympy.pi, sympy.E
    return module


class _Exact(ast.NodeTransformer):
    """Reads the numbers of a formula as what they say: 1 / 3 is a third, 0.01 a hundredth."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        node.left, node.right = self._exact(node.left), self._exact(node.right)
        return node

    def _exact(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and math.isfinite(node.value):
            text = ast.Constant(repr(node.value))
            return ast.copy_location(ast.Call(ast.Name("_exact", ast.Load()), [text], []), node)
        return node


def run_source(source: str, filename: str) -> dict[str, Any]:
    """The namespace of emitted source, run with symbolic tensors.

    Raises ImportError where it imports anything but torch, math and the typing modules.
    """
    stand_ins = {"torch": torch_stand_in(), "math": math_stand_in()}

    def limited_import(name, globals=None, locals=None, fromlist=(), level=0):
        if name in stand_ins and not level:
            return stand_ins[name]
        if name in STANDARD and not level:
            return __import__(name, globals, locals, fromlist, level)
        raise ImportError(f"{filename}: imports {name}, which emitted code does not")

    tree = ast.fix_missing_locations(_Exact().visit(ast.parse(source, filename)))
    builtins = {**vars(__import__("builtins")), "__import__": limited_import}
    for name in ("open", "eval", "exec", "compile", "input", "breakpoint"):
        del builtins[name]
    namespace = {"__builtins__": builtins, "__name__": "emitted", "_exact": Rational}
    exec(compile(tree, filename, "exec"), namespace)
    return namespace


def symbols(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of real symbols, name[i, j]."""
    entries = numpy.empty(shape, dtype=object)
    for index in numpy.ndindex(*shape):
        entries[index] = sympy.Symbol(f"{name}[{', '.join(map(str, index))}]", real=True)
    return Tensor(entries)


def as_expr(value: Any) -> Expr:
    return value.entries.item() if isinstance(value, Tensor) else sympy.sympify(value)
