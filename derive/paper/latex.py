r"""Equations as LaTeX: matrices bold, \odot entry by entry, sums and products in the order of the code.

Only amsmath and amssymb are needed, and only what GitHub renders is used (no \operatorname, no \bm).
"""

from functools import lru_cache
from typing import Any

from sympy import (
    Add,
    Basic,
    BlockMatrix,
    Dummy,
    E,
    Expr,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Piecewise,
    Rational,
    Symbol,
    Transpose,
)
from sympy.core.parameters import distribute
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.hadamard import HadamardPower, HadamardProduct
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice
from sympy.printing.latex import LatexPrinter

from derive.backends import MOST_READABLE
from derive.paper.breaking import sized
from derive.paper.formulas import (
    ATOM_TEX,
    DIFFERENTIAL,
    FRACTION,
    POWER_TEX,
    PRODUCT_TEX,
    SCALED,
    SUM_TEX,
    FormulaWriter,
    Piece,
    facing,
)
from derive.programs import (
    PLAIN,
    UPRIGHT,
    BlockSum,
    Derivation,
    Elementwise,
    Equation,
    Notation,
    Program,
    Role,
    chain,
    core,
    is_flipped,
    scaled,
    transposed,
)

TEX_LEVELS = {
    (MatAdd, Add): SUM_TEX,
    (MatMul, Mul, HadamardProduct, KroneckerProduct): PRODUCT_TEX,
    (Transpose, Inverse, MatPow, HadamardPower): POWER_TEX,
}


def is_row(ones: OneMatrix) -> bool:
    """Whether it is written with a bar."""
    return ones.shape[0] == 1 and ones.shape[1] != 1


def has_minus(term: MatrixExpr) -> bool:
    """Whether a term of a sum is written with a minus."""
    number = term.formula if isinstance(term, Elementwise) else chain(term)[0]
    return number.could_extract_minus_sign()


def level_of(notation: Notation, symbol: MatrixSymbol) -> int:
    role, _ = notation.role(symbol.name)
    levels: dict[Role | None, int] = {Role.COTANGENT: FRACTION, Role.DIFFERENTIAL: DIFFERENTIAL}
    return levels.get(role, ATOM_TEX)


CALLS_IN_TEX = {  # of a matrix
    "Trace": r"\mathrm{tr}(%s)",
    "Determinant": r"\det(%s)",
    "LogDet": r"\log(\det(%s))",
    "LogAbsDet": r"\log\left|\det(%s)\right|",
    "SignDet": r"\mathrm{sign}(\det(%s))",
    "DiagMatrix": r"\mathrm{diag}(%s)",
    "DiagonalOf": r"\mathrm{diag}(%s)",
    "RowLogSumExp": r"\mathrm{logsumexp}(%s)",
    "RowMax": r"\mathrm{rowmax}(%s)",
    "RowSoftmax": r"\mathrm{softmax}(%s)",
}


