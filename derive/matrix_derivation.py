"""derivation(loss, [X]) and gradient(loss, X): the gradient of any scalar SymPy expression of matrices.

Every entry of a matrix is a variable of its own, unless the matrix is in `symmetric`; the gradient has the
matrix's shape. Results hold where the loss is defined: an inverse, and the gradient of a determinant, need a matrix
that is not singular; log det is nan where the determinant is negative, as in torch.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sympy import (
    Basic,
    Dummy,
    Expr,
    Float,
    Lambda,
    MatrixExpr,
    MatrixSymbol,
    Rational,
    Sum,
    Symbol,
    Trace,
    ZeroMatrix,
    sympify,
)
from sympy.matrices import MatrixBase

from derive.calculus import ClosedForms, abbreviated, check_letters, coefficient, derive
from derive.diagnosis import Diagnosis
from derive.matrix_numbers import at_arrays, beside_autograd, diagnosed
from derive.packages import expression_pages, expression_source
from derive.paper import Section, derivation_latex, expression_document
from derive.paper.formats import MarkdownPage
from derive.programs import Derivation, Program, as_text, entry, unused
from derive.proof import Certificate, NotProved, certify
from derive.reading import Reader, rolled
from derive.system import OutOfTime, limited, typeset, write_package


class MatrixDerivation:
    """The derivation of a scalar loss in some of its symbols; made by `derivation`."""

    about = "document.expression"  # the sentence that its pages begin with
    certificate: Certificate | None  # once it is proved

    def __init__(
        self,
        loss: Expr,
        variables: Iterable[MatrixSymbol | Symbol],
        symmetric: Iterable[MatrixSymbol] = (),
        typed: str = "",
    ) -> None:
        self.typed, self.certificate = typed, None
        self.loss, self.variables = scalar_loss(loss), checked_variables(variables)
        self.symmetric = checked_symmetric(symmetric, self.loss, self.variables)
        reader, self.program = program_of_loss(self.loss, self.variables, self.symmetric)
        self.original, self.sizes, self.inputs = reader.original, reader.sizes, reader.inputs
        self.derivation: Derivation = derive(self.program)

    @cached_property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self.derivation, self.original, self.sizes)

    @cached_property
    def gradients(self) -> dict[MatrixSymbol | Symbol, Expr]:
        """Each variable's gradient in closed form: a matrix expression of its shape, a number for a scalar symbol."""
        gradients = self.derivation.gradients
        return {given: self.closed_forms[gradients[self.inputs[given]]] for given in self.variables}

    @cached_property
    def value(self) -> Expr:
        """The loss as it is computed."""
        return self.closed_forms[self.program.output]

    @property
    def for_autograd(self) -> bool:
        """Whether autograd, which takes each entry by itself, gives the same gradients."""
        return not {*self.symmetric} & {*self.variables}

    def torch(self, function: bool = False) -> str:
        """Source of a module with value_and_grad(*, A, X, ...) -> (value, Gradients), which uses no autograd.

        With `function`, also loss(*, A, X, ...) that autograd can go through, for use in a model; that raises
        ValueError where a variable is symmetric, as autograd takes each entry by itself.
        """
        if function and not self.for_autograd:
            raise ValueError("function: autograd takes each entry by itself; derive without symmetric for it")
        return expression_source(self.derivation, self.title, function)

    def latex(self) -> str:
        """The steps in LaTeX, forward and backward, one under the other."""
        return derivation_latex(self.derivation)

    def markdown(self) -> str:
        """The derivation to read, as GitHub shows it: the rules, each step with its reason, the closed forms."""
        return MarkdownPage().body(self.document(pictured=False))

    def document(self, pictured: bool = True) -> list[Section]:
        """The derivation to read, whatever the format; without the picture where it has no file beside it."""
        own = {
            given: symbol if isinstance(given, MatrixSymbol) else entry(symbol) for given, symbol in self.inputs.items()
        }
        closed = {
            symbol: self.closed_forms[symbol].xreplace({**own, **self.sizes}) for symbol in self.closed_forms.values
        }
        return expression_document(self.derivation, closed, pictured, self.about)

    @cached_property
    def title(self) -> str:
        """The loss as somebody typed it; else as text, or if SymPy has written it out entry by entry, as it is read."""
        if self.typed:
            return self.typed
        return min(as_text(self.loss), as_text(self.value), key=len) if self.loss.has(Sum) else as_text(self.loss)

    @property
    def headline(self) -> str:
        """What stands above the pages."""
        return f"The gradient of `{self.title}`"

    def html(self) -> str:
        """The derivation as one file of HTML that needs no other."""
        return self.pages["derivation.html"]

    def pdf(self) -> bytes:
        """The derivation as PDF; raises OSError where pdflatex is missing or refuses it."""
        with TemporaryDirectory() as folder:
            return typeset(self.pages["derivation.tex"], Path(folder) / "typeset")

    def save(self, folder: Path | str, force: bool = False, pdf: bool = False) -> None:
        """Writes gradient.py, with `loss` for autograd, and the derivation as Markdown, HTML and LaTeX into a folder.

        Raises FileExistsError where that would replace what was not written by this, unless `force`; OSError.
        """
        write_package(Path(folder), self.pages, force, pdf)

    @cached_property
    def pages(self) -> dict[str, str]:
        """What `save` writes, by name of file."""
        pages = expression_pages(self.derivation, self.headline, self.document())
        return {"gradient.py": self.torch(function=self.for_autograd), **pages}

    def numpy(self, /, **arrays: Any) -> tuple[float, dict[str, Any]]:
        """The value and each variable's gradient at arrays of numbers, computed by numpy."""
        return at_arrays(self, arrays)

    def compare(self, /, **tensors: Any) -> dict[str, float]:
        """How far the emitted value and gradients are from autograd's at these tensors, relative to their size."""
        return beside_autograd(self, tensors)

    def diagnose(self, function: Callable[..., Any], **arrays: Any) -> Diagnosis:
        """What is wrong with a function that computes the gradient: the slip that gives its numbers, if one does.

        It is called once, with a float64 array for each input by name, or a number for a scalar: drawn, or `arrays`,
        where there are any. It returns the gradients by the names of the variables or in their order, or the value and
        then these. Raises ValueError or TypeError for anything else.
        """
        return diagnosed(self, function, arrays)

    def __repr__(self) -> str:
        """The loss and each gradient; what stands in long ones several times has a name there, that of the code."""
        absent = {v: f", as {v} is not in the loss" for v in self.variables if not self.loss.has(v)}
        spelled = self.program.notation.torch
        known = [(spelled(symbol.name), self.closed_forms[symbol]) for symbol in self.closed_forms.values]
        taken = {symbol.name for form in (self.loss, *self.gradients.values()) for symbol in form.free_symbols}
        forms, named = abbreviated(self.gradients.values(), known, taken)
        texts = [as_text(form, self.inputs) for form in (*forms, *(one.meaning for one in named))]
        lines = [f"  d/d{v} = {text}{absent.get(v, '')}" for v, text in zip(self.variables, texts, strict=False)]
        meanings = zip(named, texts[len(lines) :], strict=True)
        where = [f"  {'' if n else 'where '}{one.symbol} = {text}" for n, (one, text) in enumerate(meanings)]
        return "\n".join([f"the gradient of {self.title}", *lines, *where])

    def _repr_latex_(self) -> str:
        return self.latex()

    def prove(self, seconds: float | None = None) -> Certificate:
        """Shows that the emitted source computes the gradient, exactly.

        Raises NotProved where that cannot be shown, or not in so many seconds of work, if a number is given.
        """
        if self.certificate is None:
            try:
                with limited(seconds):
                    self.certificate = certify(self)
            except OutOfTime:
                shown = f"the value and the gradient in {', '.join(map(str, self.variables))} are not shown to be right"
                advice = "prove=False derives without a proof"
                raise NotProved(f"{self.title}: after {seconds:g} seconds of work {shown}; {advice}") from None
        return self.certificate

    def hvp(self, *directions: MatrixExpr | Expr) -> "MatrixDerivation":
        """The derivation of the slope of the loss along a direction for each variable; its gradients are H times it.

        Raises ValueError or TypeError where the directions do not fit the variables.
        """
        if len(directions) == 1 and isinstance(directions[0], dict):
            unknown = [str(key) for key in directions[0] if key not in self.variables]
            if unknown:
                known = ", ".join(map(str, self.variables))
                raise ValueError(f"hvp: a direction for {unknown[0]}, but the variables are {known}")
            directions = tuple(directions[0].get(variable) for variable in self.variables)
        slope = slope_along("hvp", self, directions)
        pairs = zip(self.variables, directions, strict=True)
        along = [direction for variable, direction in pairs if variable in self.symmetric and slope.has(direction)]
        return MatrixDerivation(slope, self.variables, [*self.symmetric, *along])

    def hessian(self, variable: MatrixSymbol | None = None) -> MatrixExpr:
        """The matrix of second derivatives in a column x, in closed form: what the gradient of the slope multiplies.

        Raises ValueError where the variable is no column, or where the matrix cannot be taken out of H v.
        """
        variable = self.variables[0] if variable is None else variable
        if not isinstance(variable, MatrixSymbol) or variable.shape[1] != 1:
            raise ValueError(f"hessian: expected a column, got {variable}; for a matrix there is hvp(direction)")
        names = ("vw"[n : n + 1] or f"direction{n}" for n in count())
        taken = *self.original, *self.original.values(), *self.sizes
        v = MatrixSymbol(next(unused(names, taken)), *variable.shape)
        along = MatrixDerivation(self.loss, [variable], self.symmetric).hvp(v)
        along.prove()
        return coefficient(along.gradients[variable], v)


