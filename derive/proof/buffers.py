"""What fast.py calls of torch, for symbolic.py: operations that write into memory which is there.

Views share memory as torch's do, so that a buffer that is taken over too early shows as a wrong result. What torch
forbids or leaves open is refused: an operand half overwritten, a shape that does not fit, memory that nobody has set.
"""

import ast
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
from sympy import Expr, Piecewise, Rational, diff

from derive.backends import IN_PLACE, INTO, PULLBACKS
from derive.formulas import FUNCTIONS, z
from derive.proof.stand_in import Tensor, torch_stand_in


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


def stored_if(value: Tensor, out: Tensor | None, *read: Tensor) -> Tensor:
    return value if out is None else stored(value, out, *read)


def entrywise(name: str) -> Callable[..., Tensor]:
    """A named function of each entry."""
    return lambda tensor, out=None: stored_if(tensor.map(FUNCTIONS[name].func), out, tensor)


def pullback(name: str) -> Callable[..., Tensor]:
    """A cotangent times the slope of a named function, at z or at the value there."""
    at_value, formula = "{a}" in PULLBACKS[name], FUNCTIONS[name]
    slope = diff(formula, z)
    if at_value and not slope.has(Piecewise):
        slope = slope.xreplace({formula: z})

    def times(cotangent: Expr, entry: Expr) -> Expr:
        if at_value and slope.has(Piecewise) and entry.func == formula.func:
            entry = entry.args[0]  # relu(z) is at most 0 just where z is
        here = slope.xreplace({z: entry})
        if isinstance(here, Piecewise):
            return Piecewise(*((cotangent * value, where) for value, where in here.args))
        return cotangent * here

    def kernel(cotangent: Tensor, place: Tensor, out: Tensor | None = None) -> Tensor:
        value = Tensor(numpy.frompyfunc(times, 2, 1)(cotangent.entries, place.entries))
        return stored_if(value, out, cotangent, place)

    return kernel


def kernels() -> dict[str, Callable[..., Tensor]]:
    """What INTO and PULLBACKS call, by its path; the numbers and words of a call say which function it is for."""
    meant: dict[str, dict[tuple, Callable[..., Tensor]]] = {}
    for calls, make in ((INTO, entrywise), (PULLBACKS, pullback)):
        for name, call in calls.items():
            path, given = parsed(call)
            meant.setdefault(path, {}).setdefault(given, make(name))

    def dispatched(path: str) -> Callable[..., Tensor]:
        def call(*arguments: Any, out: Any = None, grad_input: Any = None, **options: Any) -> Tensor:
            tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
            given = tuple(argument for argument in (*arguments, *options.values()) if not isinstance(argument, Tensor))
            if given not in meant[path]:
                raise TypeError(f"{path}: what it computes with {given} is not known")
            return meant[path][given](*tensors, out=out if grad_input is None else grad_input)

        return call

    return {path: dispatched(path) for path in meant}


def parsed(call: str) -> tuple[str, tuple]:
    """The path of a call of torch, and its arguments that are numbers or words."""
    tree = ast.parse(call.format(g="g", z="z", a="a", out="out"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    node = next(node for node in calls if ast.unparse(node.func).startswith("torch."))
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    given = (ast.literal_eval(value) for value in values if not isinstance(value, ast.Name))
    return ast.unparse(node.func), tuple(Rational(repr(value)) if type(value) is float else value for value in given)


def torch_with_buffers() -> ModuleType:
    """The module that fast.py imports as torch."""
    torch = torch_stand_in()
    torch.mm = torch.mv = product
    torch.addmm, torch.addcmul, torch.index_select = add_product, addcmul, index_select
    torch.mul = lambda left, right, out: stored(left * right, out, left, right)
    torch.sub = lambda left, right, out: stored(left - right, out, left, right)
    torch.arange = lambda stop, device: Tensor(numpy.array(range(int(stop)), dtype=object))
    torch.empty_like = lambda tensor, dtype, device: tensor.new_empty(tensor.shape)
    torch.nn.Module, torch.inference_mode = object, nullcontext
    torch.ops = SimpleNamespace(aten=SimpleNamespace())
    for path, kernel in kernels().items():
        *owners, name = path.split(".")[1:]
        owner = torch
        for part in owners:
            if not hasattr(owner, part):
                setattr(owner, part, SimpleNamespace())
            owner = getattr(owner, part)
        setattr(owner, name, kernel)
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
    **{f"{name}_": lambda tensor, name=name: entrywise(name)(tensor, tensor) for name in IN_PLACE},
}
for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)
