"""Polynomials in entries as sums over indices: A[0, 0]*x[0, 0]**2 + ... as the Sum of A[i, j]*x[i, 0]*x[j, 0]."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from math import prod

from sympy import (
    Add,
    Basic,
    Determinant,
    Dummy,
    Expr,
    Integer,
    Matrix,
    MatrixSymbol,
    Mul,
    Pow,
    Sum,
    Symbol,
    expand,
    sympify,
)
from sympy.matrices.expressions.matexpr import MatrixElement

MOST_MONOMIALS, LARGEST_EXPANDED = 2000, 4
Monomial = tuple[Expr, ...]  # of a monomial, in their order
Places = dict[tuple[int, int], Symbol]  # an index for each place in an axis of each length


def as_contraction(total: Expr) -> Expr | None:
    """The same polynomial with a Sum for the monomials that one gives as its indices run; None where some are left."""
    left = monomials(expand(total)) if most_monomials(total) <= MOST_MONOMIALS else {}
    if not left or not all(map(is_readable, left)):
        return None
    found = []
    while left:
        generic = max(left, key=lambda factors: (len(indices_of(factors)), str(factors)))
        number, indices = left[generic], indices_of(generic)
        if prod(size for size, _ in indices) > MOST_MONOMIALS:
            return None
        made = Counter(instances(generic, indices))
        number /= made[generic]
        if not left.keys() >= made.keys():
            return None
        for factors, count in made.items():
            left[factors] -= number * count
            if left[factors] == 0:
                del left[factors]
        found.append(number * nested(with_indices(generic, indices), indices))
    return Add(*found)


def most_monomials(expr: Expr) -> int:
    """How many there are at most once it is multiplied out."""
    parts = [most_monomials(part) for part in expr.args]
    if isinstance(expr, Pow) and expr.exp.is_Integer and expr.exp > 0:
        return parts[0] ** min(int(expr.exp), MOST_MONOMIALS)
    return sum(parts) if isinstance(expr, Add) else prod(parts) if isinstance(expr, Mul) else 1


def monomials(total: Expr) -> dict[Monomial, Expr]:
    """The number before each product of factors, a power of an entry as so many."""
    found = {}
    for term in Add.make_args(total):
        number, rest = term.as_coeff_Mul()
        powers = [factor.as_base_exp() for factor in Mul.make_args(rest)]
        split = (
            [base] * int(exponent) if isinstance(base, MatrixElement) and exponent.is_Integer else [base**exponent]
            for base, exponent in powers
        )
        found[in_their_order(factor for factors in split for factor in factors)] = number
    return found


def in_their_order(factors: Iterator[Expr]) -> Monomial:
    return tuple(sorted(factors, key=str))


def is_readable(factors: Monomial) -> bool:
    """Whether entries are in it as factors alone, each of a matrix that is given."""
    entries = [factor for factor in factors if isinstance(factor, MatrixElement)]
    others = [factor for factor in factors if factor not in entries]
    return all(isinstance(e.parent, MatrixSymbol) for e in entries) and not any(o.has(MatrixElement) for o in others)


def as_determinant(total: Expr) -> Expr | None:
    """A number times the determinant of a small matrix, of a polynomial that is one written out."""
    matrices = [X for X in total.atoms(MatrixSymbol) if X.shape[0] == X.shape[1] and X.shape[0].is_Integer]
    if len(matrices) != 1 or not 1 < matrices[0].shape[0] <= LARGEST_EXPANDED:
        return None
    (X,) = matrices
    number = monomials(total).get(in_their_order(X[k, k] for k in range(X.shape[0])), Integer(0))
    same = expand(total - number * Matrix(X).det(method="berkowitz")) == 0
    return number * Determinant(X) if number != 0 and same else None


def is_written_out(expr: Basic) -> bool:
    """Whether entries in it stand in a row or column that is a number, of several."""
    return any(True for entry in expr.atoms(MatrixElement) for _ in numbered_places(entry))


def numbered_places(entry: MatrixElement) -> Iterator[tuple[int, tuple[int, int]]]:
    """Which of its two places are numbers along more than one row or column, and the length and the number of each."""
    for side, (place, size) in enumerate(zip((entry.i, entry.j), entry.parent.shape, strict=True)):
        if sympify(place).is_Integer and sympify(size).is_Integer and size > 1:
            yield side, (int(size), int(place))


def indices_of(factors: Monomial) -> Places:
    """An index for each number in an axis of some length."""
    places = {place for factor in factors if isinstance(factor, MatrixElement) for _, place in numbered_places(factor)}
    return {place: Dummy(f"i{number}", integer=True) for number, place in enumerate(sorted(places))}


def with_indices(factors: Monomial, indices: Places) -> list[Expr]:
    """The factors with indices in the place of numbers."""

    def one(factor: Expr) -> Expr:
        if not isinstance(factor, MatrixElement):
            return factor
        places = [factor.i, factor.j]
        for side, place in numbered_places(factor):
            places[side] = indices[place]
        return MatrixElement(factor.parent, *places)

    return list(map(one, factors))


def instances(factors: Monomial, indices: Places) -> Iterator[Monomial]:
    """The monomials that it is as the indices run."""
    whole = with_indices(factors, indices)
    for values in product(*(range(size) for size, _ in indices)):
        given = dict(zip(indices.values(), map(Integer, values), strict=True))
        yield in_their_order(factor.xreplace(given) for factor in whole)


def nested(factors: list[Expr], indices: Places) -> Expr:
    """The sum of the product over its indices, that over an index of what it is in inside of the others."""
    left = {index: size for (size, _), index in indices.items()}
    while len(left) > 2:
        beside = {k: {i for factor in factors if factor.has(k) for i in left if factor.has(i)} for k in left}
        k = min(left, key=lambda index: (len(beside[index]), index.name))
        inside = [factor for factor in factors if factor.has(k)]
        factors = [factor for factor in factors if not factor.has(k)] + [Sum(Mul(*inside), (k, 0, left.pop(k) - 1))]
    return Sum(Mul(*factors), *((index, 0, size - 1) for index, size in left.items())) if left else Mul(*factors)
