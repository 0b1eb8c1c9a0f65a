"""Which of torch's functions a function is, where that depends on its arguments."""

from sympy import Expr, Function, Integer, Mul, log, nan, zoo


def vanishes_with(factors: Expr, logarithm: Expr) -> bool:
    """Whether there is no logarithm where one of the factors is 0."""
    argument = logarithm.args[0] if isinstance(logarithm, log) else 1 + logarithm.args[0]
    zeros = [factor for factor in Mul.make_args(factors) if factor.is_Symbol or factor.is_Add]
    return any(argument.xreplace({zero: Integer(0)}) in (0, zoo, nan) for zero in zeros)


def of_order(expr: Function) -> tuple[str, tuple[Expr, ...]]:
    """The name of a function and its arguments; one that has an order before its argument has a name for each.

    polygamma of order 1 is a zeta function: torch's own polygamma has but 9 digits of it.
    """
    name, arguments = type(expr).__name__, expr.args
    if name == "polygamma" and arguments[0] == 0:
        return "digamma", arguments[1:]
    if name == "polygamma" and arguments[0] == 1:
        return "zeta", (Integer(2), *arguments[1:])
    return (f"i{arguments[0]}", arguments[1:]) if name == "besseli" else (name, arguments)
