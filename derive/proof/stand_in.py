"""A stand-in for torch whose tensors hold SymPy expressions: emitted source runs on it unchanged and exactly.

It knows what emitted code uses and nothing else; every number is exact.
"""

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from operator import matmul
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy
import sympy
from sympy import Expr, Integer, Piecewise, Rational
from sympy.matrices import dotprodsimp
from sympy.matrices.exceptions import NonInvertibleMatrixError

from derive.backends import KERNELS, NUMBER_FUNCTIONS
from derive.formulas import FUNCTIONS
from derive.proof.definition import DIGITS

STANDARD = ("collections", "collections.abc", "itertools", "typing")
OUTSIDE = ("entries", "map")  # lead from tensors to SymPy, which evaluates text
HARMLESS = ("__module__", "__name__")
UNSAFE = {
    *("open", "eval", "exec", "compile", "input", "breakpoint"),
    *("getattr", "setattr", "delattr", "vars", "globals", "locals"),
}
UNSET = sympy.Symbol("unset", real=True)  # what new_empty holds


class Tensor:
    """An array of SymPy expressions with the methods of torch.Tensor that emitted code calls.

    `name` is applied to each entry that is computed by an operator.
    """

    name: ClassVar[Callable[[Expr], Expr]] = staticmethod(lambda entry: entry)
    dtype = "float64"
    device = "cpu"
    layout = "strided"
    requires_grad = False

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

    @property
    def mT(self) -> "Tensor":
        return Tensor(numpy.swapaxes(self.entries, -1, -2))

    def __len__(self) -> int:
        return len(self.entries)

    def map(self, function: Callable[[Expr], Expr]) -> "Tensor":
        """The function of each entry."""
        return Tensor(numpy.frompyfunc(function, 1, 1)(self.entries))

    def detach(self) -> "Tensor":
        return self

    def contiguous(self) -> "Tensor":
        return self

    def to(self, dtype: str) -> "Tensor":
        return self

    def unsqueeze(self, dim: int) -> "Tensor":
        return Tensor(numpy.expand_dims(self.entries, dim))

    def expand(self, *shape: Any) -> "Tensor":
        return Tensor(numpy.broadcast_to(self.entries, _sizes(shape)))

    def reshape(self, *shape: int) -> "Tensor":
        return Tensor(self.entries.reshape(tuple(map(int, shape))))

    def new_tensor(self, entries: Any) -> "Tensor":
        return Tensor(numpy.vectorize(_number, otypes=[object])(numpy.asarray(entries, dtype=object)))

    def new_ones(self, *shape: Any) -> "Tensor":
        return _full(shape, Integer(1))

    def new_zeros(self, *shape: Any) -> "Tensor":
        return _full(shape, Integer(0))

    def new_empty(self, *shape: Any) -> "Tensor":
        return _full(shape, UNSET)

    def clone(self) -> "Tensor":
        return Tensor(self.entries.copy())

    def element_size(self) -> int:
        return 8

    def view(self, *shape: int) -> "Tensor":
        """The same memory in another shape."""
        entries = self.entries.reshape(tuple(map(int, shape)))
        if entries.size and not numpy.shares_memory(entries, self.entries):
            raise RuntimeError(f"view: no view of {self.entries.shape} has the shape {shape}")
        return Tensor(entries)

    def view_as(self, other: "Tensor") -> "Tensor":
        return self.view(*other.shape)

    def numel(self) -> int:
        return self.entries.size

    def unflatten(self, dim: int, sizes: tuple[int, ...]) -> "Tensor":
        dim = int(dim) % self.ndim
        return self.view(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])

    def split(self, size: int, dim: int = 0) -> tuple["Tensor", ...]:
        length = self.entries.shape[int(dim)]
        return self.split_with_sizes([min(int(size), length - start) for start in range(0, length, int(size))], dim)

    def split_with_sizes(self, sizes: Sequence[int], dim: int = 0) -> tuple["Tensor", ...]:
        stops = [int(stop) for stop in numpy.cumsum(sizes)]
        if stops[-1] != self.entries.shape[int(dim)]:
            raise RuntimeError(f"split_with_sizes: expected a sum of {self.entries.shape[int(dim)]}, got {sizes}")
        return tuple(Tensor(part) for part in numpy.split(self.entries, stops[:-1], int(dim)))

    def sum(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        axis = None if dim is None else int(dim)
        return Tensor(numpy.sum(self.entries, axis=axis, keepdims=keepdim, initial=Integer(0)))

    def __matmul__(self, other: "Tensor") -> "Tensor":
        if self.entries.shape[-1] == 0:
            return Tensor(numpy.full((self.entries.shape[0], other.entries.shape[1]), Integer(0)))
        return _named(self.entries @ other.entries)

    def __getitem__(self, index: Any) -> "Tensor":
        index = index if isinstance(index, tuple) else (index,)
        return Tensor(self.entries[(*index, ...)])

    def __neg__(self) -> "Tensor":
        return Tensor(-self.entries)


def _named(entries: Any) -> Tensor:
    return Tensor(numpy.frompyfunc(Tensor.name, 1, 1)(entries))


@contextmanager
def naming(name: Callable[[Expr], Expr]) -> Iterator[None]:
    """Tensors write what they compute by the names that this gives."""
    outer, Tensor.name = Tensor.name, staticmethod(name)
    try:
        yield
    finally:
        Tensor.name = staticmethod(outer)


def _sizes(shape: tuple) -> tuple[int, ...]:
    """A shape given as numbers or as one tuple."""
    return tuple(map(int, shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape))


def _full(shape: tuple, entry: Expr) -> Tensor:
    return Tensor(numpy.full(_sizes(shape), entry, dtype=object))


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
        return _named(numpy.frompyfunc(function, 2, 1)(left, right))

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


def zeros_like(tensor: Tensor) -> Tensor:
    return Tensor(numpy.full(tensor.entries.shape, Integer(0)))


def _kernel(name: str) -> Callable[[Tensor], Tensor]:
    function = FUNCTIONS[name].func if name in FUNCTIONS else getattr(sympy, name)
    return lambda tensor: Tensor(numpy.frompyfunc(function, 1, 1)(tensor.entries))


def _matrix(tensor: Tensor) -> sympy.Matrix:
    matrix = sympy.Matrix(tensor.entries)
    decimal = _numeric(matrix) and not all(entry.is_Rational for entry in matrix)
    return matrix.evalf(DIGITS) if decimal else matrix


def _numeric(matrix: sympy.Matrix) -> bool:
    return all(entry.is_number for entry in matrix)


def _dense(matrix: sympy.Matrix) -> Tensor:
    return Tensor(numpy.array(matrix.tolist(), dtype=object).reshape(matrix.shape))


def eye(size: int, dtype: str, device: str) -> Tensor:
    return Tensor(numpy.array([[Integer(i == j) for j in range(int(size))] for i in range(int(size))], dtype=object))


def det(tensor: Tensor) -> Tensor:
    """Of symbols by products and sums alone: what SymPy simplifies in between can take minutes."""
    matrix = _matrix(tensor)
    with dotprodsimp(False):
        return Tensor(matrix.det("bareiss" if _numeric(matrix) else "berkowitz"))


def inv(tensor: Tensor) -> Tensor:
    matrix = _matrix(tensor)
    if _numeric(matrix):
        return _dense(matrix.inv())
    determinant = det(tensor)
    if determinant.entries.item().expand() == 0:
        raise NonInvertibleMatrixError("det is 0")
    with dotprodsimp(False):
        return _dense(matrix.adjugate()) / determinant


def solve(a: Tensor, b: Tensor, left: bool = True) -> Tensor:
    return inv(a) @ b if left else b @ inv(a)


def matrix_power(tensor: Tensor, power: int) -> Tensor:
    factor = inv(tensor) if power < 0 else tensor
    return reduce(matmul, [factor] * abs(int(power)), eye(len(tensor), tensor.dtype, tensor.device))


def logsumexp(tensor: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    axes = tuple(map(int, dim)) if isinstance(dim, tuple) else int(dim)
    terms = numpy.frompyfunc(sympy.exp, 1, 1)(tensor.entries)
    return Tensor(numpy.frompyfunc(sympy.log, 1, 1)(numpy.sum(terms, axis=axes, keepdims=keepdim)))


def pad(tensor: Tensor, around: tuple[int, int, int, int]) -> Tensor:
    left, right, top, bottom = map(int, around)
    return Tensor(numpy.pad(tensor.entries, ((top, bottom), (left, right)), constant_values=Integer(0)))


def einsum(pattern: str, blocks: Tensor, factor: Tensor) -> Tensor:
    """The two contractions with a factor of a Kronecker product."""
    axes = {"ikjl,kl->ij": (1, 3), "kilj,kl->ij": (0, 2)}[pattern]
    return Tensor(numpy.tensordot(blocks.entries, factor.entries, (axes, (0, 1))))


def _clamp(tensor: Tensor, min: Any = None, max: Any = None) -> Tensor:
    function, bound = (sympy.Max, min) if max is None else (sympy.Min, max)
    return Tensor(numpy.frompyfunc(lambda entry: function(entry, _number(bound)), 1, 1)(tensor.entries))


def _pairs(function: Callable) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda left, right: Tensor(numpy.frompyfunc(function, 2, 1)(_number(left), _number(right)))


def _linear_algebra(torch: ModuleType) -> None:
    """The calls that matrix expressions are spelled with."""
    torch.linalg = SimpleNamespace(
        inv=inv,
        det=det,
        solve=solve,
        matrix_power=matrix_power,
    )
    torch.logdet = lambda tensor: Tensor(sympy.log(det(tensor).entries.item()))
    torch.trace = lambda tensor: Tensor(numpy.trace(tensor.entries))
    torch.kron = lambda left, right: Tensor(numpy.kron(left.entries, right.entries))
    torch.cat = lambda tensors, axis: Tensor(numpy.concatenate([part.entries for part in tensors], axis=int(axis)))
    torch.eye, torch.logsumexp, torch.einsum, torch.clamp = eye, logsumexp, einsum, _clamp
    torch.maximum, torch.minimum, torch.atan2 = _pairs(sympy.Max), _pairs(sympy.Min), _pairs(sympy.atan2)
    torch.sqrt = lambda tensor: Tensor(numpy.frompyfunc(sympy.sqrt, 1, 1)(tensor.entries))
    torch.nn.functional.pad = pad


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the proof knows no {self.__name__}.{name}")


def torch_stand_in() -> ModuleType:
    """The module that emitted source imports as torch."""
    torch = _Module("torch")
    torch.Tensor, torch.where, torch.logsumexp, torch.zeros_like = Tensor, where, logsumexp, zeros_like
    torch.square = lambda tensor: tensor**2
    torch.ones = lambda *shape, device="cpu": _full(shape, Integer(1))
    torch.is_autocast_enabled = lambda device: False
    torch.float32, torch.float64, torch.strided = "float32", "float64", "strided"
    torch.nn = SimpleNamespace(functional=_Module("torch.nn.functional"))
    torch.nn.functional.linear = lambda x, weight, bias: x @ weight.T + bias
    for name, path in KERNELS.items():
        owner = torch.nn.functional if path.startswith("torch.nn.functional.") else torch
        setattr(owner, path.rpartition(".")[2], _kernel(name))
    exact_gelu, tanh_gelu = _kernel("gelu"), _kernel("gelu_tanh")
    torch.nn.functional.gelu = lambda x, approximate="none": (tanh_gelu if approximate == "tanh" else exact_gelu)(x)
    _linear_algebra(torch)
    return torch


def math_stand_in() -> ModuleType:
    """The module that emitted source imports as math."""
    module = _Module("math")
    module.sqrt, module.pi, module.e, module.prod = sympy.sqrt, sympy.pi, sympy.E, math.prod
    for name in NUMBER_FUNCTIONS:
        setattr(module, name, getattr(sympy, name))
    return module


class _Exact(ast.NodeTransformer):
    """Reads the numbers of a formula as what they say: 1 / 3 is a third, 0.01 a hundredth."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        node.left, node.right = self._exact(node.left), self._exact(node.right)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.args = [self._exact(part) if isinstance(getattr(part, "value", 0), float) else part for part in node.args]
        for keyword in node.keywords:
            if isinstance(getattr(keyword.value, "value", 0), float):
                keyword.value = self._exact(keyword.value)
        return node

    def _exact(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and math.isfinite(node.value):
            text = ast.Constant(repr(node.value))
            return ast.copy_location(ast.Call(ast.Name("_exact", ast.Load()), [text], []), node)
        return node


def run_source(
    source: str, filename: str, torch: ModuleType | None = None, beside: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The namespace of emitted source, run with symbolic tensors; `beside` has those of its package's other modules.

    Raises ImportError where it imports anything but these, torch, math and the typing modules, and SyntaxError where it
    reaches for what leads out of them.
    """
    stand_ins = {"torch": torch or torch_stand_in(), "math": math_stand_in()}

    def limited_import(name, globals=None, locals=None, fromlist=(), level=0):
        if name in stand_ins and not level:
            return stand_ins[name]
        if name in STANDARD and not level:
            return public(import_module(name))
        if level == 1 and name in (beside or {}):
            return SimpleNamespace(**beside[name])
        raise ImportError(f"{filename}: imports {name}, which emitted code does not")

    tree = ast.parse(source, filename)
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else ""
        if (
            name in OUTSIDE
            or (name.startswith("__") and name not in HARMLESS)
            or isinstance(node, ast.Match | ast.While)
        ):
            raise SyntaxError(f"{filename}:{node.lineno}: {ast.unparse(node)[:60]}: emitted code has no such thing")
    tree = ast.fix_missing_locations(_Exact().visit(tree))
    builtins = {name: value for name, value in vars(import_module("builtins")).items() if name not in UNSAFE}
    builtins["__import__"] = limited_import
    namespace = {"__builtins__": builtins, "__name__": "emitted", "_exact": Rational}
    exec(compile(tree, filename, "exec"), namespace)
    return namespace


def public(module: ModuleType) -> SimpleNamespace:
    """What a module offers, without what it imports itself."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return SimpleNamespace(**{name: getattr(module, name) for name in names})


def symbols(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of real symbols, name[i, j]."""
    entries = numpy.empty(shape, dtype=object)
    for index in numpy.ndindex(*shape):
        entries[index] = sympy.Symbol(f"{name}[{', '.join(map(str, index))}]", real=True)
    return Tensor(entries)


def as_expr(value: Any) -> Expr:
    return value.entries.item() if isinstance(value, Tensor) else sympy.sympify(value)
