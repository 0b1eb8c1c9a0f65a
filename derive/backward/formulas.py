"""What acts entry by entry, and what acts along lines of entries: SymPy differentiates their definitions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from types import MappingProxyType
from typing import Any

import numpy
import sympy
from sympy import (
    Add,
    Dummy,
    Expr,
    Integer,
    Lambda,
    MatrixSymbol,
    Symbol,
    ZeroMatrix,
    diff,
    exp,
    expand,
    factor_terms,
    log,
    powsimp,
    solve,
    sqrt,
)

from derive.backends import Literal, Source, method, plus
from derive.backends.torch import TorchFormulas
from derive.backward.tape import (
    BatchRows,
    Pulled,
    RowsPulled,
    Size,
    Tape,
    TensorShape,
    Value,
    at_both,
    listed,
    reduced_shape,
    summed_to,
    zeros_like_value,
)
from derive.calculus import pull_back
from derive.formulas import over
from derive.modules import Refused, definition, exactly, lifted_by
from derive.operations import Operation
from derive.programs import PLAIN, Elementwise, Equation, Program, entry, formula_of

LINE_COUNT, LINE_LENGTH = Symbol("n", integer=True, positive=True), Symbol("m", integer=True, positive=True)
COTANGENT = PLAIN.cotangent(MatrixSymbol("G", LINE_COUNT, LINE_LENGTH))
X, G = Symbol("x", real=True), entry(COTANGENT)
COUNT = Symbol("n", integer=True, positive=True)


class Formulas(TorchFormulas):
    """Spells formulas of symbols for which there are sources."""

    def __init__(self, sources: dict[Symbol, Source], like: Source) -> None:
        super().__init__(Program((COTANGENT,), (), (), PLAIN))
        self.sources, self._like = sources, like

    @property
    def like(self) -> Source:
        return self._like

    def symbol(self, expr: Symbol) -> Source:
        return self.sources[expr]

    def entry(self, operand: Operation) -> Source:
        raise ValueError(f"{operand} has no source")


def symbol_of(value: Value) -> MatrixSymbol:
    return MatrixSymbol(value.name, LINE_COUNT, LINE_LENGTH)


def entrywise(
    tape: Tape,
    definition: Callable[..., object],
    operands: Sequence[object],
    code: Source | None = None,
    suffix: str = "",
) -> Value:
    """A function of each entry: of numbers, of sizes, and of tensors, which are repeated as torch repeats them.

    Its formula is what the definition makes of symbols, and its slopes are SymPy's.
    """
    values = list(dict.fromkeys(operand for operand in operands if isinstance(operand, Value)))
    symbols = {value: entry(symbol_of(value)) for value in values}
    counts = {operand: tape.size(operand) for operand in operands if isinstance(operand, Size)}
    sizes = {size: Symbol(source.text, positive=True) for size, source in counts.items()}

    def given(operand: object) -> object:
        if isinstance(operand, Size):
            return sizes[operand]
        return numpy.asarray(symbols[operand], dtype=object) if isinstance(operand, Value) else operand

    with lifted_by(exactly):
        formula = sympy.sympify(numpy.asarray(definition(*map(given, operands)), dtype=object).item())
    shape = at_both(lambda *shapes: numpy.broadcast_shapes(*shapes), *(value.shape for value in values))
    sources = {sizes[size]: source for size, source in counts.items()}
    sources |= {symbols[value]: value.source for value in values}
    if code is None:
        code = Formulas(sources, values[0].source).formula(formula)

    def slopes(cotangent: Source) -> Pulled:
        for value in values:
            if value.moves and (source := pulled_back(formula, symbols, sources, value, made, cotangent)) is not None:
                yield value, source

    def pull(cotangent: Source) -> Pulled:
        return ((value, summed_to(source, shape, value.shape)) for value, source in slopes(cotangent))

    def by_row(rows: BatchRows, cotangent: Source) -> RowsPulled:
        return ((value, rows.summed(source, shape, value.shape)) for value, source in slopes(cotangent))

    def push(tangents: Mapping[Value, Source]) -> Source:
        found = [source for value in tangents for of, source in slopes(tangents[value]) if of is value]
        if not found:
            return zeros_like_value(made)
        whole = at_both(lambda *shapes: numpy.broadcast_shapes(*shapes), *(value.shape for value in tangents)) == shape
        total = reduce(plus, found)
        return total if whole else method(total, "expand_as", made.source)

    made = tape.add(shape, code, values, pull, "chain rule, entry by entry", suffix, push=push, rows=by_row)
    return made


def pulled_back(
    formula: Expr,
    symbols: dict[Value, Symbol],
    sources: dict[Symbol, Source],
    value: Value,
    made: Value,
    cotangent: Source,
) -> Source | None:
    """The cotangent times the partial derivative, as the calculus of programs has it; None where that is 0."""
    matrices = {one: symbol_of(one) for one in symbols}
    if formula == symbols[value]:
        return cotangent
    body = Elementwise(Lambda(tuple(symbols.values()), formula), *matrices.values())
    pulled = pull_back(Equation(symbol_of(made), body, "", ""), matrices[value], COTANGENT)
    if isinstance(pulled, ZeroMatrix):
        return None
    found, _ = formula_of(pulled)
    both = {entry(COTANGENT): cotangent, entry(symbol_of(made)): made.source}
    return Formulas(sources | both, cotangent).formula(found)


def formula(name: str) -> Callable[..., Any]:
    """What an operation is by definition."""
    found = definition(f"aten.{name}.default")
    if found is None:
        raise Refused(f"{name} has no definition")
    return found[0]


@dataclass(frozen=True)
class Statistic:
    """A number of a line of entries: `then`, of the sum or the mean of what `of` is of each entry x.

    One that has a `name` is computed, and stands in formulas by its symbol.
    """

    symbol: Symbol
    reduction: str
    of: Expr
    then: Expr = X
    name: str = ""

    @property
    def inside(self) -> Expr:
        """The sum or the mean, by the statistic itself."""
        return next(iter(solve(self.then - self.symbol, X))) if self.then != X else self.symbol


@dataclass(frozen=True)
class LineFunction:
    """What each entry x of a line becomes, by numbers of the line; `whole` if it is one number for all of the line."""

    statistics: tuple[Statistic, ...]
    result: Expr
    whole: bool = False


LINE_MEAN, SCALE, TOTAL = Symbol("mean", real=True), Symbol("rstd", positive=True), Symbol("total", positive=True)
EPSILON, DEGREES = Symbol("eps", positive=True), Symbol("degrees", positive=True)
CENTRED = Statistic(LINE_MEAN, "mean", X, name="mean")
SQUARES = Statistic(TOTAL, "sum", (X - LINE_MEAN) ** 2)
EXPONENTIALS = Statistic(TOTAL, "sum", exp(X))
VARIANCE = TOTAL / DEGREES
LINE_FUNCTIONS = {
    "standardized": LineFunction(
        (CENTRED, Statistic(SCALE, "mean", (X - LINE_MEAN) ** 2, 1 / sqrt(X + EPSILON), "rstd")),
        (X - LINE_MEAN) * SCALE,
    ),
    "rms": LineFunction((Statistic(SCALE, "mean", X**2, 1 / sqrt(X + EPSILON), "rstd"),), X * SCALE),
    "softmax": LineFunction((EXPONENTIALS,), exp(X) / TOTAL),
    "log_softmax": LineFunction((EXPONENTIALS,), X - log(TOTAL)),
    "logsumexp": LineFunction((EXPONENTIALS,), log(TOTAL), whole=True),
    "norm": LineFunction((Statistic(TOTAL, "sum", X**2),), sqrt(TOTAL), whole=True),
    "var": LineFunction((CENTRED, SQUARES), VARIANCE, whole=True),
    "std": LineFunction((CENTRED, SQUARES), sqrt(VARIANCE), whole=True),
}


class LinePullback:
    """The pullback of a line function: a formula in g, x, y, its statistics, and sums and means over the line.

    `reductions` says of each symbol in it that stands for a sum or a mean, of which, and of what.
    """

    def __init__(self, function: LineFunction) -> None:
        self.function = function
        self.reductions: dict[Symbol, tuple[str, Expr]] = {}
        self.output = Symbol("y", real=True, positive=True if function.result.is_positive else None)
        self.eliminated = self.by_output()
        formula = factor_terms(powsimp(expand(self.in_output(self.swept()))))
        below = 1 / self.output  # of a length that is 0
        self.formula = formula.xreplace({below: over(self.output)}) if function.whole else formula
        self.tangent, self.inside = self.transposed()

    def transposed(self) -> tuple[Expr, dict[Symbol, tuple[str, Expr]]]:
        """The tangent, with g for that of x: what the adjoint of the pullback is, and sums and means in it.

        A term b * sum(c * g) of the pullback is c * sum(b * g) in the adjoint.
        """
        if self.function.whole:  # one g for the line
            symbol = Dummy("sum", real=True)
            return symbol, {symbol: ("sum", self.formula)}
        inside = {symbol: part for symbol, part in self.reductions.items() if G not in part[1].free_symbols}
        tangent = G * diff(self.formula, G)
        for symbol, (reduction, part) in self.reductions.items():
            if symbol not in inside:
                there = Dummy(reduction, real=True)
                constant, rest = diff(self.formula, symbol).as_independent(X, self.output, as_Add=False)
                inside[there] = (reduction, G * rest)
                tangent += constant * diff(part, G) * there
        return factor_terms(powsimp(expand(tangent))), inside

    def by_output(self) -> dict[Symbol, Expr]:
        """What x is by the output, or what a statistic without a name is."""
        function = self.function
        gone = [one.symbol for one in function.statistics if not one.name]
        unknown = (gone[0] if gone else X) if function.whole else X
        return {unknown: next(iter(solve(function.result - self.output, unknown)))}

    def in_output(self, expr: Expr) -> Expr:
        return powsimp(expand(expr.xreplace(self.eliminated)))

    def swept(self) -> Expr:
        """From the output back through the statistics, last to first."""
        result = self.function.result
        known: list[tuple[Statistic, Expr]] = []
        for one in reversed(self.function.statistics):
            direct = G * diff(result, one.symbol)
            others = Add(*(weight * diff(other.of, one.symbol) for other, weight in known))
            if self.function.whole:
                moved = (direct / (COUNT if one.reduction == "mean" else 1)) + self.total(one.reduction, others)
            else:
                moved = self.total(one.reduction, direct + others)
            weight = moved * diff(one.then, X).xreplace({X: one.inside})
            known.append((one, sympy.simplify(weight) if one.then != X else weight))
        direct = Integer(0) if self.function.whole else G * diff(result, X)
        return direct + Add(*(weight * diff(one.of, X) for one, weight in known))

    def total(self, reduction: str, expr: Expr) -> Expr:
        """The sum or the mean over the line, of each term what is the same all along the line in front of it."""
        return Add(*(self.of_term(reduction, term) for term in Add.make_args(self.in_output(expr))))

    def of_term(self, reduction: str, term: Expr) -> Expr:
        if term == 0:
            return term
        varies = {X, self.output, G} if not self.function.whole else {X}
        constant, rest = term.as_independent(*varies, as_Add=False)
        if rest == 1:
            return constant * (COUNT if reduction == "sum" else 1)
        if (known := self.known(reduction, rest)) is not None:
            return constant * known
        symbol = next((s for s, found in self.reductions.items() if found == (reduction, rest)), None)
        symbol = symbol or Dummy(reduction, real=True)
        self.reductions[symbol] = (reduction, rest)
        return constant * symbol

    def known(self, reduction: str, expr: Expr) -> Expr | None:
        """The sum or the mean, where it is made of those that statistics are of; None where it is not."""
        found = []
        written = expr if self.function.whole else expr.xreplace({self.output: self.function.result})
        for term in Add.make_args(expand(written)):
            constant, rest = term.as_independent(X, G, as_Add=False)
            same = [one.inside for one in self.function.statistics if (one.reduction, one.of) == (reduction, rest)]
            if rest != 1 and not same:
                return None
            found.append(constant * (same[0] if same else COUNT if reduction == "sum" else Integer(1)))
        return sympy.simplify(Add(*found))


@cache
def line_pullback(kind: str) -> LinePullback:
    return LinePullback(LINE_FUNCTIONS[kind])


def applied_along(
    tape: Tape,
    kind: str,
    x: Value,
    dims: Sequence[int],
    code: Source | None = None,
    keepdim: bool = False,
    suffix: str = "",
    constants: Mapping[Symbol, Expr | Source] = MappingProxyType({}),
) -> Value:
    """A function of each line of entries along some axes; its pullback is derived from its definition."""
    function, rank = LINE_FUNCTIONS[kind], len(x.shape)
    dim = listed(dims, rank)
    sources: dict[Symbol, Source] = {X: x.source, COUNT: tape.count(x.shape, dims)}
    known = {symbol: value for symbol, value in constants.items() if isinstance(value, Expr)}
    sources |= {symbol: value for symbol, value in constants.items() if isinstance(value, Source)}

    def spelled(expr: Expr) -> Source:
        return Formulas(sources, x.source).formula(expr.xreplace(known))

    def reduction_of(reduction: str, of: Source, kept: bool = True) -> Source:
        return method(of, reduction, dim, **({"keepdim": Literal("True")} if kept else {}))

    for one in function.statistics:
        if one.name:
            inside = reduction_of(one.reduction, spelled(one.of))
            whole = Dummy(real=True)
            sources[whole] = inside
            line = reduced_shape(x.shape, dims, True)
            value = tape.add(line, spelled(one.then.xreplace({X: whole})), [x], None, "", f"_{one.name}")
            sources[one.symbol] = value.source
    derived = line_pullback(kind)

    def kept(source: Source) -> Source:
        for place in dims if function.whole and not keepdim and len(dims) < rank else ():
            source = method(source, "unsqueeze", listed([place], rank))
        return source

    def with_sums(moved: Source, inside: Mapping[Symbol, tuple[str, Expr]], whole: bool = True) -> None:
        sources.update({G: moved, derived.output: kept(made.source)})
        for symbol, (reduction, expr) in inside.items():
            sources[symbol] = reduction_of(reduction, spelled(expr), whole)

    def pull(cotangent: Source) -> Pulled:
        with_sums(kept(cotangent), derived.reductions)
        yield x, spelled(derived.formula)

    def push(tangents: Mapping[Value, Source]) -> Source:
        with_sums(tangents[x], derived.inside, keepdim or not function.whole)
        return spelled(derived.tangent)

    shape: TensorShape = reduced_shape(x.shape, dims, keepdim) if function.whole else x.shape
    why = "chain rule along the line" if len(dims) == 1 else "chain rule along the lines"
    code = spelled(function.result) if code is None else code
    made = tape.add(shape, code, [x], pull, why, suffix, push=push)
    return made