def slope_along(name: str, subject: MatrixDerivation, directions: Iterable[MatrixExpr | Expr | None]) -> Expr:
    """How the loss moves along a direction for each variable; of None it does not.

    Raises ValueError or TypeError, beginning with the name, where the directions do not fit the variables.
    """
    directions, variables = tuple(directions), subject.variables
    if len(directions) != len(variables):
        raise ValueError(f"{name}: expected a direction for each of {', '.join(map(str, variables))}")
    slope = sympify(0)
    for variable, direction in zip(variables, directions, strict=True):
        gradient = subject.gradients[variable]
        if direction is None or gradient == 0 or isinstance(gradient, ZeroMatrix):
            continue
        if not isinstance(variable, MatrixSymbol):
            slope += gradient * direction
            continue
        if not isinstance(direction, MatrixExpr | MatrixBase):
            raise TypeError(f"{name}: the direction for {variable} is a {type(direction).__name__}, not a matrix")
        if tuple(direction.shape) != tuple(variable.shape):
            raise ValueError(f"{name}: the direction for {variable} has shape {direction.shape}, not {variable.shape}")
        if variable in subject.symmetric:
            if not isinstance(direction, MatrixSymbol):
                raise TypeError(f"{name}: the direction for {variable} is symmetric, too: a MatrixSymbol is expected")
            steps = {step.variable: step.target for step in subject.derivation.backward}
            gradient = subject.closed_forms[steps[subject.inputs[variable]]]
        slope += Trace(direction.T * gradient)
    return slope


