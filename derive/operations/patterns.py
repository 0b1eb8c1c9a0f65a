"""What an equation computes, recognised by its form, so that one call of torch can do it."""

from dataclasses import dataclass

from sympy import (
    Expr,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Transpose,
    cancel,
)

from derive.formulas import FUNCTIONS, z
from derive.programs import Derivation, Elementwise, Equation, entry, is_number


def is_plain(equation: Equation) -> bool:
    """Whether each row of the target depends on one row of the operands, or all rows are summed."""
    value = equation.value
    if isinstance(value, Elementwise):
        return all(isinstance(operand, MatrixSymbol) for operand in value.operands.values())
    return any(match(value) for match in (affine, backward_product, weight_gradient, bias_gradient, products, total_of))


def affine(value: MatrixExpr) -> tuple[MatrixSymbol, MatrixSymbol, MatrixSymbol | None] | None:
    """A, W, b of A W^T + 1 b; no b of A W^T."""
    match sorted(MatAdd.make_args(value), key=lambda term: term.has(OneMatrix)):
        case [MatMul(args=(MatrixSymbol() as A, Transpose(arg=W)))]:
            return A, W, None
        case [MatMul(args=(MatrixSymbol() as A, Transpose(arg=W))), MatMul(args=(_, MatrixSymbol() as b))]:
            return A, W, b
    return None


def backward_product(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta, W of Delta W."""
    match value:
        case MatMul(args=(MatrixSymbol() as Delta, MatrixSymbol() as W)):
            return Delta, W
    return None


def weight_gradient(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta, A of Delta^T A."""
    match value:
        case MatMul(args=(Transpose(arg=MatrixSymbol() as Delta), MatrixSymbol() as A)):
            return Delta, A
    return None


def bias_gradient(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta of 1^T Delta."""
    match value:
        case MatMul(args=(OneMatrix(), MatrixSymbol() as Delta)):
            return (Delta,)
    return None


def products(value: MatrixExpr) -> list[tuple[MatrixExpr, MatrixExpr]] | None:
    """The two factors of a product, or of each term of a sum of such; ones only on the left."""
    terms = [term.args for term in MatAdd.make_args(value)]
    left, right = (MatrixSymbol, Transpose, OneMatrix), (MatrixSymbol, Transpose)
    fitting = all(len(term) == 2 and isinstance(term[0], left) and isinstance(term[1], right) for term in terms)
    return terms if fitting else None


def total_of(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """E of c 1^T E 1."""
    if isinstance(value, MatMul):
        left, *middle, right = value.as_coeff_matrices()[1]
        if isinstance(left, OneMatrix) and isinstance(right, OneMatrix) and len(middle) == 1:
            return tuple(middle)
    return None


def difference(value: Elementwise) -> tuple[Expr, MatrixSymbol, MatrixSymbol] | None:
    """c, P, Q of c (P - Q)."""
    if len(value.operands) == 2:
        for p, q in (tuple(value.operands), tuple(reversed(value.operands))):
            scale = cancel(value.formula / (p - q))
            if is_number(scale) and not scale.could_extract_minus_sign():
                return scale, value.operands[p], value.operands[q]
    return None


def entrywise_product(value: Elementwise) -> tuple[Expr, MatrixSymbol, MatrixSymbol] | None:
    """c, P, Q of c P Q."""
    if len(value.operands) == 2 and value.formula.is_Mul:
        number = value.formula / Mul(*value.operands)
        return (number, *value.operands.values()) if is_number(number) else None
    return None


def one_plus(value: Elementwise) -> tuple[MatrixSymbol, Expr, MatrixSymbol] | None:
    """P, c, Q of P (1 + c Q)."""
    if len(value.operands) == 2 and value.formula.is_Mul:
        for p, q in (tuple(value.operands), tuple(reversed(value.operands))):
            number = cancel((value.formula / p - 1) / q)
            if is_number(number):
                return value.operands[p], number, value.operands[q]
    return None


def two_products(value: Elementwise) -> list[tuple[MatrixSymbol, MatrixSymbol]] | None:
    """(P, Q), (R, S) of P Q + R S, four matrices."""
    terms = [Mul.make_args(term) for term in value.formula.args] if value.formula.is_Add else []
    if (
        len(terms) == 2
        and len(value.operands) == 4
        and all(len(t) == 2 and set(t) <= set(value.operands) for t in terms)
    ):
        return [tuple(value.operands[part] for part in term) for term in terms]
    return None


def is_zero_without(g: MatrixSymbol, value: MatrixExpr) -> bool:
    """Whether a formula is a slope times g, with nothing added, as from another way to the loss."""
    return isinstance(value, Elementwise) and value.formula.xreplace({entry(g): Integer(0)}) == 0


def activations(derivation: Derivation) -> dict[MatrixSymbol, str]:
    """The name of the function, for each symbol that is one of FUNCTIONS of another."""
    found = {}
    for equation in derivation.program.equations:
        if isinstance(equation.value, Elementwise) and len(equation.uses) == 1:
            argument = entry(equation.uses[0])
            for name, formula in FUNCTIONS.items():
                if formula.xreplace({z: argument}) == equation.value.formula:
                    found[equation.target] = name
    return found


@dataclass(frozen=True)
class Quadratic:
    """loss = ratio times the sum of the squares of `error`; `replaced` need not be computed."""

    error: MatrixSymbol
    ratio: Expr
    replaced: tuple[MatrixSymbol, ...]


def quadratic(derivation: Derivation) -> Quadratic | None:
    """Where the entries of the loss are a number times the square of its gradient in the prediction."""
    *_, E, L = derivation.program.equations
    error = derivation.backward[0]
    if not total_of(L.value) or not isinstance(E.value, Elementwise) or not isinstance(error.value, Elementwise):
        return None
    scale, _ = L.value.as_coeff_mmul()
    ratio = cancel(scale * E.value.formula / error.value.formula**2)
    return Quadratic(error.target, ratio, (E.target, L.target)) if is_number(ratio) else None
