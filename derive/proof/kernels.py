"""The kernels of torch that write a named function, or its pullback, into memory that is there.

Which function a call is for, its numbers and words say: a call that is not one of INTO or PULLBACKS is not known.
"""

import ast
from collections.abc import Callable, Iterable
from typing import Any

from sympy import Expr, Float, Piecewise, Rational, diff

from derive.backends import INTO, PULLBACKS
from derive.formulas import FUNCTIONS, z
from derive.proof.numerical import numerically
from derive.proof.tensor import Refused, Tensor, entrywise, of_entries, stored

Form = tuple[tuple[Any, ...], frozenset[tuple[str, Any]]]


def form(positional: Iterable[Any], keywords: dict[str, Any]) -> Form:
    """How a call is written, whatever its tensors."""

    def shown(value: Any) -> Any:
        return "tensor" if isinstance(value, Tensor) else (isinstance(value, bool), value)

    return tuple(map(shown, positional)), frozenset((name, shown(value)) for name, value in keywords.items())


def parsed(call: str) -> tuple[str, Form]:
    """The path of a call of torch, and its form."""
    tree = ast.parse(call.format(g="g", z="z", a="a", out="out"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    node = next(node for node in calls if ast.unparse(node.func).startswith("torch."))

    def read(part: ast.expr) -> Any:
        value = Tensor(0) if isinstance(part, ast.Name) else ast.literal_eval(part)
        return Rational(repr(value)) if isinstance(value, float) else value

    return ast.unparse(node.func), form(map(read, node.args), {str(k.arg): read(k.value) for k in node.keywords})


def of_pullback(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A cotangent times the slope of a named function, at z or at the value there."""
    at_value, formula = "{a}" in PULLBACKS[name], FUNCTIONS[name]
    slope = diff(formula, z)
    if at_value and not slope.has(Piecewise):
        slope = slope.xreplace({formula: z})

    def times(cotangent: Expr, entry: Expr) -> Expr:
        if isinstance(entry, Float):
            return cotangent * numerically(slope)(entry)
        if at_value and slope.has(Piecewise) and entry.func == formula.func:
            entry = entry.args[0]  # relu(z) is at most 0 just where z is
        here = slope.xreplace({z: entry})
        if isinstance(here, Piecewise):
            return Piecewise(*((cotangent * value, where) for value, where in here.args))
        return cotangent * here

    return lambda cotangent, place: entrywise(times, cotangent, place)


def known() -> dict[str, dict[Form, Callable[..., Tensor]]]:
    """What each form of call of each path computes."""
    meant: dict[str, dict[Form, Callable[..., Tensor]]] = {}
    for calls, make in ((INTO, lambda name: of_entries(FUNCTIONS[name].func)), (PULLBACKS, of_pullback)):
        for name, call in calls.items():
            path, written = parsed(call)
            meant.setdefault(path, {}).setdefault(written, make(name))
    return meant


KERNEL_CALLS = known()


def dispatched(path: str, otherwise: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
    """The function of this path: in the forms that are known as those say, else as `otherwise` has it."""

    def call(*positional: Any, **keywords: Any) -> Tensor:
        meant = KERNEL_CALLS[path].get(form(positional, keywords))
        if meant is None:
            if otherwise is None:
                raise Refused(f"{path}: not in this form")
            return otherwise(*positional, **keywords)
        read = [argument for argument in positional if isinstance(argument, Tensor)]
        outs = [argument for argument in keywords.values() if isinstance(argument, Tensor)]
        return stored(meant(*read), *outs, *read) if outs else meant(*read)

    return call