def derivation(
    loss: Expr,
    variables: Iterable[MatrixSymbol | Symbol],
    prove: bool = True,
    seconds: float | None = None,
    symmetric: Iterable[MatrixSymbol] = (),
    typed: str = "",
) -> MatrixDerivation:
    """The derivation of the gradient of a loss: a scalar SymPy expression, or one that is a 1 x 1 matrix.

    `variables` are MatrixSymbols, or Symbols for numbers. Unless `prove` is False the emitted code is proved first,
    in so many `seconds` of work if a number is given. Of a matrix in `symmetric`, the entries i, j and j, i are one
    variable: its gradient is symmetric, and has at both places the derivative by that variable. Pages show the loss as
    it was `typed`, if it was.
    Raises ValueError where the loss has a node that is not supported, with the path to it; NotProved where no proof is
    found; TypeError for what is no expression.
    """
    result = MatrixDerivation(loss, variables, symmetric, typed)
    if prove:
        result.prove(seconds)
    return result


def gradient(loss: Expr, variable: MatrixSymbol | Symbol, prove: bool = True) -> Expr:
    """The gradient of a loss in one variable in closed form; the errors are those of `derivation`."""
    if isinstance(variable, list | tuple):
        raise TypeError(f"variable: expected one, got {variable!r}; derivation(loss, variables).gradients has several")
    return derivation(loss, [variable], prove).gradients[variable]


