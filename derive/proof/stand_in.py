"""A stand-in for torch whose tensors hold SymPy expressions: a function here for each word that printers may write.

What it does not say, other arguments or another keyword, it does not know, and a proof that needs it fails.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import cache, reduce
from operator import matmul
from types import SimpleNamespace
from typing import Any

import numpy
import sympy
from sympy import Expr, Float, Integer, Piecewise, nan
from sympy.matrices import dotprodsimp
from sympy.matrices.exceptions import NonInvertibleMatrixError

from derive.backends import OF_MATRICES, WORDS, Word
from derive.formulas import AUXILIARY, FUNCTIONS, z
from derive.proof.kernels import KERNEL_CALLS, dispatched
from derive.proof.numerical import numerically
from derive.proof.precision import decimals
from derive.proof.tensor import (
    BOOL,
    DEFAULT,
    FLOAT,
    RefusedByTorch,
    Tensor,
    add_product,
    add_products,
    each_entry,
    exact_number,
    float64_operands,
    of_entries,
    real,
    sizes,
    stored,
    values,
    with_names,
)

# entry by entry


def where(condition: Tensor, value: Any, other: Any, /) -> Tensor:
    if not isinstance(condition, Tensor) or condition.dtype != BOOL:
        raise RefusedByTorch("where: expected a condition")
    choose = numpy.frompyfunc(lambda holds, a, b: Piecewise((a, holds), (b, True)), 3, 1)
    return with_names(choose(condition.entries, *float64_operands(value, other)))


def clamp(tensor: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """At least min, then at most max, which is what counts where they cross."""
    if min is max is None:
        raise RefusedByTorch("clamp: expected a bound")
    for function, bound in ((sympy.Max, min), (sympy.Min, max)):
        tensor = tensor if bound is None else each_entry(function, tensor, exact_number(bound))
    return tensor


def of_two_entries(function: Callable[[Expr, Expr], Expr]) -> Callable[[Tensor, Tensor], Tensor]:
    of_both = numpy.frompyfunc(lambda one, other: real(function(one, other)), 2, 1)
    return lambda left, right, /: with_names(of_both(values(left), values(right)))


atan2 = of_two_entries(lambda y, x: Integer(0) if x == y == 0 else sympy.atan2(y, x))
maximum, minimum = of_two_entries(sympy.Max), of_two_entries(sympy.Min)
TAILS = {function.__name__: function(z) for function in AUXILIARY}  # which keep their digits
sqrt, square = of_entries(sympy.sqrt), of_entries(lambda entry: entry**2)
expm1, log1p = of_entries(lambda entry: sympy.exp(entry) - 1), of_entries(lambda entry: sympy.log(1 + entry))


@of_entries
def erfcx(entry: Expr) -> Expr:
    if isinstance(entry, Float):
        return numerically(TAILS["erfcx"])(entry)
    return sympy.exp(entry**2) * (sympy.erfc(entry) if entry.is_number else 1 - sympy.erf(entry))


@of_entries
def log_ndtr(entry: Expr) -> Expr:
    if isinstance(entry, Float):
        return numerically(TAILS["log_ndtr"])(entry)
    tail = sympy.erfc(-entry / sympy.sqrt(2)) if entry.is_number else 1 + sympy.erf(entry / sympy.sqrt(2))
    return sympy.log(tail / 2)


xlogy = of_two_entries(lambda factor, of: Integer(0) if factor == 0 else factor * sympy.log(of))
xlog1py = of_two_entries(lambda factor, of: Integer(0) if factor == 0 else factor * sympy.log(1 + of))


@of_entries
def erfc(entry: Expr) -> Expr:
    return sympy.erfc(entry) if entry.is_number else 1 - sympy.erf(entry)


@of_entries
def erfinv(entry: Expr) -> Expr:
    return sympy.erfinv(entry) if not entry.is_number or abs(entry) < 1 else nan


@of_entries
def lgamma(entry: Expr) -> Expr:
    return sympy.log(abs(sympy.gamma(entry))) if entry.is_number else sympy.loggamma(entry)


i0, i1 = of_entries(lambda entry: sympy.besseli(0, entry)), of_entries(lambda entry: sympy.besseli(1, entry))


def polygamma(order: int, tensor: Tensor, /) -> Tensor:
    return of_entries(lambda entry: sympy.polygamma(order, entry))(tensor)


def zeta(order: int, tensor: Tensor, /) -> Tensor:
    """Hurwitz's, of a whole order: but for a factor the derivative of digamma of the order before."""
    scale = Integer(-1) ** order * sympy.factorial(order - 1)
    return of_entries(lambda entry: sympy.polygamma(order - 1, entry) / scale)(tensor)