class TexPrinter(LatexPrinter):
    """Any SymPy matrix expression as LaTeX. Brackets come out plain; `latex` gives them their sizes."""

    def __init__(self, notation: Notation, in_line: bool = False) -> None:
        super().__init__({"mul_symbol": r" \, "})
        self.notation, self.in_line = notation, in_line

    def piece(self, expr: Expr) -> Piece:
        if isinstance(expr, Elementwise):
            formula, names = facing(expr.formula), {scalar: self.piece(of) for scalar, of in expr.operands.items()}
            nested = self.in_line or any(not isinstance(operand, MatrixSymbol) for operand in expr.args[1:])
            cores = {scalar: core(operand) for scalar, operand in expr.operands.items()}
            numbers = {scalar: self.piece(inner) for scalar, inner in cores.items() if inner.shape == (1, 1)}
            if expr.shape == (1, 1):
                return FormulaWriter(self, names | numbers, matrix=False, in_line=nested).piece(formula)
            return FormulaWriter(self, names, matrix=True, in_line=nested, numbers=numbers).piece(formula)
        if isinstance(expr, ElementwiseApplyFunction):
            u = Dummy()
            return FormulaWriter(self, {u: self.piece(expr.expr)}, matrix=True, in_line=True).piece(expr.function(u))
        if isinstance(expr, MatrixSymbol):
            level = level_of(self.notation, expr)
        elif isinstance(expr, OneMatrix):
            level = POWER_TEX if is_row(expr) else ATOM_TEX
        elif isinstance(expr, MatMul) and has_minus(expr):
            level = SUM_TEX
        else:
            level = next((level for kinds, level in TEX_LEVELS.items() if isinstance(expr, kinds)), ATOM_TEX)
        return Piece(self._print(expr), level)

    def _print(self, expr: Basic, **options: Any) -> str:
        form = CALLS_IN_TEX.get(type(expr).__name__)
        if expr == E:
            return r"\exp(1)"
        return form % self._print(expr.args[0]) if form else super()._print(expr, **options)

    def _print_Basic(self, expr: Basic) -> str:
        raise ValueError(f"no LaTeX is known for {type(expr).__name__}: {expr}")

    def _print_Symbol(self, expr: Symbol) -> str:
        """A number of the user's as its 1 x 1 matrix is written; sizes as SymPy has them."""
        own = not expr.is_integer and expr.name.isidentifier() and expr.name[0].isalpha() and expr.name.isascii()
        if own:
            return symbol_latex(self.notation, MatrixSymbol(expr.name, 1, 1))
        return rf"\mathrm{{{expr.name}}}" if expr.name in UPRIGHT else super()._print_Symbol(expr)

    def _print_Elementwise(self, expr: Elementwise | ElementwiseApplyFunction) -> str:
        return self.piece(expr).tex

    _print_ElementwiseApplyFunction = _print_Elementwise

    def _print_Rational(self, expr: Rational) -> str:
        """A fraction of large numbers as the decimal that it was made from."""
        return super()._print_Rational(expr) if expr.q <= MOST_READABLE else repr(float(expr))

    def _print_Identity(self, expr: MatrixExpr) -> str:
        return rf"\boldsymbol{{I}}_{{{self._print(expr.shape[0])}}}"

    def _print_ZeroMatrix(self, expr: MatrixExpr) -> str:
        return rf"\boldsymbol{{0}}_{{{self.sides(expr)}}}"

    def _print_Arange(self, expr: MatrixExpr) -> str:
        return rf"(0, 1, \ldots, {self._print(expr.shape[0] - 1)})^{{\top}}"

    def sides(self, matrix: MatrixExpr, by: str = r" \times ") -> str:
        """rows x columns."""
        return by.join(self.piece(side).at(PRODUCT_TEX) for side in matrix.shape)

    def _print_MatrixElement(self, expr: MatrixElement) -> str:
        """Rows and columns count from 1, as indices of sums do."""
        return self.placed(expr.parent, self._print(expr.i + 1), self._print(expr.j + 1))

    def _print_MatrixSlice(self, expr: MatrixSlice) -> str:
        """The rows and columns from one to another, as first:last."""
        return self.placed(expr.parent, *(f"{self._print(a + 1)}:{self._print(b)}" for a, b, _ in expr.args[1:]))

    def placed(self, matrix: MatrixExpr, row: str, column: str) -> str:
        """Part of a matrix."""
        if not isinstance(matrix, MatrixSymbol) or level_of(self.notation, matrix) != ATOM_TEX:
            return rf"({self._print(matrix)})_{{{row},{column}}}"
        letters, number = self.notation.sign(matrix.name)
        return rf"\boldsymbol{{{letters}}}_{{{f'{number};' if number else ''}{row},{column}}}"

    def _print_BlockMatrix(self, expr: BlockMatrix) -> str:
        rows, columns = expr.blockshape
        body = r" \\ ".join(" & ".join(self._print(expr.blocks[i, j]) for j in range(columns)) for i in range(rows))
        return rf"\begin{{bmatrix}} {body} \end{{bmatrix}}"

    def _print_KroneckerProduct(self, expr: KroneckerProduct) -> str:
        return r" \otimes ".join(self.piece(part).at(POWER_TEX) for part in expr.args)

    def _print_BlockSum(self, expr: BlockSum) -> str:
        return rf"\mathrm{{{expr.word}}}({self._print(expr.matrix)}, {self._print(expr.factor)})"

    def _print_Scalar(self, expr: MatrixExpr) -> str:
        """A number as a 1 x 1 matrix."""
        return self._print(expr.number)

    def _print_Function(self, expr: Expr, exp: str | None = None) -> str:
        """A function of a number."""
        text = FormulaWriter(self, {}, matrix=False).call(expr).tex
        return text if exp is None else f"{text}^{{{exp}}}"

    _print_ExpBase = _print_log = _print_Heaviside = _print_polygamma = _print_Function

    def _print_Abs(self, expr: Expr) -> str:
        return FormulaWriter(self, {}, matrix=False).modulus(expr).tex

    def _print_Piecewise(self, expr: Piecewise) -> str:
        return FormulaWriter(self, {}, matrix=False, in_line=self.in_line).cases(expr).tex

    def _print_MatrixSymbol(self, expr: MatrixSymbol) -> str:
        return symbol_latex(self.notation, expr)

    def _print_OneMatrix(self, expr: OneMatrix) -> str:
        rows, columns = expr.shape
        if rows == columns == 1:
            return "1"
        if columns == 1:
            return rf"\boldsymbol{{1}}_{{{self._print(rows)}}}"
        if is_row(expr):
            return rf"\boldsymbol{{1}}_{{{self._print(columns)}}}^{{\top}}"
        return rf"\boldsymbol{{1}}_{{{self.sides(expr)}}}"

    def _print_Transpose(self, expr: Transpose) -> str:
        return rf"{self.piece(expr.arg).at(ATOM_TEX)}^{{\top}}"

    def _print_MatMul(self, expr: MatMul) -> str:
        scale, matrices = expr.as_coeff_matrices()
        sign = ""
        if scale.could_extract_minus_sign():
            sign, scale = "-", -scale
        number = [] if scale == 1 else [self.piece(scale).at(PRODUCT_TEX)]
        matrices = [matrix for matrix in matrices if matrix != OneMatrix(1, 1)]
        if not matrices:
            return sign + self._print(scale)
        *front, last = map(self.factor, matrices)
        levels = (SCALED, *[FRACTION] * len(front))
        texts = [piece.at(level) for piece, level in zip(front, levels, strict=False)]
        return sign + r" \, ".join([*number, " ".join([*texts, last.last(levels[-1])])])

    def factor(self, matrix: MatrixExpr) -> Piece:
        """Of a product; a sum as the transpose of one that has fewer bars, as text has it."""
        return self.piece(
            Transpose(transposed(matrix)) if isinstance(matrix, MatAdd) and is_flipped(matrix) else matrix
        )

    def _print_Inverse(self, expr: Inverse) -> str:
        return rf"{self.piece(expr.arg).at(ATOM_TEX)}^{{-1}}"

    def _print_MatPow(self, expr: MatPow) -> str:
        return rf"{self.piece(expr.base).at(ATOM_TEX)}^{{{self._print(expr.exp)}}}"

    def _print_MatAdd(self, expr: MatAdd) -> str:
        """A row that is broadcast comes last, as a bias does."""
        first, *rest = sorted(expr.args, key=lambda term: term.has(OneMatrix))
        return self._print(first) + "".join(
            f" - {self.piece(scaled(Integer(-1), term)).at(PRODUCT_TEX)}"
            if has_minus(term)
            else f" + {self._print(term)}"
            for term in rest
        )

    def _print_HadamardProduct(self, expr: HadamardProduct) -> str:
        return r" \odot ".join(self.factor(part).at(POWER_TEX) for part in expr.args)

    def _print_HadamardPower(self, expr: HadamardPower) -> str:
        return rf"{self.piece(expr.base).at(ATOM_TEX)}^{{\odot {self._print(expr.exp)}}}"


