"""What answers may be written with besides what emitted code is: other names of torch and numpy, on exact entries."""

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy
from numpy import ndarray
from sympy import Abs, Expr, Integer, Piecewise, exp, log

from derive.proof import Tensor

MOST_MADE = 10**5  # entries of ones, and products of a sum


def on_entries(function: Callable[..., ndarray]) -> Callable[..., Tensor]:
    """The function of numpy, given the entries of tensors."""

    def called(*arguments: Any) -> Tensor:
        return Tensor(function(*(plain(argument) for argument in arguments)))

    return called


def plain(argument: Any) -> Any:
    """Entries of a tensor, a Python number of a whole one."""
    if isinstance(argument, tuple):
        return tuple(map(plain, argument))
    if isinstance(argument, Expr):
        return int(argument)
    return argument.entries if isinstance(argument, Tensor) else argument


def full_of(number: int) -> Callable[..., Tensor]:
    """torch.ones and torch.zeros, of sizes one by one or together."""

    def made(*sizes: Any) -> Tensor:
        shape = plain(sizes[0] if isinstance(sizes[0], tuple) else sizes)
        if math.prod(shape) > MOST_MADE:
            raise ValueError(f"{shape}: more entries than are made here")
        return Tensor(numpy.full(shape, Integer(number), dtype=object))

    return made


def summed_products(pattern: str, *tensors: Any) -> Tensor:
    """torch.einsum, whose tensors may stand in a tuple.

    Raises ValueError for a pattern with dots, and for more products than are made here.
    """
    factors = tensors[0] if isinstance(tensors[0], tuple) else tensors
    pattern = pattern.replace(" ", "")
    letters = "".join(pattern.partition("->")[0].split(","))
    sizes = dict(zip(letters, (size for factor in factors for size in factor.shape), strict=True))
    if not re.fullmatch(r"[a-zA-Z,]+(->[a-zA-Z]*)?", pattern) or math.prod(sizes.values()) > MOST_MADE:
        raise ValueError(f"{pattern} is not read here")
    return Tensor(numpy.einsum(pattern, *map(plain, factors), optimize=False))


def exp_over_sum(tensor: Tensor, dim: int) -> Tensor:
    powers = tensor.map(exp)
    return powers / Tensor.sum(powers, int(dim), keepdim=True)


def choice_of(condition: Tensor, *values: Any) -> Tensor:
    """torch.where, of tensors and of numbers."""
    choose = numpy.frompyfunc(lambda holds, one, other: Piecewise((one, holds), (other, True)), 3, 1)
    return Tensor(
        choose(condition.entries, *(value.entries if isinstance(value, Tensor) else value for value in values))
    )


def as_mean(tensor: Tensor, *axes: Any, **options: Any) -> Tensor:
    total = Tensor.sum(tensor, *axes, **options)
    return total / (tensor.entries.size // total.entries.size)


def linear_of_torch(x: Tensor, weight: Tensor, bias: Tensor | int = 0) -> Tensor:
    product = x @ weight.T
    return product + bias if isinstance(bias, Tensor) else product


FUNCTIONS_OF = {"F": "torch.nn.functional", "np": "torch", "numpy": "torch", "torch": "torch"}  # as imports call them
CALLS: dict[str, Callable[..., Any]] = {  # by function or by method
    "add": operator.add,
    "adjoint": on_entries(numpy.transpose),
    "div": operator.truediv,
    "dot": operator.matmul,
    "einsum": summed_products,
    "linear": linear_of_torch,
    "log_softmax": lambda tensor, dim: exp_over_sum(tensor, dim).map(log),
    "matmul": operator.matmul,
    "mean": as_mean,
    "mm": operator.matmul,
    "mul": operator.mul,
    "multiply": operator.mul,
    "neg": operator.neg,
    "new_tensor": Tensor.new_tensor,
    "numel": lambda tensor: Integer(tensor.numel()),
    "ones": full_of(1),
    "ones_like": lambda tensor: full_of(1)(tensor.shape),
    "permute": lambda tensor, *axes: on_entries(numpy.transpose)(tensor, axes),
    "pow": operator.pow,
    "size": lambda tensor, axis: Integer(tensor.shape[int(axis)]),
    "softmax": exp_over_sum,
    "sub": operator.sub,
    "sum": Tensor.sum,
    "swapaxes": on_entries(numpy.swapaxes),
    "t": lambda tensor: tensor.T,
    "transpose": on_entries(numpy.swapaxes),
    "unsqueeze": on_entries(numpy.expand_dims),
    "where": choice_of,
    "zeros": full_of(0),
    "zeros_like": lambda tensor: full_of(0)(tensor.shape),
}
CONVERSIONS = ("astype", "double", "float", "to", "type", "type_as")  # which change no number
BUILT_IN: dict[str, Callable[..., Any]] = {
    "abs": lambda tensor: tensor.map(Abs),
    "len": lambda tensor: Integer(len(tensor)),
    "sum": lambda tensor: Tensor.sum(tensor, 0),
}
