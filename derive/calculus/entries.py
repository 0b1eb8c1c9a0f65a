"""A formula over the entries of matrices as a matrix expression, in the form in which books have it."""

from collections.abc import Iterable, Iterator
from itertools import count

from sympy import (
    Abs,
    Add,
    Dummy,
    Expr,
    Function,
    HadamardPower,
    Heaviside,
    Identity,
    Integer,
    Lambda,
    MatAdd,
    MatrixExpr,
    Max,
    Mul,
    OneMatrix,
    Piecewise,
    Pow,
    Symbol,
    Trace,
    Transpose,
    cosh,
    diff,
    exp,
    expand,
    log,
    powsimp,
    sign,
    tanh,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction

from derive.calculus.alike import key, length, turned
from derive.calculus.ones import entry_by_entry
from derive.calculus.simplified import added, multiplied
from derive.formulas import sigmoid, z
from derive.programs import Elementwise, RowLogSumExp, RowSoftmax, chain, flat_product, ordered_terms, unused

LONGEST_EXPANDED = 40  # symbols and numbers of a formula that is multiplied out


class Entries:
    """A formula over the entries of matrices, as a matrix expression."""

    def __init__(
        self, scalars: dict[Symbol, Expr], matrices: dict[Symbol, MatrixExpr], shape: tuple[Expr, Expr]
    ) -> None:
        self.scalars, self.matrices, self.shape = scalars, matrices, shape
        self.inner: dict[Symbol, Expr] = {}  # what operands are that are functions of others, entry by entry
        bases: dict[object, Symbol] = {key(matrix): u for u, matrix in matrices.items()}
        for u, matrix in [*matrices.items()]:
            if isinstance(matrix, HadamardPower) and key(matrix.base) in bases:
                self.inner[u] = bases[key(matrix.base)] ** matrix.exp
            elif isinstance(matrix, ElementwiseApplyFunction):
                t = bases.setdefault(key(matrix.expr), Symbol(f"{u.name} inside", real=True))
                self.matrices = {**self.matrices, t: matrix.expr}
                self.inner[u] = matrix.function(t)

    def written(self, formula: Expr) -> Expr:
        """A matrix expression, or a number where no matrix is in the formula."""
        return self.of(as_in_books(formula.xreplace(self.inner)))

    def of(self, formula: Expr) -> Expr:
        inside = [u for u in self.matrices if u in formula.free_symbols]
        if not inside:
            return formula.xreplace(self.scalars)
        if formula in self.matrices:
            return self.matrices[formula]
        if isinstance(formula, Piecewise) and (masked := with_mask(formula, self.matrices)) is not None:
            return self.product(masked)
        if isinstance(formula, Add):
            return self.sum(formula)
        if isinstance(formula, Mul):
            return self.product(formula)
        if isinstance(formula, Pow) and formula.base.is_Add and is_polynomial_in_one(formula, inside[0]):
            return HadamardPower(self.of(formula.base), formula.exp)
        if len(inside) == 1:
            return self.applied(formula, inside[0])
        if isinstance(formula, Pow) and formula.exp.is_Integer and formula.exp > 0:
            return HadamardPower(self.of(formula.base), formula.exp)
        if (len(formula.args) == 1 and isinstance(formula.args[0], Add | Mul | Pow)) or isinstance(formula, Pow):
            if isinstance(formula, Pow) and formula.exp.has(*inside):
                return self.kept(formula, inside)
            inner, t = self.of(formula.args[0]), self.variable()
            if isinstance(formula, exp) and (found := softmax_of_exponent(inner)) is not None:
                return found
            outer = t ** formula.exp.xreplace(self.scalars) if isinstance(formula, Pow) else formula.func(t)
            return inner.applyfunc(Lambda(t, outer))
        return self.kept(formula, inside)

    def variables(self, names: Iterable[str]) -> Iterator[Symbol]:
        """Those whose names no number in the formula has."""
        taken = {symbol for value in self.scalars.values() for symbol in value.free_symbols}
        return (Symbol(name, real=True) for name in unused(names, taken))

    def variable(self) -> Symbol:
        return next(self.variables("tuw"[n : n + 1] or f"t{n}" for n in count()))

    def kept(self, formula: Expr, inside: list[Symbol]) -> MatrixExpr:
        """A function of one sum of the matrices, where it is that, else of each of them."""
        for total in sorted(formula.atoms(Add), key=lambda part: (len(part.args), str(part))):
            d = Dummy("d", real=True)
            held = formula.xreplace({total: d, -total: -d})
            if total.free_symbols >= {*inside} and not held.has(*inside):
                t, matrix = self.variable(), self.of(total)
                if isinstance(matrix, MatrixExpr) and not isinstance(matrix, Elementwise):
                    return matrix.applyfunc(Lambda(t, held.xreplace({**self.scalars, d: t})))
        variables = dict(zip(inside, self.variables(f"u{number}" for number in count()), strict=False))
        body = formula.xreplace({**self.scalars, **variables})
        return Elementwise(Lambda(tuple(variables.values()), body), *(self.matrices[u] for u in inside))

    def applied(self, formula: Expr, u: Symbol) -> MatrixExpr:
        if isinstance(formula, Pow) and formula.base == u and formula.exp.is_Integer:
            same = isinstance(self.matrices[u], Identity) and formula.exp.is_positive
            return self.matrices[u] if same else HadamardPower(self.matrices[u], formula.exp)
        matrix, t = self.matrices[u], self.variable()
        slope = formula.diff(u) if formula.is_polynomial(u) else u
        if not slope.has(u) and formula == slope * u:
            return multiplied(slope.xreplace(self.scalars), [matrix])
        if isinstance(formula, exp) and (found := self.softmax_of_one(formula.args[0] - u, matrix)) is not None:
            return found
        return matrix.applyfunc(Lambda(t, formula.xreplace({**self.scalars, u: t})))

    def softmax_of_one(self, rest: Expr, matrix: MatrixExpr) -> MatrixExpr | None:
        """softmax of a row, or its transpose, where the rest of the exponent is the row's logsumexp taken away."""
        summed = (-rest).xreplace(self.scalars)
        summed = summed.arg if isinstance(summed, Trace) else summed
        if isinstance(summed, RowLogSumExp):
            for row, found in ((matrix, RowSoftmax(matrix)), (turned(matrix), Transpose(RowSoftmax(turned(matrix))))):
                if key(row) == key(summed.args[0]):
                    return found
        return None

    def sum(self, formula: Add) -> MatrixExpr:
        inside = [u for u in self.matrices if u in formula.free_symbols]
        if len(inside) == 1 and not is_polynomial_in_one(formula, *inside) and formula.as_independent(*inside)[0] != 0:
            return self.applied(formula, *inside)
        parts = [self.of(term) for term in ordered_terms(formula)]
        return added([p if isinstance(p, MatrixExpr) else flat_product(p, [OneMatrix(*self.shape)]) for p in parts])

    def product(self, formula: Mul) -> MatrixExpr:
        """Numbers in front; what runs over one matrix is one function of it."""
        scale, plain = Add(1), []
        functions: dict[Symbol, Expr] = {}
        for factor in formula.args:
            inside = [u for u in self.matrices if u in factor.free_symbols]
            if not inside:
                scale *= factor.xreplace(self.scalars)
            elif factor in self.matrices or len(inside) > 1 or is_polynomial_in_one(factor, inside[0]):
                plain.append(self.of(factor))
            else:
                functions[inside[0]] = functions.get(inside[0], 1) * factor
        plain += [self.applied(factor, u) for u, factor in functions.items()]
        return multiplied(scale, [plain[0] if len(plain) == 1 else entry_by_entry(plain)])


def with_mask(formula: Piecewise, matrices: dict[Symbol, MatrixExpr]) -> Mul | None:
    """A value times branches that are numbers, as g o [z > 0]; of a value that may have none where it is not taken."""
    values = [value for value, _ in formula.args if value != 0]
    if not values or values[0].has(Piecewise) or not values[0].free_symbols & matrices.keys():
        return None
    whole, ratios = values[0], [value / values[0] for value, _ in formula.args]
    powers = [part for part in whole.atoms(Pow) if part.base.free_symbols & matrices.keys()]
    defined = not whole.has(log) and all(part.exp.is_positive for part in powers)
    if not defined or not all(ratio.is_number for ratio in ratios):
        return None
    cases = zip(ratios, (condition for _, condition in formula.args), strict=True)
    return Mul(whole, Piecewise(*cases), evaluate=False)


def is_polynomial_in_one(formula: Expr, u: Symbol) -> bool:
    """Whether it is a polynomial in one matrix or in one function of it."""
    functions = {part for part in formula.atoms(Function) if part.has(u)}
    t = Dummy("t", real=True)
    inside = formula.xreplace({part: t for part in functions if len(functions) == 1})
    return len(inside.free_symbols & {u, t}) == 1 and inside.is_polynomial(u, t)


def as_in_books(formula: Expr) -> Expr:
    """The formula with 1 - sigmoid(u) for sigmoid(-u) where that is no longer, and with tanh and cosh."""
    formula = formula.replace(lambda part: isinstance(part, Mul), in_fewer_factors)
    formula = formula.replace(lambda part: isinstance(part, Mul) and part.has(sigmoid), with_tanh)
    formula = formula.replace(lambda part: isinstance(part, Add) and part.has(exp), with_cosh)
    arguments = {part.args[0] for part in formula.atoms(sigmoid)}
    for u in sorted(arguments, key=str):
        if opposite(u) not in arguments or u.could_extract_minus_sign():
            continue
        share = Dummy("s", real=True)
        ours = formula.xreplace({sigmoid(u): share, sigmoid(opposite(u)): 1 - share})
        found = [ours] if length(formula) > LONGEST_EXPANDED else [ours, expand(ours, deep=False), expand(ours)]
        formula = min(found, key=lambda form: form.count_ops()).xreplace({share: sigmoid(u)})
    return formula


def in_fewer_factors(whole: Mul) -> Expr:
    """Powers of one base as one, u sign(u) as |u|, Heaviside(u) max(0, u) as max(0, u), and -1/(u - 1) as 1/(1 - u)."""
    factors = list(Mul.make_args(powsimp(whole, combine="exp")))
    for part in [part for part in factors if isinstance(part, Heaviside | sign)]:
        u = part.args[0]
        if isinstance(part, Heaviside) and Max(0, u) in factors:
            factors.remove(part)
        for power in [power for power in factors if isinstance(part, sign) and power.as_base_exp()[0] == u]:
            if (power.exp if power.is_Pow else Integer(1)).is_positive and part in factors:
                factors.remove(part)
                factors[factors.index(power)] = power / u * Abs(u)
    for place, part in enumerate(factors):
        base, exponent = part.as_base_exp()
        odd = exponent.is_Integer and exponent.is_odd and exponent < 0
        if odd and base.is_Add and Mul(*factors).could_extract_minus_sign() and base.as_coeff_Add()[0].is_negative:
            factors[place] = -(Add(*(-term for term in base.args)) ** exponent)
    return Mul(*factors)


def opposite(u: Expr) -> Expr:
    return Add(*(-term for term in Add.make_args(u)))


SLOPE_OF_TANH = diff(tanh(z), z)


def with_tanh(product: Expr) -> Expr:
    """4 sigmoid(2 u) sigmoid(-2 u) as 1 - tanh(u)^2."""
    number, rest = product.as_coeff_Mul()
    factors = list(Mul.make_args(rest))
    for part in [part for part in factors if isinstance(part, sigmoid)]:
        u, other = part.args[0], sigmoid(opposite(part.args[0]))
        half = Add(*(term / 2 for term in Add.make_args(u)))
        whole = all(term.as_coeff_Mul()[0].is_Integer for term in Add.make_args(half))
        if part in factors and other in factors and number % 4 == 0 and whole and not u.could_extract_minus_sign():
            factors.remove(part)
            factors.remove(other)
            number, factors = number / 4, [*factors, SLOPE_OF_TANH.xreplace({z: half})]
    return number * Mul(*factors)


def with_cosh(total: Expr) -> Expr:
    """exp(u) + exp(-u) as 2 cosh(u)."""
    terms = list(total.args)
    for part in [part for part in terms if isinstance(part, exp)]:
        other = exp(opposite(part.args[0]))
        if part in terms and other in terms and part != other and not part.args[0].could_extract_minus_sign():
            terms.remove(part)
            terms.remove(other)
            terms.append(2 * cosh(part.args[0]))
    return Add(*terms)


def softmax_of_exponent(exponent: MatrixExpr) -> MatrixExpr | None:
    """softmax(Z), or its transpose, where the exponent is Z less its logsumexp over the row."""
    for term in MatAdd.make_args(exponent):
        scale, factors = chain(term)
        inside = [factor for factor in factors if not isinstance(factor, OneMatrix)]
        if scale != -1 or len(inside) != 1:
            continue
        flipped = isinstance(inside[0], Transpose)
        summed = inside[0].arg if flipped else inside[0]
        if isinstance(summed, RowLogSumExp):
            rest = [part for part in exponent.args if part != term]
            Z = MatAdd(*rest) if len(rest) > 1 else rest[0]
            if key(turned(Z) if flipped else Z) == key(summed.args[0]):
                return Transpose(RowSoftmax(summed.args[0])) if flipped else RowSoftmax(Z)
    return None