def gelu(tensor: Tensor, /, *, approximate: str = "none") -> Tensor:
    return of_entries(FUNCTIONS[{"none": "gelu", "tanh": "gelu_tanh"}[approximate]].func)(tensor)


# sums, products, blocks


def linear(x: Tensor, weight: Tensor, bias: Tensor, /) -> Tensor:
    return x @ weight.T + bias


def logsumexp(tensor: Tensor, dim: int | tuple[int, ...], /, keepdim: bool = False) -> Tensor:
    """Of numbers with no overflow on the way, as torch has it."""
    numbers = all(isinstance(entry, Float) for entry in values(tensor).flat)
    powers = numpy.frompyfunc(sympy.exp, 1, 1)(tensor.entries) if numbers else of_entries(sympy.exp)(tensor).entries
    total = numpy.sum(powers, axis=dim, keepdims=keepdim)
    return of_entries(sympy.log)(Tensor(total))


def amax(tensor: Tensor, dim: int | tuple[int, ...], /, keepdim: bool = False) -> Tensor:
    entries = values(tensor)
    rows = entries.reshape(1, -1) if isinstance(dim, tuple) else numpy.moveaxis(entries, dim, -1)
    if rows.shape[-1] == 0:
        raise RefusedByTorch("amax: of no entries")
    found = numpy.frompyfunc(lambda index: largest_of_row(*rows.reshape(-1, rows.shape[-1])[index]), 1, 1)(
        numpy.arange(rows.size // rows.shape[-1]).reshape(rows.shape[:-1])
    )
    if isinstance(dim, tuple):
        return Tensor(numpy.reshape(found, ()))
    return Tensor(numpy.expand_dims(found, dim) if keepdim else found)


@cache
def largest_of_row(*row: Expr) -> Expr:
    """Of numbers; of symbols any number that is the same for the same row, so that a proof holds whichever it is."""
    if all(entry.is_number for entry in row):
        return sympy.Max(*row)
    return sympy.Symbol(f"amax{largest_of_row.cache_info().misses}", real=True)


def cat(tensors: tuple[Tensor, ...], dim: int, /) -> Tensor:
    return Tensor(numpy.concatenate(list(map(values, tensors)), axis=dim))


def pad(tensor: Tensor, around: tuple[int, int, int, int], /) -> Tensor:
    left, right, top, bottom = around
    return Tensor(numpy.pad(values(tensor), ((top, bottom), (left, right)), constant_values=Integer(0)))


def einsum(pattern: str, left: Tensor, right: Tensor, /) -> Tensor:
    """The blocks of a Kronecker product, and the two contractions of blocks with a factor."""
    if pattern == "ij,kl->ikjl":
        return Tensor(numpy.tensordot(values(left), values(right), 0).swapaxes(1, 2))
    axes = {"ikjl,kl->ij": (1, 3), "kilj,kl->ij": (0, 2)}[pattern]
    return Tensor(numpy.tensordot(values(left), values(right), (axes, (0, 1))))


def eye(size: int, /, *, dtype: str, device: str) -> Tensor:
    return Tensor(numpy.array([[Integer(i == j) for j in range(size)] for i in range(size)], dtype=object), dtype)


# linear algebra


def squared(tensor: Tensor) -> sympy.Matrix:
    if tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1]:
        raise RefusedByTorch(f"expected a square matrix, got {tensor.shape}")
    matrix = sympy.Matrix(values(tensor))
    decimal = numeric(matrix) and not all(entry.is_Rational for entry in matrix)
    return matrix.evalf(decimals()) if decimal else matrix


def numeric(matrix: sympy.Matrix) -> bool:
    return all(entry.is_number for entry in matrix)


def dense(matrix: sympy.Matrix) -> Tensor:
    return Tensor(numpy.array(matrix.tolist(), dtype=object).reshape(matrix.shape))


def det(tensor: Tensor, /) -> Tensor:
    """Of symbols by products and sums alone: what SymPy simplifies in between can take minutes."""
    matrix = squared(tensor)
    with dotprodsimp(False):
        return Tensor(matrix.det("bareiss" if numeric(matrix) else "berkowitz"))


def logdet(tensor: Tensor, /) -> Tensor:
    return of_entries(sympy.log)(det(tensor))


def slogdet(tensor: Tensor, /) -> tuple[Tensor, Tensor]:
    """The sign of the determinant, and the logarithm of its size."""
    found = det(tensor)
    return of_entries(sympy.sign)(found), of_entries(lambda entry: sympy.log(abs(entry)))(found)


