"""The kernels of torch that write a named function, or its pullback, into memory that is there.

Which function a call is for, its numbers and words say: a call that is in no row of WORDS is not known.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sympy import Expr, Float, Piecewise, Rational, diff

from derive.backends import WORDS, Kernel
from derive.formulas import FUNCTIONS, z
from derive.proof.numerical import numerically
from derive.proof.tensor import RefusedByTorch, Tensor, each_entry, of_entries, stored

Form = tuple[tuple[Any, ...], frozenset[tuple[str, Any]]]


def call_form(positional: Iterable[Any], keywords: dict[str, Any]) -> Form:
    """How a call is written, whatever its tensors."""

    def shown(value: Any) -> Any:
        return "tensor" if isinstance(value, Tensor) else (isinstance(value, bool), value)

    return tuple(map(shown, positional)), frozenset((name, shown(value)) for name, value in keywords.items())


def form_of(kernel: Kernel) -> Form:
    """How the call of a kernel is written."""

    def read(part: str | float) -> Any:
        return Tensor(0) if isinstance(part, str) else Rational(repr(part)) if isinstance(part, float) else part

    out = {kernel.out: Tensor(0)} if kernel.out else {}
    return call_form(map(read, kernel.arguments), {**dict(kernel.options), **out})


def of_pullback(name: str, at_value: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """A cotangent times the slope of a named function, at z or at the value there."""
    formula = FUNCTIONS[name]
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

    return lambda cotangent, place: each_entry(times, cotangent, place)


def known() -> dict[str, dict[Form, Callable[..., Tensor]]]:
    """What each form of call of each path computes."""
    meant: dict[str, dict[Form, Callable[..., Tensor]]] = {}
    for word in WORDS:
        if word.into:
            function = of_entries(FUNCTIONS[word.function].func)
            meant.setdefault(word.into.path, {}).setdefault(form_of(word.into), function)
        if word.pullback:
            times_slope = of_pullback(word.function, word.pullback.at_value)
            meant.setdefault(word.pullback.path, {}).setdefault(form_of(word.pullback), times_slope)
    return meant


KERNEL_CALLS = known()


def dispatched(path: str, otherwise: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
    """The function of this path: in the forms that are known as those say, else as `otherwise` has it."""

    def call(*positional: Any, **keywords: Any) -> Tensor:
        meant = KERNEL_CALLS[path].get(call_form(positional, keywords))
        if meant is None:
            if otherwise is None:
                raise RefusedByTorch(f"{path}: not in this form")
            return otherwise(*positional, **keywords)
        read = [argument for argument in positional if isinstance(argument, Tensor)]
        outs = [argument for argument in keywords.values() if isinstance(argument, Tensor)]
        return stored(meant(*read), *outs, *read) if outs else meant(*read)

    return call
