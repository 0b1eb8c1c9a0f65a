"""A penalty as C: it belongs to no row, so its equations are statements of a loop over the entries of a parameter."""

from collections.abc import Mapping
from math import prod

from sympy import MatrixSymbol

from derive.backends import Name, Source
from derive.backends.c.printer import ALL, CPrinter, broken_statement
from derive.operations import NamedMatrix, Operation, Reduction, Scaled, Sum, lower
from derive.programs import Equation, Program


class PenaltyPrinter(CPrinter):
    """Spells the equations of a program without rows; what it takes is kept where another printer keeps it."""

    def __init__(self, program: Program, other: CPrinter) -> None:
        super().__init__(program, other.places)
        self.functions, self.numbers = other.functions, other.numbers
        self.made: frozenset[MatrixSymbol] = frozenset()

    def entry(self, operand: Operation) -> Source:
        match operand:
            case NamedMatrix(symbol=symbol) if symbol in self.made:
                return Name(self.name(symbol))
        return super().entry(operand)

    def loops(self, equations: tuple[Equation, ...], results: Mapping[MatrixSymbol, MatrixSymbol]) -> list[str]:
        """A loop over the entries of each parameter: what each adds to the loss, and to what is in `results`."""
        tangent = self.program.notation.tangent
        owner = {moved: s for s in self.program.parameters for moved in (s, tangent(s))}
        loops: dict[MatrixSymbol, list[str]] = {symbol: [] for symbol in self.program.parameters}
        self.made = frozenset(equation.target for equation in equations)
        for equation in equations:
            target, operation = equation.target, lower(equation.value)
            if target == self.program.output:
                for term in operation.terms if isinstance(operation, Sum) else (operation,):
                    symbol, entry = self.added(term)
                    loops[owner[symbol]].append(f"totals[ENTRIES] += {entry.text};")
                continue
            owner[target] = results[target] if target in results else owner[equation.uses[0]]
            start = f"totals[{self.places[owner[target].name].start} + {ALL}] +=" if target in results else ""
            statement = broken_statement(start or f"const real {self.name(target)} =", self.entry(operation))
            loops[owner[target]] += [f"/* {self.name(target)}: {equation.meaning} */", *statement]
        lines = list(self.parameters(equations))
        for symbol, body in loops.items():
            if body:
                head = f"for (int {ALL} = 0; {ALL} < {prod(map(self.size, symbol.shape))}; {ALL}++) {{"
                lines += [head, *(f"    {line}" for line in body), "}"]
        return lines

    def added(self, operation: Operation) -> tuple[MatrixSymbol, Source]:
        """A term of a loss that is a sum of entries: the matrix, and what each entry adds."""
        match operation:
            case Scaled(scale=scale, of=of):
                symbol, entry = self.added(of)
                return symbol, self.scaled(scale.xreplace(self.program.sizes), entry)
            case Reduction(kind="sum", axis=None, of=NamedMatrix(symbol=symbol) as entries):
                return symbol, self.entry(entries)
        raise ValueError(f"C has no penalty here for {type(operation).__name__}: {operation}")