def latex(program: Program | None, expr: Expr, in_line: bool = False) -> str:
    """The expression as LaTeX, in the program's notation; `in_line` writes its branches so that lines can break."""
    return written_tex(program.notation if program else PLAIN, expr, in_line)


@lru_cache(maxsize=4096)
def written_tex(notation: Notation, expr: Expr, in_line: bool = False) -> str:
    """SymPy forgets all that it knows when told how to multiply out: only formulas need it told."""
    if not expr.has(Elementwise):
        return sized(TexPrinter(notation, in_line).piece(expr).tex)
    with distribute(False):
        return sized(TexPrinter(notation, in_line).piece(expr).tex)


def scalar_latex(expr: Expr, notation: Notation = PLAIN) -> str:
    """A scalar formula, as sigma'(z) = sigma(z) (1 - sigma(z)); its variables are written as they come."""
    printer = TexPrinter(notation)
    names = {symbol: Piece(printer._print(symbol), ATOM_TEX) for symbol in expr.free_symbols}
    with distribute(False):
        return sized(FormulaWriter(printer, names, matrix=False).piece(expr).tex)


def rounded_latex(value: float, digits: int) -> str:
    """A number to so many significant digits, by a power of ten where it is very small or large."""
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    return rf"{mantissa} \cdot 10^{{{int(power)}}}" if power else mantissa


def symbol_in_line(program: Program, symbol: MatrixSymbol) -> str:
    """A symbol in a line of text: partial derivatives with a slash."""
    return symbol_latex(program.notation, symbol, in_line=True)


def symbol_latex(notation: Notation, symbol: MatrixSymbol, in_line: bool = False) -> str:
    """A matrix in bold, a number, which is a 1 x 1 matrix, not."""
    return notation.latex(symbol.name, in_line, bold=symbol.shape != (1, 1))


def shape_latex(program: Program, matrix: MatrixExpr, by: str = r" \times ") -> str:
    """rows x columns, numbers where they are known; 1 x 1 for the loss."""
    sides = (1, 1) if matrix == program.output else (size.xreplace(program.sizes) for size in matrix.shape)
    return TexPrinter(PLAIN).sides(MatrixSymbol("matrix", *sides), by)


def symbolic_shape(matrix: MatrixExpr) -> str:
    """rows x columns, sizes as symbols."""
    return TexPrinter(PLAIN).sides(matrix)


def equation_latex(equation: Equation) -> str:
    """For a notebook: target = value, in the notation of plain symbols, which an equation by itself has."""
    return rf"$\displaystyle {latex(None, equation.target)} = {latex(None, equation.value)}$"


def derivation_latex(derivation: Derivation) -> str:
    """For a notebook: the equations forward and backward, one under the other."""
    program = derivation.program
    rows = [rf"{latex(program, e.target)} &= {latex(program, e.value)}" for e in derivation.equations]
    return r"$\displaystyle \begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}$"


# A notebook asks the object itself; program.py knows no printer, so its classes get the method here.
Equation._repr_latex_ = equation_latex
Derivation._repr_latex_ = derivation_latex
