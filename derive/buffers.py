"""What fast.py calls of torch, for symbolic.py: operations that write into memory which is there.

Views share memory as torch's do, so that a buffer that is taken over too early shows as a wrong result. What torch
forbids or leaves open is refused: an operand half overwritten, a shape that does not fit, memory that nobody has set.
"""

from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
from sympy import Expr, Piecewise, diff

from derive.functions import FUNCTIONS, z
from derive.symbolic import Tensor, torch_stand_in
from derive.to_torch import IN_PLACE, PULLBACKS

BOUNDS = {(-1, 1): "hardtanh", (0, 6): "relu6", (0,): "relu"}


class Overwritten(RuntimeError):
    """A result that torch would not, or not surely, compute."""


def stored(value: Tensor, out: Tensor, *read: Any) -> Tensor:
    """The value, written to `out`; what was read entry by entry may be in the same place, but not half."""
    if value.entries.shape != out.entries.shape:
        raise Overwritten(f"out: expected the shape {value.entries.shape}, got {out.entries.shape}")
    for tensor in read:
        if isinstance(tensor, Tensor) and numpy.shares_memory(tensor.entries, out.entries):
            here, there = tensor.entries.__array_interface__, out.entries.__array_interface__
            if any(here[key] != there[key] for key in ("data", "shape", "strides")):
                raise Overwritten("out: overlaps what is read")
    out.entries[...] = value.entries
    return out


def product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """A product of matrices, or of a matrix and a vector, whose result is in neither's memory."""
    if any(numpy.shares_memory(tensor.entries, out.entries) for tensor in (left, right)):
        raise Overwritten("out: is a factor of the product")
    return stored(left @ right, out)


def add_product(start: Tensor, left: Tensor, right: Tensor, out: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta start + alpha left right; with beta 0 it does not matter what start holds."""
    if any(numpy.shares_memory(tensor.entries, out.entries) for tensor in (left, right)):
        raise Overwritten("out: is a factor of the product")
    value = left @ right * alpha
    return stored(value if beta == 0 else start * beta + value, out, start)


def addcmul(start: Tensor, left: Tensor, right: Tensor, out: Tensor, value: Any = 1) -> Tensor:
    """start + value left right, as a product where it is one, which the proof then need not expand."""
    result = left * (right * value + 1) if start is left else start + left * right * value
    return stored(result, out, start, left, right)


def index_select(tensor: Tensor, dim: int, index: Tensor, out: Tensor) -> Tensor:
    return stored(Tensor(numpy.take(tensor.entries, index.entries.astype(int), int(dim))), out)


def named(name: str) -> Callable[..., Tensor]:
    """An entrywise function, into `out` where one is given."""
    function = FUNCTIONS[name].func

    def kernel(tensor: Tensor, *_: Any, out: Tensor | None = None, approximate: str = "none") -> Tensor:
        value = tensor.map(FUNCTIONS["gelu_tanh"].func if approximate == "tanh" else function)
        return value if out is None else stored(value, out, tensor)

    return kernel


def pullback(name: str) -> Callable[..., Tensor]:
    """The kernel that multiplies a cotangent with the slope of a function, at z or at the value there."""
    at_value, formula = "{a}" in PULLBACKS[name], FUNCTIONS[name]
    slope = diff(formula, z)
    if at_value and not slope.has(Piecewise):
        slope = slope.xreplace({formula: z})

    def times(cotangent: Expr, entry: Expr) -> Expr:
        if at_value and slope.has(Piecewise) and entry.func == formula.func:
            entry = entry.args[0]  # relu(z) is at most 0 just where z is
        if isinstance(slope, Piecewise):
            return Piecewise(*((cotangent * value, where) for value, where in slope.xreplace({z: entry}).args))
        return cotangent * slope.xreplace({z: entry})

    def kernel(cotangent: Tensor, *arguments: Any, grad_input: Tensor, **_: Any) -> Tensor:
        place = next(argument for argument in arguments if isinstance(argument, Tensor))
        value = numpy.frompyfunc(times, 2, 1)(cotangent.entries, place.entries)
        return stored(Tensor(value), grad_input, cotangent, place)

    return kernel


def clamp(tensor: Tensor, *bounds: int, out: Tensor) -> Tensor:
    return named(BOUNDS[bounds])(tensor, out=out)


def torch_with_buffers() -> ModuleType:
    """The module that fast.py imports as torch."""
    torch = torch_stand_in()
    torch.mm = torch.mv = product
    torch.addmm, torch.addcmul, torch.index_select = add_product, addcmul, index_select
    torch.mul = lambda left, right, out: stored(left * right, out, left, right)
    torch.sub = lambda left, right, out: stored(left - right, out, left, right)
    torch.clamp = torch.clamp_min = clamp
    torch.arange = lambda stop, device: Tensor(numpy.array(range(int(stop)), dtype=object))
    torch.empty_like = lambda tensor, dtype, device: tensor.new_empty(tensor.shape)
    torch.nn.Module, torch.inference_mode = object, nullcontext
    kernels = SimpleNamespace()
    for name in FUNCTIONS.keys() - {"identity"}:
        kernel = named(name)
        setattr(kernels, {"logsigmoid": "log_sigmoid"}.get(name, name), SimpleNamespace(out=kernel))
        if name in IN_PLACE:
            setattr(torch, name, kernel)
    for name, call in PULLBACKS.items():
        path = call.partition("(")[0].split(".")
        if path[3] != "hardtanh_backward":
            setattr(kernels, path[3], SimpleNamespace(grad_input=pullback(name)))
    kernels.hardtanh_backward = SimpleNamespace(
        grad_input=lambda g, place, *bounds, grad_input: pullback(BOUNDS[bounds])(g, place, grad_input=grad_input)
    )
    exact, by_tanh = pullback("gelu"), pullback("gelu_tanh")
    kernels.gelu_backward.grad_input = lambda g, place, approximate="none", grad_input=None: (
        by_tanh if approximate == "tanh" else exact
    )(g, place, grad_input=grad_input)
    torch.ops = SimpleNamespace(aten=kernels)
    return torch


METHODS: dict[str, Callable[..., Tensor]] = {
    "copy_": lambda tensor, other: stored(
        Tensor(numpy.broadcast_to(other.entries, tensor.entries.shape)), tensor, other
    ),
    "fill_": lambda tensor, number: tensor.copy_(tensor.new_ones(()) * number),
    "zero_": lambda tensor: tensor.copy_(tensor.new_zeros(())),
    "add_": lambda tensor, other: stored(tensor + other, tensor, tensor, other),
    "sub_": lambda tensor, other: stored(tensor - other, tensor, tensor, other),
    "mul_": lambda tensor, other: stored(tensor * other, tensor, tensor, other),
    "div_": lambda tensor, other: stored(tensor / other, tensor, tensor, other),
    "addcmul_": lambda tensor, left, right, **numbers: addcmul(tensor, left, right, tensor, **numbers),
    "addmm_": lambda tensor, left, right, **numbers: add_product(tensor, left, right, tensor, **numbers),
    "addmv_": lambda tensor, left, right, **numbers: add_product(tensor, left, right, tensor, **numbers),
    **{f"{name}_": lambda tensor, name=name: named(name)(tensor, out=tensor) for name in IN_PLACE},
}
for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)