def program_of_loss(
    loss: Expr, variables: tuple[MatrixSymbol | Symbol, ...], symmetric: tuple[MatrixSymbol, ...]
) -> tuple[Reader, Program]:
    """The program of a loss; of sums written out entry by entry that of the sums, where these can be read."""
    reader, short = Reader(symmetric=symmetric), rolled(loss)
    if short != loss:
        with suppress(ValueError):
            return reader, reader.program(short, variables)
        reader = Reader(symmetric=symmetric)
    return reader, reader.program(loss, variables)


def scalar_loss(loss: Expr) -> Expr:
    """The loss, with decimals as the fractions that they say."""
    if not isinstance(loss, Basic | MatrixBase):
        hint = {"str": "; python -m derive.gradient reads text", "ndarray": "; sympy.Matrix(...) of it is one"}
        kind = type(loss).__name__
        raise TypeError(f"loss: expected a SymPy expression, got {kind}{hint.get(kind, '')}")
    loss = sympify(loss).replace(lambda part: isinstance(part, Sum), with_own_indices)
    loss = loss.xreplace({number: simplest(number) for number in loss.atoms(Float)})
    try:
        str(loss)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"loss: SymPy itself cannot write it, {type(error).__name__}: {error}") from None
    check_letters(loss)
    if isinstance(loss, MatrixExpr | MatrixBase):
        if tuple(loss.shape) != (1, 1):
            raise ValueError(
                f"loss: expected a scalar or a 1 x 1 matrix, got shape {tuple(loss.shape)}; Trace(...) of a square "
                "matrix is a scalar, and so is derive.matrix.total(...), the sum of the entries"
            )
    elif not isinstance(loss, Expr) or isinstance(loss, Lambda):
        raise TypeError(f"loss: expected a SymPy expression, got {type(loss).__name__}")
    return loss


def with_own_indices(total: Sum) -> Sum:
    """The same sum; a sum inside that uses one of its indices for its own gets others in their place."""

    def renamed(inner: Sum) -> Sum:
        own = {index: Dummy(index.name, integer=True) for index in inner.variables}
        limits = ((own[index], *ends) for index, *ends in inner.limits)
        return Sum(inner.function.xreplace(own), *limits)

    shares = set(total.variables)
    function = total.function.replace(lambda part: isinstance(part, Sum) and shares & {*part.variables}, renamed)
    return total if function == total.function else Sum(function, *total.limits)


def simplest(number: Float) -> Rational:
    """The simplest fraction that is the same number to a computer, 2/3 of 0.6666666666666666, or the decimal itself."""
    exact = Rational(number)
    for digits in range(7) if abs(exact) < 2**53 else ():
        fraction = exact.limit_denominator(10**digits)
        if Float(fraction, precision=number._prec) == number:
            return fraction
    return Rational(repr(float(number)) if number._prec <= 53 else str(number))


def checked_symmetric(
    symmetric: Iterable[MatrixSymbol], loss: Expr, variables: tuple[MatrixSymbol | Symbol, ...]
) -> tuple[MatrixSymbol, ...]:
    symmetric = (symmetric,) if isinstance(symmetric, MatrixSymbol) else tuple(symmetric)
    for matrix in symmetric:
        if not isinstance(matrix, MatrixSymbol):
            raise TypeError(f"symmetric: expected MatrixSymbols, got {matrix!r}")
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"symmetric: {matrix} is {tuple(matrix.shape)}, and only a square matrix can be symmetric")
        if not loss.has(matrix) and matrix not in variables:
            raise ValueError(f"symmetric: {matrix} is not in the loss")
    return symmetric


def checked_variables(variables: Iterable[MatrixSymbol | Symbol]) -> tuple[MatrixSymbol | Symbol, ...]:
    if isinstance(variables, MatrixSymbol | Symbol) or not isinstance(variables, Iterable):
        variables = (variables,)
    variables = tuple(variables)
    if not variables:
        raise ValueError("variables: expected at least one MatrixSymbol or Symbol to differentiate in")
    for variable in variables:
        if not isinstance(variable, MatrixSymbol | Symbol):
            hint = "; the symbol itself, not its name" if isinstance(variable, str) else ""
            raise TypeError(f"variables: expected MatrixSymbols or Symbols, got {variable!r}{hint}")
        if variables.count(variable) > 1:
            raise ValueError(f"variables: {variable} stands twice")
    return variables
