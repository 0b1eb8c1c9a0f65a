"""What a matrix derivation comes to at given numbers: by numpy, and by torch beside autograd."""

import math
from collections.abc import Callable
from typing import Any

import numpy
from numpy import ndarray
from sympy import MatrixSymbol

from derive.diagnosis import Diagnosis, ExpressionDoctor, by_name
from derive.operations import evaluate
from derive.packages import dimension_lines, forward_text
from derive.programs import Symmetric


def at_arrays(subject: Any, arrays: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """The value, and the gradients by the names of the variables.

    Raises ValueError that names an array that is missing, of another shape, or not expected, or the first symbol
    without a real and finite value.
    """
    inputs = inputs_at(subject, arrays)
    values = evaluate(subject.derivation.equations, inputs)
    gradients = {}
    for variable in subject.variables:
        found = values[subject.derivation.gradients[subject.inputs[variable]]]
        gradients[str(variable)] = found if isinstance(variable, MatrixSymbol) else float(found.item())
    return float(values[subject.program.output].item()), gradients


def inputs_at(subject: Any, arrays: dict[str, Any]) -> dict[MatrixSymbol, ndarray]:
    """The arrays by their symbols, each with its two dimensions.

    Raises ValueError that names an array that is missing, of another shape, or not expected.
    """
    names = {str(given): symbol for symbol, given in subject.original.items()}
    check_names(names, arrays)
    dimension_lines(subject.program)  # which raises where a size is unknown
    sizes: dict[Any, int] = {}
    inputs = {}
    for name, symbol in names.items():
        try:
            array = numpy.asarray(arrays[name], dtype=float)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: expected an array of numbers, got {type(arrays[name]).__name__}") from None
        array = array.reshape(1, 1) if array.ndim == 0 and tuple(symbol.shape) == (1, 1) else array
        if array.ndim != 2:
            hint = f"; {name}[:, None] is a column" if array.ndim == 1 else ""
            raise ValueError(f"{name}: expected 2 dimensions, got shape {array.shape}{hint}")
        for size, length in zip(symbol.shape, array.shape, strict=True):
            if size.is_Symbol:
                sizes.setdefault(size, length)
        inputs[symbol] = array
    for (name, symbol), array in zip(names.items(), inputs.values(), strict=True):
        if tuple(size.xreplace(sizes) for size in symbol.shape) != array.shape:
            raise ValueError(f"{name}: expected shape {tuple(symbol.shape)}, got {array.shape}")
        if isinstance(symbol, Symmetric) and not numpy.allclose(array, array.T, equal_nan=True):
            raise ValueError(f"{name}: expected a symmetric matrix")
    return inputs


def diagnosed(subject: Any, function: Callable[..., Any], arrays: dict[str, Any]) -> Diagnosis:
    """What is wrong with a function that computes the gradients, at these arrays, or at a point that is drawn.

    Raises ValueError or TypeError for what is no point, and for what are no gradients.
    """
    doctor = ExpressionDoctor(subject.derivation, inputs_at(subject, arrays) if arrays else None)
    names = {str(given): symbol for symbol, given in subject.original.items()}
    scalars = {str(given) for given in subject.original.values() if not isinstance(given, MatrixSymbol)}
    values = {name: doctor.point.inputs[symbol].copy() for name, symbol in names.items()}
    given = function(**{name: array.item() if name in scalars else array for name, array in values.items()})
    variables = [str(variable) for variable in subject.variables]
    return doctor.of_arrays(
        {names[name].name: two_dimensions(name, part) for name, part in by_name(given, variables).items()}
    )


def two_dimensions(name: str, array: Any) -> ndarray:
    """A number as 1 x 1, and a list of numbers as a column.

    Raises TypeError for what is no array of numbers, ValueError for one of more dimensions.
    """
    try:
        values = numpy.asarray(array, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"function: {name}: expected an array of numbers, got {type(array).__name__}") from None
    if values.ndim > 2:
        raise ValueError(f"function: {name}: expected 2 dimensions, got shape {values.shape}")
    return values.reshape(-1, 1) if values.ndim < 2 else values


def beside_autograd(subject: Any, tensors: dict[str, Any]) -> dict[str, float]:
    """The relative difference of the value, and of each gradient, from what autograd makes of the forward lines."""
    emitted: dict[str, Any] = {}
    exec(subject.torch(), emitted)
    torch = emitted["torch"]
    names = {str(given): symbol.name for symbol, given in subject.original.items()}
    check_names(names, tensors)
    numbers = {name for name, tensor in tensors.items() if isinstance(tensor, float | int)}
    given = {names[name]: torch.as_tensor(tensor) for name, tensor in tensors.items() if name not in numbers}
    like = next(iter(given.values()), torch.zeros((), dtype=torch.float64))
    given |= {names[name]: like.new_tensor(tensors[name]) for name in numbers}
    value, gradients = emitted["value_and_grad"](**given)
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in given.items()}
    twice = {symbol.name for symbol in subject.original if isinstance(symbol, Symmetric)}  # entries at two places
    whole = {name: leaf.tril() + leaf.tril(-1).mT if name in twice else leaf for name, leaf in leaves.items()}
    namespace: dict[str, Any] = {"torch": torch, "math": math, **whole}
    exec(forward_text(subject.program), namespace)
    expected = namespace[subject.program.output.name]
    variables = [subject.inputs[variable].name for variable in subject.variables]
    wanted = torch.autograd.grad(expected, [leaves[name] for name in variables], allow_unused=True)
    found = {"value": relative_difference(value, expected.detach())}
    for variable, name, gradient in zip(subject.variables, variables, wanted, strict=True):
        mine = getattr(gradients, name)
        gradient = gradient + gradient.tril(-1).mT if name in twice and gradient is not None else gradient
        found[str(variable)] = relative_difference(mine, torch.zeros_like(mine) if gradient is None else gradient)
    return found


def relative_difference(mine: Any, other: Any) -> float:
    """The relative difference in the largest entry; infinite where one is not finite and the other is."""
    difference, size = (mine - other).abs().max().item(), other.abs().max().item()
    if math.isnan(difference):
        return 0.0 if bool((mine.isnan() == other.isnan()).all()) else math.inf
    return difference if size == 0 else difference / size


def check_names(known: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises ValueError that names what is missing, or not expected."""
    for name in [*known, *given]:
        if name not in given:
            raise ValueError(f"{name}: no numbers are given for it; the inputs are {', '.join(known)}")
        if name not in known:
            raise ValueError(f"{name}: no input; the inputs are {', '.join(known)}")
