"""Tensors of exact entries: what torch.Tensor does, on SymPy expressions in the place of numbers.

A view shares memory with what it is a view of, and what is written into one shows in the other, as in torch. Memory
that nobody has set, and a number that is not real and finite, is nan: nothing that is computed with it is a number
again. The data that a proof hands out are read-only. Whatever torch refuses, rounds or leaves open is refused.

SymPy simplifies as it computes: of symbols, x / x is 1 and exp(log(x)) is x. So what is shown to be identical is so
where every step is defined, and as far as none rounds or overflows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy
import sympy
from sympy import Expr, Float, Integer, nan

from derive.backends import WORDS
from derive.formulas import FUNCTIONS, NamedFunction, opened, z
from derive.proof.contexts import BESIDE, KEPT, LOGS, NAMINGS
from derive.proof.numerical import decimal_product, numerically

FLOAT, DEFAULT, BOOL = "float64", "float32", "bool"  # DEFAULT: made without a dtype, so rounded
MOST_BITS = 100_000  # of a number: longer ones only come from code that is not ours


class RefusedByTorch(RuntimeError):
    """What torch would not, or not surely, or not exactly compute."""


class Cut(RefusedByTorch):
    """Some of the rows are taken by their numbers."""


Operator = Callable[["Tensor", Any], "Tensor"]


class Tensor:
    """An array of SymPy expressions with the methods of torch.Tensor that emitted code calls."""

    __slots__ = ("dtype", "entries")
    device, layout, is_cpu = "cpu", "strided", True
    requires_grad = is_meta = is_nested = False
    __hash__ = object.__hash__
    __add__: Operator  # and more, from the tables below
    __mul__: Operator
    __truediv__: Operator

    def __init__(self, entries: Any, dtype: str = FLOAT) -> None:
        self.entries = numpy.asarray(entries, dtype=object)
        self.dtype = dtype

    def _view(self, entries: numpy.ndarray) -> "Tensor":
        return Tensor(entries, self.dtype)

    def map(self, function: Callable[[Expr], Expr]) -> "Tensor":
        """The function of each entry."""
        return Tensor(numpy.frompyfunc(function, 1, 1)(self.entries))

    # shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entries.shape

    @property
    def ndim(self) -> int:
        return self.entries.ndim

    def __len__(self) -> int:
        return len(self.entries)

    def numel(self) -> int:
        return self.entries.size

    def element_size(self) -> int:
        return self.entries.itemsize

    def data_ptr(self) -> int:
        return self.entries.__array_interface__["data"][0]

    def stride(self, dim: int | None = None) -> Any:
        strides = tuple(step // self.entries.itemsize for step in self.entries.strides)
        return strides if dim is None else strides[dim]

    def __bool__(self) -> bool:
        raise RefusedByTorch("a branch on what a tensor holds")

    # views

    @property
    def T(self) -> "Tensor":
        if self.ndim != 2:
            raise RefusedByTorch(f"T: expected 2 dimensions, got {self.ndim}")
        return self._view(self.entries.T)

    @property
    def mT(self) -> "Tensor":
        if self.ndim < 2:
            raise RefusedByTorch(f"mT: expected at least 2 dimensions, got {self.ndim}")
        return self._view(numpy.swapaxes(self.entries, -1, -2))

    def __getitem__(self, index: Any) -> "Tensor":
        index = index if isinstance(index, tuple) else (index,)
        for part in index:
            step = part.step if isinstance(part, slice) else None
            if not (part is None or is_whole(part) or isinstance(part, slice)) or (step is not None and step < 1):
                raise RefusedByTorch(f"no index of a tensor: {part}")
        cut = [part != slice(None) for part in index if part is not None]
        if any(taken and not length % rows for rows in KEPT for taken, length in zip(cut, self.shape, strict=False)):
            raise Cut(f"{index}: takes some of the rows only")
        return self._view(self.entries[(*index, ...)])

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[row] for row in range(len(self)))

    def detach(self) -> "Tensor":
        return self._view(self.entries)

    def unsqueeze(self, dim: int) -> "Tensor":
        return self._view(numpy.expand_dims(self.entries, dim))

    def expand(self, *shape: Any) -> "Tensor":
        return self._view(numpy.broadcast_to(self.entries, sizes(shape)))

    def reshape(self, *shape: Any) -> "Tensor":
        return self._view(self.entries.reshape(sizes(shape)))

    def view(self, *shape: Any) -> "Tensor":
        entries = self.entries.reshape(sizes(shape))
        if entries.size and not numpy.shares_memory(entries, self.entries):
            raise RefusedByTorch(f"view: no view of {self.shape} has the shape {shape}")
        return self._view(entries)

    def split(self, size: int, dim: int = 0) -> tuple["Tensor", ...]:
        length = self.shape[dim]
        return self.split_with_sizes([min(size, length - start) for start in range(0, length, size)] or [0], dim)

    def split_with_sizes(self, sizes: Sequence[int], dim: int = 0) -> tuple["Tensor", ...]:
        stops = [int(stop) for stop in numpy.cumsum(sizes)]
        if stops[-1] != self.shape[dim]:
            raise RefusedByTorch(f"split_with_sizes: expected a sum of {self.shape[dim]}, got {sizes}")
        return tuple(map(self._view, numpy.split(self.entries, stops[:-1], dim)))

    # copies and new memory

    def clone(self) -> "Tensor":
        return self._view(self.entries.copy(order="K"))

    def new_tensor(self, entries: Any) -> "Tensor":
        def exact(part: Any) -> Any:
            return list(map(exact, part)) if isinstance(part, list) else exact_number(part)

        return self._view(numpy.array(exact(entries), dtype=object))

    def new_ones(self, *shape: Any) -> "Tensor":
        return self._view(numpy.full(sizes(shape), Integer(1), dtype=object))

    def new_zeros(self, *shape: Any) -> "Tensor":
        return self._view(numpy.full(sizes(shape), Integer(0), dtype=object))

    def new_empty(self, *shape: Any) -> "Tensor":
        return self._view(numpy.full(sizes(shape), nan, dtype=object))

    # sums and products

    def sum(self, dim: int | None = None, *, keepdim: bool = False) -> "Tensor":
        if dim is not None and type(dim) is not int:
            raise RefusedByTorch(f"sum: no axis: {dim!r}")
        return with_names(numpy.sum(values(self), axis=dim, keepdims=keepdim, initial=Integer(0)))

    def __matmul__(self, other: "Tensor") -> "Tensor":
        left, right = values(self), values(other)
        if left.shape[-1] == 0 and left.ndim == right.ndim == 2:
            return Tensor(numpy.full((left.shape[0], right.shape[1]), Integer(0)))
        decimals = decimal_product(left, right)
        return with_names(left @ right) if decimals is None else Tensor(decimals)

    def __neg__(self) -> "Tensor":
        return Tensor(-values(self))

    # in place

    def copy_(self, src: "Tensor") -> "Tensor":
        source = Tensor(numpy.broadcast_to(src.entries, self.shape), src.dtype)
        return stored(source, self, src)

    def fill_(self, value: Any) -> "Tensor":
        return stored(Tensor(numpy.full(self.shape, exact_number(value), dtype=object)), self)

    def zero_(self) -> "Tensor":
        return self.fill_(0)

    def addmm_(self, left: "Tensor", right: "Tensor", /, *, beta: Any = 1, alpha: Any = 1) -> "Tensor":
        return add_product(self, left, right, self, beta, alpha)

    def addcmul_(self, left: "Tensor", right: "Tensor", /, *, value: Any = 1) -> "Tensor":
        return add_products(self, left, right, self, value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int | Integer) and not isinstance(value, bool)


def sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as numbers or as one tuple."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
    if not all(is_whole(size) and size >= -1 for size in shape):
        raise RefusedByTorch(f"no shape: {shape}")
    return tuple(map(int, shape))


def exact_number(value: Any) -> Expr:
    """An exact, real number, or the entry of a tensor that has one.

    Raises Refused where it is anything else.
    """
    if isinstance(value, Tensor) and value.ndim == 0:
        return values(value).item()
    exact = Integer(value) if is_whole(value) else value
    if not isinstance(exact, Expr) or exact.is_extended_real is False:
        raise RefusedByTorch(f"{value!r} is no exact number")
    return BESIDE[-1](exact) if BESIDE else exact


def values(tensor: Any) -> numpy.ndarray:
    """The entries of a tensor of float64."""
    if not isinstance(tensor, Tensor) or tensor.dtype != FLOAT:
        raise RefusedByTorch(f"expected a tensor of float64, got {getattr(tensor, 'dtype', type(tensor).__name__)}")
    return tensor.entries


def real(value: Expr) -> Expr:
    """The value; nan where it is a number that is not real and finite."""
    if value.is_Float:
        return value
    if value.is_Rational and max(value.p.bit_length(), value.q.bit_length()) > MOST_BITS:
        raise RefusedByTorch("a number of so many digits")
    return nan if value.is_number and (value.is_extended_real is False or value.is_finite is False) else value


def float64_operands(*operands: Any) -> list[Any]:
    """The entries of tensors, and exact numbers, that torch computes with in float64.

    Raises Refused where it would not: where there is no tensor of float64 among them, or one of whole numbers.
    """
    dtypes = {operand.dtype for operand in operands if isinstance(operand, Tensor)}
    if not {FLOAT} <= dtypes <= {FLOAT, DEFAULT}:
        raise RefusedByTorch(f"expected float64, got {', '.join(sorted(dtypes)) or 'numbers'}")
    return [operand.entries if isinstance(operand, Tensor) else exact_number(operand) for operand in operands]


def each_entry(function: Callable[..., Expr], *operands: Any, dtype: str = FLOAT) -> Tensor:
    """The function of each entry, or of each pair; numbers, and what is repeated, are operands too."""
    results = numpy.frompyfunc(function, len(operands), 1)(*float64_operands(*operands))
    return with_names(results) if dtype == FLOAT else Tensor(results, dtype)


def of_entries(function: Callable[[Expr], Expr]) -> Callable[[Tensor], Tensor]:
    """The function of each entry; one that has a name is compiled for numbers."""
    has_name = isinstance(function, type) and issubclass(function, NamedFunction)

    def of_entry(entry: Expr) -> Expr:
        if has_name and isinstance(entry, Float):
            return numerically(function(z))(entry)
        return real(opened(function(entry)) if entry == 0 else function(entry))

    return lambda tensor, /: each_entry(of_entry, tensor)


def _arithmetic(function: Callable[[Expr, Expr], Expr], swapped: bool = False) -> Callable[[Tensor, Any], Tensor]:
    def method(self: Tensor, other: Any) -> Tensor:
        return each_entry(function, *((other, self) if swapped else (self, other)))

    return method


def _relation(function: Callable[[Expr, Expr], sympy.Basic]) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: each_entry(function, self, other, dtype=BOOL)


def _connective(function: Callable[..., sympy.Basic]) -> Callable[..., Tensor]:
    def method(*tensors: Tensor) -> Tensor:
        if any(tensor.dtype != BOOL for tensor in tensors):
            raise RefusedByTorch(f"expected conditions, got {', '.join(tensor.dtype for tensor in tensors)}")
        return Tensor(numpy.frompyfunc(function, len(tensors), 1)(*(tensor.entries for tensor in tensors)), BOOL)

    return method


def _in_place(name: str) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: stored(getattr(self, f"__{name}__")(other), self, self, other)


def bounded_power(base: Expr, exponent: Expr) -> Expr:
    if (
        exponent.is_number
        and base.is_Rational
        and abs(exponent) * max(base.p.bit_length(), base.q.bit_length()) > MOST_BITS
    ):
        raise RefusedByTorch("a number of so many digits")
    return real(base**exponent)


TENSOR_ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: real(a * b),
    "truediv": lambda a, b: nan if b.is_Number and b.is_zero else real(a / b),
    "pow": bounded_power,
}
for _name, _function in TENSOR_ARITHMETIC.items():
    setattr(Tensor, f"__{_name}__", _arithmetic(_function))
    setattr(Tensor, f"__r{_name}__", _arithmetic(_function, swapped=True))
    setattr(Tensor, f"__i{_name}__", _in_place(_name))
for _name in ("Le", "Lt", "Ge", "Gt", "Eq", "Ne"):
    setattr(Tensor, f"__{_name.lower()}__", _relation(getattr(sympy, _name)))
for _name, _join in {"and": sympy.And, "or": sympy.Or, "invert": sympy.Not}.items():
    setattr(Tensor, f"__{_name}__", _connective(_join))
for _name, _method in {"add": "add", "sub": "sub", "mul": "mul", "div": "truediv"}.items():
    setattr(Tensor, f"{_name}_", _in_place(_method))


def stored(value: Tensor, out: Tensor, *read: Any) -> Tensor:
    """The value, written to `out`; what was read entry by entry may be in the same place, but not half.

    Raises Refused where torch would resize, convert or half overwrite, and where `out` was only lent.
    """
    if (value.shape, value.dtype) != (out.shape, out.dtype):
        raise RefusedByTorch(f"out: expected {value.shape}, {value.dtype}, got {out.shape}, {out.dtype}")
    if not out.entries.flags.writeable:
        raise RefusedByTorch("writes into what it was given, or into memory that several entries share")
    for tensor in read:
        if isinstance(tensor, Tensor) and numpy.shares_memory(tensor.entries, out.entries):
            here, there = tensor.entries.__array_interface__, out.entries.__array_interface__
            if any(here[key] != there[key] for key in ("data", "shape", "strides")):
                raise RefusedByTorch("out: overlaps what is read")
    out.entries[...] = value.entries
    for log in LOGS:
        log.append(out.entries)
    return out


def add_product(start: Tensor, left: Tensor, right: Tensor, out: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta start + alpha left right, of two matrices; with beta 0 start may hold anything.

    Raises Refused where a factor shares memory with `out`, as torch says no result then.
    """
    if (left.ndim, right.ndim) != (2, 2):
        raise RefusedByTorch(f"expected two matrices, got {left.shape} and {right.shape}")
    if any(numpy.shares_memory(tensor.entries, out.entries) for tensor in (left, right)):
        raise RefusedByTorch("out: is a factor of the product")
    value = left @ right
    value = value if alpha == 1 else value * alpha
    return stored(value if beta == 0 else start * beta + value, out, start)


