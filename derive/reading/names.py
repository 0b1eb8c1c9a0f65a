"""The symbols that somebody gives, as a program has them: by names that Python can have, and of one meaning each."""

import keyword
import re
from collections.abc import Iterable

from sympy import Basic, Expr, MatrixExpr, MatrixSymbol, Symbol, sympify

from derive.programs import PositiveNumber, Symmetric, entry

TAKEN_BY_CODE = {"torch", "math", "len", "ctx", "Gradients", "Parameters", "NamedTuple", "value_and_grad", "tensors"}


class Names:
    """What is given and what it is called; `original` maps each input back to the symbol that it was.

    `numbers` are the 1 x 1 matrices that torch has without dimensions, by the symbol that stands for their entry.
    """

    def __init__(self, symmetric: Iterable[MatrixSymbol] = ()) -> None:
        self.symmetric = set(symmetric)
        self.original: dict[MatrixSymbol, Basic] = {}
        self.inputs: dict[Basic, MatrixSymbol] = {}
        self.sizes: dict[Symbol, Symbol] = {}
        self.numbers: dict[Symbol, MatrixSymbol] = {}

    def size(self, given: Symbol) -> None:
        """Takes a symbol in a shape for one of the sizes."""
        if given not in self.sizes:
            self.sizes[given] = Symbol(self.name(given), integer=True, positive=True)

    def input(self, given: Basic) -> MatrixSymbol:
        """The symbol of an input; a scalar symbol is a 1 x 1 matrix that torch has without dimensions."""
        if given not in self.inputs:
            shape = self.shape(given) if isinstance(given, MatrixSymbol) else (1, 1)
            kind = Symmetric if given in self.symmetric else PositiveNumber if given.is_positive else MatrixSymbol
            symbol = kind(self.name(given), *shape)
            self.inputs[given] = symbol
            self.original[symbol] = given
            if not isinstance(given, MatrixSymbol):
                self.numbers[entry(symbol)] = symbol
        return self.inputs[given]

    def name(self, given: Basic) -> str:
        """The name as Python can have it.

        Raises ValueError where another symbol has it, and says what the two are.
        """
        name = re.sub(r"\W", "_", given.name)
        if not name or name[0].isdigit() or name[0] == "_":
            name = f"v{name}"
        if keyword.iskeyword(name) or name in TAKEN_BY_CODE:
            name += "_"
        others = [other for symbol, other in self.original.items() if symbol.name == name]
        others += [size for size, symbol in self.sizes.items() if symbol.name == name and size != given]
        if others:
            two = f"{with_shape(others[0])} and {with_shape(given)}"
            raise ValueError(f"{given}: two different symbols with this name, {two}; rename one")
        return name

    def shape(self, node: MatrixExpr) -> tuple[Expr, Expr]:
        return tuple(sympify(size).xreplace(self.sizes) for size in node.shape)


def with_shape(symbol: Basic) -> str:
    """A symbol with its shape, or what else it is."""
    return f"{symbol} {tuple(symbol.shape)}" if isinstance(symbol, MatrixSymbol) else f"the number {symbol}"
