"""A network's equations as C: rows lie side by side, a feature after the other; one equation is one loop or call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sympy import Expr, MatrixSymbol

from derive.backends import (
    WIDTH,
    Index,
    Literal,
    Name,
    Source,
    plus,
    signed_terms,
)
from derive.backends.c.formulas import CFormulas
from derive.operations import (
    Affine,
    Constant,
    Entrywise,
    NamedMatrix,
    Operation,
    Product,
    Reduction,
    Repeated,
    Scaled,
    Sum,
    Transposed,
    lower,
)
from derive.programs import Equation, Program

ALL, EACH_ROW, FEATURE = "k", "r", "i"  # indices of an entry, of a row, and of a feature
NEAR = {f"{name}_of": Name(f"near_{name}_of") for name in ("sin", "cos")}  # where no angle is far


@dataclass(frozen=True)
class Place:
    """Where a parameter begins in the flat vector, and how far apart its rows and its columns are."""

    start: int
    row: int
    column: int


@dataclass(frozen=True)
class Body:
    """A C function: pointers to what it reads and makes, the equations, and how many features it makes."""

    pointers: list[str]
    lines: list[str]
    features: int


class CPrinter(CFormulas):
    """Spells the equations of a program in C; `places` says where each parameter lies, by its name."""

    def __init__(self, program: Program, places: Mapping[str, Place]) -> None:
        super().__init__(program)
        self.places = places

    def name(self, symbol: MatrixSymbol) -> str:
        return self.program.notation.torch(symbol.name)

    def size(self, size: Expr) -> int:
        return int(size.xreplace(self.program.sizes))

    def width(self, operation: Operation) -> int:
        return self.size(operation.shape[1])

    def entry(self, operand: Operation) -> Source:
        """An entry of what has an entry for each row and feature, by the index that fits."""
        match operand:
            case NamedMatrix(symbol=symbol):
                return Index(Name(self.name(symbol)), (Name(ALL),))
            case Repeated(of=NamedMatrix(symbol=symbol) as column) if column.shape[0] == operand.shape[0]:
                return Index(Name(self.name(symbol)), (Name(EACH_ROW),))
            case Repeated(of=NamedMatrix(symbol=symbol) as row) if row.shape[1] == operand.shape[1]:
                return Index(Name(self.name(symbol)), (Name(FEATURE),))
            case Constant(kind="ones"):
                return Literal("1")
            case Constant(kind="zeros"):
                return Literal("0")
            case Scaled(scale=scale, of=of):
                return self.scaled(scale.xreplace(self.program.sizes), self.entry(of))
            case Sum(terms=parts):
                first, *others = map(self.entry, parts)
                for other in others:
                    first = plus(first, other)
                return first
            case Entrywise(formula=formula, operands=operands):
                outer, self.bound = self.bound, {**self.bound, **dict(operands)}
                source = self.formula(formula.xreplace(self.program.sizes))
                self.bound = outer
                return source
        raise ValueError(f"C has no entry here for {type(operand).__name__}: {operand}")

    # equations

    def body(self, equations: tuple[Equation, ...], results: Mapping[MatrixSymbol, MatrixSymbol], each: bool) -> Body:
        """The equations; `results` maps what is a gradient to its parameter, with `each` those of every row."""
        made, lines = [], []
        for equation in equations:
            target, operation = equation.target, lower(equation.value)
            if target in results:
                statements = self.result(operation, self.places[results[target].name], each)
            elif target == self.program.output:
                statements = self.loss(operation)
            else:
                made.append(target)
                statements = self.statements(self.name(target), operation)
            lines += [f"/* {self.words(equation)} */", *statements]
        data = [symbol for symbol in self.program.data if any(symbol in equation.uses for equation in equations)]
        copies = [f"columns({self.size(s.shape[1])}, rows, stride, {self.name(s)}_rows, {self.name(s)});" for s in data]
        starts, features = [], 0
        for symbol in (*data, *made):
            starts.append(f"real *const {self.name(symbol)} = matrices + {features} * stride;")
            features += self.size(symbol.shape[1])
        return Body([*self.parameters(equations), *starts, *copies], lines, features)

    def parameters(self, equations: tuple[Equation, ...]) -> Iterator[str]:
        """The parameters and the directions that are used, as pointers into the flat vectors."""
        used = {symbol for equation in equations for symbol in equation.uses}
        tangent = self.program.notation.tangent
        for vector, symbols in (
            ("parameters", {symbol: symbol for symbol in self.program.parameters}),
            ("direction", {tangent(symbol): symbol for symbol in self.program.parameters}),
        ):
            for symbol, parameter in symbols.items():
                if symbol in used:
                    start = self.places[parameter.name].start
                    yield f"const real *const {self.name(symbol)} = {vector} + {start};"

    def words(self, equation: Equation) -> str:
        """The equation in words; what is computed entry by entry says so by itself."""
        name, operation = self.name(equation.target), lower(equation.value)
        if isinstance(operation, Entrywise):
            return f"{name}: {equation.meaning}"
        return f"{name} = {self.written(operation)}: {equation.meaning}"

    def written(self, operation: Operation) -> str:
        """The operation as people write it."""
        match operation:
            case NamedMatrix(symbol=symbol):
                return self.name(symbol)
            case Transposed(of=of):
                return f"{self.written(of)}^T"
            case Product(factors=factors):
                return " ".join(map(self.written, factors))
            case Affine(input=input, weight=weight, bias=bias):
                return f"{self.written(input)} {self.written(weight)}^T + {self.written(bias)}"
            case Repeated(of=of):
                return self.written(of)
            case Sum(terms=parts):
                return " + ".join(map(self.written, parts))
            case Scaled(scale=scale, of=of):
                return self.scaled(scale.xreplace(self.program.sizes), Name(self.written(of))).text
            case Reduction(kind=kind, axis=axis, of=of):
                over = {0: " over the rows", 1: " over each row", None: ""}[axis]
                return f"{kind} of {self.written(of)}{over}"
            case Entrywise():
                return "entry by entry"
        raise ValueError(f"C has no words here for {type(operation).__name__}: {operation}")

    def statements(self, target: str, operation: Operation) -> list[str]:
        match operation:
            case Reduction(kind=kind, axis=1, of=NamedMatrix(symbol=symbol) as of) if kind != "sum":
                self.functions[kind] = None
                return [f"row_{kind}({self.width(of)}, rows, stride, {self.name(symbol)}, {target});"]
        products, others = self.split(operation)
        start = next((self.name(row) for part in others if (row := repeated_row(part))), "NULL")
        lines: list[str] = []
        for matrix, row, column, operand, width in products:
            sizes = f"{self.width(operation)}, {width}, {row}, {column}, rows, stride"
            lines.append(f"multiply({sizes}, {matrix}, {start}, {int(bool(lines))}, {operand}, {target});")
            start = "NULL"
        of_rows = [part for part in others if isinstance(part, Reduction)]
        for part in others:
            if part not in of_rows and not (products and repeated_row(part)):
                lines += self.loop(target, ALL, "+=" if lines else "=", part)
        for part in of_rows:
            lines = lines or [f"for (int r = 0; r < rows; r++) {target}[{EACH_ROW}] = 0;"]
            lines += self.loop(target, EACH_ROW, "+=", part.of)
        return lines

    def split(self, operation: Operation) -> tuple[list[tuple[str, int, int, str, int]], list[Operation]]:
        """The products with parameters, as matrix, its strides and what it multiplies, and the other terms."""
        products: list[tuple[str, int, int, str, int]] = []
        others: list[Operation] = []
        for part in operation.terms if isinstance(operation, Sum) else (operation,):
            if isinstance(part, Affine):
                others.append(Repeated(part.shape, part.bias))
            match part:
                case (
                    Affine(input=A, weight=W) | Product(factors=(NamedMatrix() as A, Transposed(of=NamedMatrix() as W)))
                ):
                    place = self.place(W)
                    products.append((self.name(W.symbol), place.row, place.column, self.name(A.symbol), self.width(A)))
                case Product(factors=(NamedMatrix() as Delta, NamedMatrix() as W)):
                    place, width = self.place(W), self.width(Delta)
                    products.append((self.name(W.symbol), place.column, place.row, self.name(Delta.symbol), width))
                case _:
                    others.append(part)
        return products, others

    def place(self, W: NamedMatrix) -> Place:
        """Where a parameter lies, or the direction in which it moves."""
        return self.places[self.program.notation.role(W.symbol.name)[1]]

    def loop(self, target: str, index: str, operator: str, operation: Operation) -> list[str]:
        """A value for each row of each feature; angles are turned many at once where none is far."""
        self.angles.clear()
        head, entry, far = f"EACH({self.width(operation)})", self.entry(operation), f"far_{target}"
        any_angle, near = (looped(head, f"{target}[{index}] {operator}", of) for of in (entry, entry.renamed(NEAR)))
        if not self.angles:
            return any_angle
        counted = [f"{head} {far} += far_of({angle});" for angle in self.angles]
        ways = [f"if ({far})", *(f"    {line}" for line in any_angle), "else", *(f"    {line}" for line in near)]
        return [f"int {far} = 0;", *counted, *ways]

    def result(self, operation: Operation, place: Place, each: bool) -> list[str]:
        """The gradient in a parameter: what each row adds to it, or has by itself."""
        name, last = ("each", f"N, to + {place.start} * N") if each else ("add", f"sums + {place.start} * SIDE")
        lines = []
        for part in operation.terms if isinstance(operation, Sum) else (operation,):
            match part:
                case Product(factors=(Transposed(of=NamedMatrix() as Delta), NamedMatrix() as A)):
                    sizes = f"{self.width(Delta)}, {self.width(A)}, {place.row}, {place.column}, rows, stride"
                    lines.append(f"{name}_outer({sizes}, {self.name(Delta.symbol)}, {self.name(A.symbol)}, {last});")
                case Reduction(kind="sum", axis=0, of=NamedMatrix() as Delta):
                    lines.append(
                        f"{name}_entries({self.width(Delta)}, rows, stride, {self.name(Delta.symbol)}, {last});"
                    )
                case _:
                    raise ValueError(f"C has no gradient here for {type(part).__name__}: {part}")
        return lines

    def loss(self, operation: Operation) -> list[str]:
        """The entries of the loss, whose sum is scaled at the end."""
        of = operation.of if isinstance(operation, Scaled) else operation
        match of:
            case Reduction(kind="sum", axis=None, of=NamedMatrix(symbol=symbol) as entries):
                return [f"add_all({self.width(entries)}, rows, stride, {self.name(symbol)}, sums + ENTRIES * SIDE);"]
        raise ValueError(f"C has no loss here for {type(operation).__name__}: {operation}")

    def total(self, equations: tuple[Equation, ...], sum: str) -> str:
        """The loss, from the sum of its entries over all rows."""
        (value,) = (lower(equation.value) for equation in equations if equation.target == self.program.output)
        total = Name(sum)
        return (
            self.scaled(value.scale.xreplace(self.program.sizes), total) if isinstance(value, Scaled) else total
        ).text


def looped(head: str, target: str, entry: Source) -> list[str]:
    """A statement behind the head of its loop, on one line where it fits."""
    statement = broken_statement(target, entry)
    short = len(statement) == 1 and len(head) + len(statement[0]) < WIDTH - 4
    return [f"{head} {statement[0]}"] if short else [head, *(f"    {line}" for line in statement)]


def repeated_row(operation: Operation) -> MatrixSymbol | None:
    """b of 1 b."""
    match operation:
        case Repeated(of=NamedMatrix(symbol=symbol) as row) if row.shape[0] == 1:
            return symbol
    return None


def broken_statement(target: str, source: Source) -> list[str]:
    """A statement, its terms on lines of their own where it is long."""
    line = f"{target} {source.text};"
    if len(line) <= WIDTH - 12:
        return [line]
    first, *others = signed_terms(source)
    return [f"{target} {first}", *(f"    {term}" for term in others[:-1]), f"    {others[-1]};"] if others else [line]
