"""Logarithms of products with determinants and factorials: sums of logarithms, which neither under- nor overflow."""

from sympy import (
    Abs,
    Determinant,
    Expr,
    Integer,
    KroneckerProduct,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    Pow,
    exp,
    expand_log,
    log,
)

from derive.formulas import LOGARITHMS
from derive.programs import LogAbsDet, LogDet, SignDet, atom
from derive.reading.reader import Reader


class Magnitude:
    """A product: its size is exp(`above`) |rest| times powers of |det X|, its sign that of `rest` and odd powers.

    All but the determinants are formulas.
    """

    def __init__(self, read: Reader, factor: Expr) -> None:
        self.read = read
        self.exponents: dict[MatrixExpr, Expr] = {}
        self.rest, self.above = Integer(1), Integer(0)
        self.unsigned = False  # whether what has a logarithm in LOGARITHMS, and a sign that is not known, is a factor
        self.multiply(factor, Integer(1))

    def multiply(self, factor: Expr, power: Expr) -> None:
        """By a factor to a whole power."""
        if isinstance(factor, Mul):
            for part in factor.args:
                self.multiply(part, power)
        elif type(factor) in LOGARITHMS:
            self.above += power * self.read.scalar(LOGARITHMS[type(factor)](*factor.args))
            self.unsigned = True
        elif isinstance(factor, exp):
            self.above += power * self.read.scalar(factor.args[0])
        elif isinstance(factor, Pow) and may_overflow(factor):
            if factor.exp.is_integer:
                self.multiply(factor.base, power * self.read.scalar(factor.exp))
            else:
                self.above += power * self.read.scalar(factor.exp) * self.read.scalar(log(factor.base))
        elif isinstance(factor, Abs) and may_overflow(factor):
            self.above += power * Magnitude(self.read, factor.args[0]).log_of_size()
        elif isinstance(factor, Determinant) and isinstance(factor.arg, MatPow) and factor.arg.exp.is_Integer:
            self.multiply(Determinant(factor.arg.base), power * factor.arg.exp)
        elif isinstance(factor, Determinant) and of_square_factors(factor.arg):
            for part in factor.arg.args:  # det of A (x) B is det(A)^n det(B)^m, where B is n x n
                self.multiply(Determinant(part), power * self.read.scalar(factor.arg.shape[0] / part.shape[0]))
        elif isinstance(factor, Determinant) and self.read.shape(factor.arg) != (1, 1):
            matrix = atom(self.read.matrix(factor.arg))  # det X' is det X
            self.exponents[matrix] = self.exponents.get(matrix, 0) + power
        elif factor.is_positive and not factor.has(MatrixSymbol):
            self.above += power * self.read.scalar(expand_log(log(factor)))
        else:
            self.rest *= self.read.scalar(factor) ** power

    def log_of_size(self) -> Expr:
        return self.logs() + log(Abs(self.rest))

    def log(self) -> Expr:
        """Its logarithm; nan where it is known to be negative."""
        if self.unsigned:
            return self.log_of_size()
        odd = {X: power % 2 if power.is_Integer else power for X, power in self.exponents.items() if power % 2 != 0}
        if [*odd.values()] == [1] and self.rest == 1:
            return self.logs(signed=next(iter(odd)))
        sign = self.rest * Mul(*(self.read.number(SignDet(matrix)) ** power for matrix, power in odd.items()))
        return self.logs() + log(sign)

    def logs(self, signed: MatrixExpr | None = None) -> Expr:
        """All but the rest; log det X of the one that must be positive."""
        total = self.above
        for matrix, power in self.exponents.items():
            total += power * self.read.number((LogDet if matrix == signed else LogAbsDet)(matrix))
        return total


def of_square_factors(matrix: MatrixExpr) -> bool:
    return isinstance(matrix, KroneckerProduct) and all(part.shape[0] == part.shape[1] for part in matrix.args)


def may_overflow(factor: Expr) -> bool:
    """Whether it is a determinant or like a factorial, or a product, power or size with such a factor."""
    if isinstance(factor, Mul):
        return any(map(may_overflow, factor.args))
    if isinstance(factor, Pow | Abs) and not isinstance(factor, exp):
        return may_overflow(factor.args[0])
    return isinstance(factor, (Determinant, *LOGARITHMS))


def logarithm(read: Reader, node: log) -> Expr:
    """A logarithm; of a product with determinants, factorials and their like the sum of those of its factors."""
    (inner,) = node.args
    return Magnitude(read, inner).log() if may_overflow(inner) else log(read.scalar(inner))
