"""pullback(F, [X], G) and pushforward(F, [X], [V]): derivatives of a function whose value is a matrix.

The pullback is the gradient of <G, F> = tr(G^T F) with the cotangent G given; the pushforward, dF along directions, is
what the pullback's products with them are linear in G with.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import count

from sympy import MatrixExpr, MatrixSymbol, Symbol, Trace, sympify

from derive.matrix import check_matrix
from derive.matrix_derivation import MatrixDerivation, checked_variables, slope_along
from derive.packages import layer_source
from derive.programs import Program, as_text, unused
from derive.reading import Reader


class Pullback(MatrixDerivation):
    """The derivation of a vector-Jacobian product: its `gradients` are those of <cotangent, matrix>."""

    about = "document.pullback"

    def __init__(self, matrix: MatrixExpr, variables: Iterable[MatrixSymbol | Symbol], cotangent: MatrixSymbol) -> None:
        super().__init__(Trace(cotangent.T * matrix), variables)
        self.matrix, self.cotangent = matrix, cotangent

    @cached_property
    def output(self) -> tuple[Program, MatrixExpr]:
        """The program that computes the matrix, and what it is called there."""
        return Reader().of_matrix(self.matrix)

    @property
    def headline(self) -> str:
        return f"The pullback of `{as_text(self.matrix)}`"

    def torch(self, function: bool = False) -> str:
        """Source of a module with value_and_grad(*, G, X, ...), whose gradients are the pullback of G.

        With `function`, also output(*, X, ...), the matrix, and layer(*, X, ...), the same as a function of autograd.
        """
        source = super().torch()
        return source + layer_source(*self.output, self.inputs[self.cotangent], self.derivation) if function else source


def pullback(
    matrix: MatrixExpr,
    variables: Iterable[MatrixSymbol | Symbol],
    cotangent: MatrixSymbol | None = None,
    prove: bool = True,
) -> Pullback:
    """The pullback of a cotangent through a matrix expression: for each variable a matrix of its shape.

    Without a cotangent it is a MatrixSymbol G, or the first of G1, G2, ... that is no name in the expression.
    Raises ValueError where its shape is not the matrix's; else the errors are those of `derivation`.
    """
    check_shape("pullback", matrix)
    variables = checked_variables(variables)
    cotangent = free_symbol("G", matrix) if cotangent is None else cotangent
    if not isinstance(cotangent, MatrixSymbol):
        raise TypeError(f"pullback: expected a MatrixSymbol as the cotangent, got {cotangent!r}")
    if tuple(cotangent.shape) != tuple(matrix.shape):
        raise ValueError(f"pullback: the cotangent {cotangent} has shape {cotangent.shape}, not {tuple(matrix.shape)}")
    if matrix.has(cotangent) or cotangent in variables:
        raise ValueError(f"pullback: the cotangent {cotangent} is in the matrix, too")
    result = Pullback(matrix, variables, cotangent)
    if prove:
        result.prove()
    return result


def pushforward(
    matrix: MatrixExpr,
    variables: Iterable[MatrixSymbol | Symbol],
    directions: Iterable[MatrixExpr],
    prove: bool = True,
) -> MatrixDerivation:
    """The derivation of a Jacobian-vector product: its one gradient, in the cotangent, is dF along the directions.

    `gradients[d.variables[0]]` is the closed form. Raises ValueError or TypeError where directions do not fit.
    """
    check_shape("pushforward", matrix)
    variables, directions = checked_variables(variables), tuple(directions)
    pulled = pullback(matrix, variables, free_symbol("G", matrix, *directions), prove=False)
    result = MatrixDerivation(slope_along("pushforward", pulled, directions), [pulled.cotangent])
    if prove:
        result.prove()
    return result


def check_shape(name: str, matrix: MatrixExpr) -> None:
    """Raises TypeError for what is no matrix, ValueError for one of a single number."""
    check_matrix(name, matrix, "; derivation is for numbers")
    if tuple(matrix.shape) == (1, 1):
        raise ValueError(f"{name}: the expression is one number; derivation(...) is for that")


def free_symbol(stem: str, *matrices: MatrixExpr) -> MatrixSymbol:
    """A MatrixSymbol of the shape of the first, with a name that none has in it."""
    taken = {symbol for matrix in matrices for symbol in sympify(matrix).free_symbols}
    name = next(unused((f"{stem}{number or ''}" for number in count()), taken))
    return MatrixSymbol(name, *matrices[0].shape)