def inv(tensor: Tensor, /) -> Tensor:
    matrix = squared(tensor)
    if numeric(matrix):
        return dense(matrix.inv())
    determinant = det(tensor)
    if determinant.entries.item().expand() == 0:
        raise NonInvertibleMatrixError("det is 0")
    with dotprodsimp(False):
        return dense(matrix.adjugate()) / determinant


def solve(a: Tensor, b: Tensor, /, *, left: bool = True) -> Tensor:
    return inv(a) @ b if left else b @ inv(a)


def matrix_power(tensor: Tensor, power: int, /) -> Tensor:
    squared(tensor)
    factor = inv(tensor) if power < 0 else tensor
    return reduce(matmul, [factor] * abs(power), eye(len(tensor), dtype=FLOAT, device="cpu"))


def trace(tensor: Tensor, /) -> Tensor:
    if tensor.ndim != 2:
        raise RefusedByTorch(f"trace: expected a matrix, got {tensor.shape}")
    return Tensor(numpy.trace(values(tensor)))


# into memory that is there


def mm(left: Tensor, right: Tensor, /, *, out: Tensor) -> Tensor:
    return add_product(out, left, right, out, beta=0)


def addmm(start: Tensor, left: Tensor, right: Tensor, /, *, out: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return add_product(start, left, right, out, beta, alpha)


def addcmul(start: Tensor, left: Tensor, right: Tensor, /, *, out: Tensor, value: Any = 1) -> Tensor:
    return add_products(start, left, right, out, value)


def mul(left: Tensor, right: Any, /, *, out: Tensor) -> Tensor:
    return stored(left * right, out, left, right)


def sub(left: Tensor, right: Any, /, *, out: Tensor) -> Tensor:
    return stored(left - right, out, left, right)


def arange(stop: int, /, *, dtype: str, device: str) -> Tensor:
    return Tensor(numpy.array([Integer(i) for i in range(stop)], dtype=object), dtype)


def zeros_like(tensor: Tensor, /) -> Tensor:
    return tensor.new_zeros(tensor.shape)


def function_of_word(word: Word) -> Callable[..., Tensor] | None:
    """The function here that has the last name of a word's path, else that of each entry; None where neither is."""
    function = FUNCTIONS[word.function].func if word.function in FUNCTIONS else getattr(sympy, word.function, None)
    return globals().get(word.path.rpartition(".")[2]) or (of_entries(function) if function else None)


def by_path(words: Iterable[Word]) -> dict[str, Callable[..., Tensor]]:
    """What functions of torch compute, by their paths."""
    return {word.path: function for word in words if "." in word.path and (function := function_of_word(word))}


TORCH_BY_PATH = by_path(word for word in WORDS if word.lines != OF_MATRICES)
TORCH_BY_PATH |= {
    path: dispatched(path, TORCH_BY_PATH.get(path)) for path in KERNEL_CALLS
}  # the forms that words have into memory
MATRICES = by_path(word for word in WORDS if word.lines == OF_MATRICES)
AROUND = {  # what templates say of torch besides
    "torch.Tensor": Tensor,
    "torch.allclose": lambda one, other, equal_nan: bool((one.entries == other.entries).all()),
    "torch._C._are_functorch_transforms_active": lambda: False,
    "torch.empty_like": lambda tensor, dtype, device: tensor.new_empty(tensor.shape),
    "torch.float32": DEFAULT,
    "torch.float64": FLOAT,
    "torch.inference_mode": nullcontext,
    "torch.is_autocast_enabled": lambda device: False,
    "torch.nn.Module": object,
    "torch.ones": lambda *shape, device: Tensor(numpy.full(sizes(shape), Integer(1), dtype=object), DEFAULT),
    "torch.strided": "strided",
}
MATH = {
    "math.e": sympy.E,
    "math.pi": sympy.pi,
    "math.sqrt": sympy.sqrt,
    **{f"math.{word.function}": getattr(sympy, word.function) for word in WORDS if word.of_numbers},
}


def module(rows: dict[str, Any]) -> SimpleNamespace:
    """What has these paths as attributes, the first name of each left out."""
    inside: dict[str, dict[str, Any]] = {}
    found = SimpleNamespace()
    for path, value in rows.items():
        _, name, *rest = path.split(".")
        if rest:
            inside.setdefault(name, {})[path.partition(".")[2]] = value
        else:
            setattr(found, name, value)
    for name, parts in inside.items():
        setattr(found, name, module(parts))
    return found


def torch_stand_in() -> SimpleNamespace:
    """The module that emitted source imports as torch."""
    return module(TORCH_BY_PATH | MATRICES | AROUND)