def add_products(start: Tensor, left: Tensor, right: Tensor, out: Tensor, value: Any = 1) -> Tensor:
    """start + value left right, as a product where it is one, which the proof then need not expand."""
    values(left), values(right)
    result = left * (right * value + 1) if start is left else start + left * right * value
    return stored(result, out, start, left, right)


for _name in (word.function for word in WORDS if word.in_place):
    setattr(Tensor, f"{_name}_", lambda self, of=FUNCTIONS[_name].func: stored(of_entries(of)(self), self, self))


def with_names(entries: Any) -> Tensor:
    """A tensor of the names that the entries have, where names are asked for."""
    return Tensor(numpy.frompyfunc(NAMINGS[-1], 1, 1)(entries) if NAMINGS else entries)


def read_only(entries: Any) -> Tensor:
    """A tensor of a copy of the entries, which nothing may write into."""
    copy = numpy.array(entries, dtype=object)
    copy.flags.writeable = False
    return Tensor(copy)


def symbol_entries(name: str, shape: tuple[int, ...]) -> numpy.ndarray:
    """Real symbols, name[i, j]."""
    entries = numpy.empty(shape, dtype=object)
    for index in numpy.ndindex(*shape):
        entries[index] = sympy.Symbol(f"{name}[{', '.join(map(str, index))}]", real=True)
    return entries


def symbols(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of these; read-only."""
    return read_only(symbol_entries(name, shape))
