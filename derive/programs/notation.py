"""Every symbol once: how code and pages write it, and what it means.

What a symbol is stands in a table from when it is made, and is never read out of its name. `NETWORK` is the notation of
a network; `PLAIN` that of a matrix expression, whose names belong to the person who wrote it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import chain, count, islice, product
from string import ascii_lowercase
from typing import ClassVar
from unicodedata import lookup

from sympy import Add, Basic, Expr, MatrixSymbol, Mul, Pow, Symbol


class SymbolKind(Enum):
    """What a symbol that is made of no other is in a network."""

    INPUTS, TARGETS, WEIGHTS, BIASES, PRE_ACTIVATION, ACTIVATION, ERROR, LOSSES, OTHER = range(9)


@dataclass(frozen=True)
class Family:
    """How code calls it, its letter on pages, what it is, in a few words and what is said beside them."""

    torch: str
    letter: str
    title: str
    remark: str = ""
    kind: SymbolKind = SymbolKind.OTHER
    in_layers: bool = False


FAMILIES = (
    Family("x", "X", "inputs", "one row a sample", SymbolKind.INPUTS),
    Family("y", "Y", "targets", "one row a sample", SymbolKind.TARGETS),
    Family("W", "W", "weights of layer {layer}", "as torch.nn.Linear stores them", SymbolKind.WEIGHTS, in_layers=True),
    Family("b", "b", "biases of layer {layer}", kind=SymbolKind.BIASES, in_layers=True),
    Family("z", "Z", "pre-activation of layer {layer}", kind=SymbolKind.PRE_ACTIVATION, in_layers=True),
    Family("a", "A", "activation of layer {layer}", kind=SymbolKind.ACTIVATION, in_layers=True),
    Family("max", "C", "largest entry of each row"),
    Family("u", "U", "entries less the largest of their row"),
    Family("lse", "M", "log of the row sums of exp"),
    Family("logsumexp", "S", "log of the row sums of exp", "of all entries as they are"),
    Family("q", "Q", "what is taken over each row"),
    Family("is_max", "T", "whether an entry is the largest of its row", "1 or 0"),
    Family("ties", "K", "how many entries of each row are the largest"),
    Family("share", "B", "entries that are the largest of their row, over how many they are"),
    Family("largest", "V", "largest entry of each row", "the mean of those that are"),
    Family("p", "P", "softmax of each row"),
    Family("e", "E", "loss of each entry", kind=SymbolKind.LOSSES),
    Family("penalty", "R", "penalty of each weight of layer {layer}", in_layers=True),
    Family("loss", "L", "loss"),
    Family("delta", "Delta", "error of layer {layer}", "dL/dZ{layer}", SymbolKind.ERROR, in_layers=True),
)
BETWEEN = " "  # a role and the name of the symbol that has it
GREEK = frozenset(
    re.findall(
        r"\w+",
        """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi
        omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega""",
    )
)
LAMBDAS = frozenset(("lam", "lamda"))  # as Python, which has a word of the letter's name, makes people write it
FUNCTION_SIGNS = {
    "f": "f",
    "f_prime": "f'",
    "sigmoid": r"\sigma",
    "tanh": r"\tanh",
    "exp": r"\exp",
    "log": r"\log",
    "sin": r"\sin",
    "cos": r"\cos",
    "Max": r"\max",
    "Min": r"\min",
}


def greek(word: str) -> str:
    """The letter of that name: Delta and delta differ."""
    case = "SMALL" if word.islower() else "CAPITAL"
    return lookup(f"GREEK {case} LETTER {word.upper().replace('LAMBDA', 'LAMDA')}")


class Role(StrEnum):
    """What a symbol is of another."""

    COTANGENT = "grad"
    FREE = "free"
    TANGENT = "dot"
    DIFFERENTIAL = "diff"
    SLOPE = "slope"


ROLE_TEX = {
    Role.COTANGENT: r"\frac{{\partial L}}{{\partial {0}}}",
    Role.FREE: r"\frac{{dL}}{{d{0}}}",
    Role.TANGENT: r"\dot{{{0}}}",
    Role.DIFFERENTIAL: "d{0}",
    Role.SLOPE: "{0}'",
}
MADE_IN_LINE = {**ROLE_TEX, Role.COTANGENT: r"\partial L / \partial {0}", Role.FREE: "dL/d{0}"}


OUTPUT, LOSS = "value", "L"  # what an expression computes in code, and on pages
UPRIGHT = (LOSS, "d")  # numbers and entries of this name, on pages, whose loss and whose differentials are slanted


@dataclass(frozen=True)
class SymbolRow:
    """What a symbol is called for: its family, a number and a letter; of a part of a formula, which function it is.

    A part has the number of the symbol that it is a part of, and a letter if it is not the first.
    """

    family: Family
    number: int | None = None
    letter: str = ""
    function: str = ""

    @property
    def layer(self) -> int:
        """0 of what is in none."""
        return self.number or 0 if self.family.in_layers else 0

    def written(self, letters: str, number: object = None) -> str:
        """With other letters, and another number."""
        number = self.number if number is None else number
        return f"{letters}{'' if number is None else number}{self.letter}"


@dataclass(frozen=True)
class Notation:
    """The names of a program's symbols; this one takes them as they come.

    The name of a symbol that is made of another has in it what no name of a person's has: an input may be called grad_W
    or diff_X. `taken` are the inputs, whose names code keeps.
    """

    taken: frozenset[str] = frozenset()
    roles: ClassVar[dict[str, tuple[Role, str]]] = {}  # of what is made of another, and the name of that
    rows: ClassVar[dict[str, SymbolRow]] = {}  # of what is made of none, and not called by a person
    unnamed: ClassVar[str] = "M"  # what a matrix is called that nobody has named

    def role(self, name: str) -> tuple[Role | None, str]:
        """What the symbol is of another, and the other's name; of none, None and its own."""
        return self.roles.get(name, (None, name))

    def made(self, role: Role, symbol: MatrixSymbol) -> MatrixSymbol:
        """The symbol that is this of another; it has the other's shape."""
        return MatrixSymbol(self.name_of(role, symbol.name), *symbol.shape)

    def name_of(self, role: Role, other: str) -> str:
        name = f"{role}{BETWEEN}{other}"
        self.roles[name] = role, other
        return name

    def numbered(self, stem: str, number: int | None = None) -> str:
        """The name of a symbol that is made."""
        return stem if number is None else f"{stem}{number}"

    def row(self, name: str) -> SymbolRow:
        """What is known of a symbol, or of what it is made of; what a person has named is called that."""
        role, other = self.role(name)
        return self.row(other) if role else self.rows.get(name) or SymbolRow(Family(name, name, name))

    def kind(self, name: str) -> SymbolKind:
        """What the symbol is in a network; OTHER in an expression, and of what is made of another symbol."""
        return SymbolKind.OTHER if self.role(name)[0] else self.row(name).family.kind

    def layer(self, name: str) -> int:
        """The layer that a symbol, or what it is made of, belongs to; 0 where it belongs to none."""
        return self.row(name).layer

    def function(self, name: str) -> str:
        """The function that the symbol is a value of, as a part of a long formula; empty where it is none."""
        return "" if self.role(name)[0] else self.row(name).function

    def torch(self, name: str) -> str:
        role, other = self.role(name)
        if role is None:
            row = self.row(name)
            return row.written(row.family.torch)
        made = f"{role}_{self.torch(other)}"
        while made in self.taken:
            made += "_"
        return made

    def latex(self, name: str, in_line: bool = False, bold: bool = True) -> str:
        """A symbol, bold as matrices are; a cotangent as the partial derivative that it is, a differential with a d.

        `in_line` is for a line of text: partial derivatives with a slash.
        """
        role, other = self.role(name)
        if role is not None:
            return (MADE_IN_LINE if in_line else ROLE_TEX)[role].format(self.latex(other, in_line, bold))
        letters, index = self.sign(name) if bold else self.thin(name)
        return (rf"\boldsymbol{{{letters}}}" if bold else letters) + (f"_{{{index}}}" if index else "")

    def thin(self, name: str) -> tuple[str, str]:
        """The letters and the index of a number, or of the entries of a matrix."""
        letters, index = self.sign(name)
        return rf"\mathrm{{{letters}}}" if letters in UPRIGHT and name in self.taken else letters, index

    def function_sign(self, function: str) -> str | None:
        """A function's sign, if it has one that no input has."""
        sign = FUNCTION_SIGNS.get(function)
        return None if sign in {self.sign(name)[0] for name in self.taken} else sign

    def sign(self, name: str) -> tuple[str, str]:
        """The letters of a symbol in LaTeX, without bold, and its index."""
        stem, index = self.stem(name)
        if stem in GREEK and stem != "pi":
            return rf"\{stem}", index
        return stem if len(stem) == 1 else rf"\mathrm{{{stem}}}".replace("_", r"\_"), index

    def stem(self, name: str) -> tuple[str, str]:
        """What a symbol is called on pages, a letter, a Greek letter's name or a word, and its index.

        All of the name is a word where another input, or an identity, would be called the same.
        """
        if name == OUTPUT and OUTPUT not in self.taken:
            return LOSS, ""
        stem, index = parted(name)
        others = {part for other in self.taken if other != name for part in (parted(other), (other, ""))}
        clash = (stem == "I" and index) or (f"{stem}{index}" != name and (stem, index) in others)
        return (name, "") if clash else (stem, index)

    def meaning(self, name: str) -> str:
        """What a symbol is, and what is said of it beside."""
        return ", ".join(filter(None, (self.title(name), self.remark(name))))

    def title(self, name: str) -> str:
        """What a symbol is, in a few words."""
        role, other = self.role(name)
        if role is Role.TANGENT:
            return f"tangent of {self.torch(other)}"
        if role is Role.FREE:
            return f"gradient in the free entries of {other}"
        row = self.row(name)
        return f"dL/d{other}" if role is Role.COTANGENT else name if role else row.family.title.format(layer=row.layer)

    def remark(self, name: str) -> str:
        """What is said beside, as how a symbol is stored; mostly nothing."""
        row = self.row(name)
        return "" if self.role(name)[0] else row.family.remark.format(layer=row.layer)

    def cotangent(self, variable: MatrixSymbol) -> MatrixSymbol:
        """The symbol of dL/dvariable."""
        if self.kind(variable.name) is SymbolKind.PRE_ACTIVATION:
            return MatrixSymbol(self.numbered("Delta", self.layer(variable.name)), *variable.shape)
        return self.made(Role.COTANGENT, variable)

    def tangent(self, variable: MatrixSymbol) -> MatrixSymbol:
        """The symbol of the variable's directional derivative."""
        return self.made(Role.TANGENT, variable)

    def differential(self, variable: MatrixSymbol) -> MatrixSymbol:
        """The symbol of a small change of the variable."""
        return self.made(Role.DIFFERENTIAL, variable)

    def moved(self, name: str, by: int) -> str:
        """The name of the same in the layer that is so many further; the inputs are the activation of layer 0."""
        role, other = self.role(name)
        if role is not None:
            return self.name_of(role, self.moved(other, by))
        row = self.row(name)
        if row.family.kind is SymbolKind.INPUTS:
            return self.numbered("A", by)
        return self.numbered(row.family.letter, row.layer + by) if row.layer else name

    def is_differential(self, name: str) -> bool:
        """Whether the symbol is written at the end of a product: what stands behind a d would seem to belong to it."""
        return self.role(name)[0] is Role.DIFFERENTIAL

    def is_cotangent(self, name: str) -> bool:
        """Whether the symbol is written in front of a product: a cotangent, which an error is, or a tangent."""
        return self.role(name)[0] in (Role.COTANGENT, Role.TANGENT) or self.kind(name) is SymbolKind.ERROR


@dataclass(frozen=True)
class NetworkNotation(Notation):
    """Layers are subscripts; dL/dZ has a name of its own, Delta, as in every textbook.

    `any_layer` is the layer that is written l, and others by their distance from it: l-1, l+1.
    """

    any_layer: int = 0
    rows: ClassVar[dict[str, SymbolRow]] = {}
    unnamed = "Q"

    def numbered(self, stem: str, number: int | None = None, letter: str = "", function: str = "") -> str:
        """A name, of which it is known from then on what it is."""
        known = (family for family in FAMILIES if family.letter == stem)
        family = next(known, Family(stem, stem, "part of the next formula"))
        row = SymbolRow(family, number, letter, function)
        name = row.written(stem)
        if self.rows.setdefault(name, row) != row:
            raise ValueError(f"{name} is {self.rows[name]}, and cannot be {row}")
        return name

    def part(self, function: str, of: str, taken: set[str]) -> str:
        """A name, which is added to those that are taken, for a part of the formula of another symbol."""
        number = self.row(of).number
        stem = function if number is not None else f"{function}_{self.torch(of).lower()}"
        letters = ("".join(word) for length in count(1) for word in product(ascii_lowercase, repeat=length))
        names = (self.numbered(stem, number, letter, function) for letter in chain([""], islice(letters, 1, None)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        return name

    def stem(self, name: str) -> tuple[str, str]:
        row = self.row(name)
        further = row.layer - self.any_layer
        relative = (f"l{further:+}" if further else "l") if self.any_layer and row.layer else None
        return row.family.letter, row.written("", relative)


def parted(name: str) -> tuple[str, str]:
    """The letters of a name and the number behind them.

    Raises ValueError for a name that is no plain identifier: in LaTeX it could be a command.
    """
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*?)_?(\d*)", name, re.ASCII)
    if match is None:
        raise ValueError(f"{name!r}: a name on a page must be letters, digits and underscores, as W1")
    return ("lambda" if match[1] in LAMBDAS else match[1]), match[2]


PLAIN = Notation()
NETWORK = NetworkNotation()


def unused(names: Iterable[str], taken: Iterable[Basic]) -> Iterator[str]:
    """Those of the names that none of these symbols has."""
    found = {getattr(symbol, "name", None) for symbol in taken}
    return (name for name in names if name not in found)


def is_number(expr: Expr) -> bool:
    """Whether the value is one number for the whole batch: no entry of a matrix is in it, only sizes may be."""
    return all(symbol.is_integer for symbol in expr.free_symbols)


def subtracted(expr: Expr) -> tuple[dict[Expr, list[Expr]], list[Expr]]:
    """What variables leave of each other, by the number that it is times, and the other terms: 3 (p - y) + 1.

    Where p and y are near each other and far from 0, p + 1 - y and 3 p - 3 y would be rounded before they are.
    """
    terms = sorted(Add.make_args(expr), key=lambda t: (t.could_extract_minus_sign(), not t.is_number))
    groups: dict[Expr, list[Expr]] = {}
    for number, variable in (term.as_coeff_Mul() for term in terms):
        if variable.is_Symbol and not is_number(variable):
            groups.setdefault(abs(number), []).append(variable if number.is_positive else -variable)
    found = {size: group for size, group in groups.items() if group[0].is_Symbol and not group[-1].is_Symbol}
    apart = {size * variable for size, group in found.items() for variable in group}
    return found, [term for term in terms if term not in apart]


def ordered_terms(expr: Expr) -> list[Expr]:
    """The terms of a sum in the order in which people write them: 1 - a, p - y + 1."""
    found, others = subtracted(expr)
    return [*(size * variable for size, group in found.items() for variable in group), *others]


def factors(expr: Expr, notation: Notation) -> list[Expr]:
    """The factors of a product in the order in which autograd multiplies: number, cotangent, sums, then the rest.

    On a page, a differential is the last, and the others stand as beside the cotangent.
    """

    def rank(factor: Expr) -> int:
        base = factor.base if isinstance(factor, Pow) else factor
        if isinstance(base, Symbol) and notation.is_differential(base.name):
            return 5
        if not any(s.is_real and not s.is_integer for s in factor.free_symbols):
            return 0
        if isinstance(base, Symbol) and notation.is_cotangent(base.name):
            return 1
        if isinstance(base, Symbol) and notation.function(base.name) in ("sigmoid", "exp"):
            return 2  # which may be 0 where a product of the others would be beyond all numbers
        return 3 if isinstance(base, Add if along else Symbol) else 4

    parts = Mul.make_args(expr)
    names = [part.name for part in parts if isinstance(part, Symbol)]
    along = any(notation.is_cotangent(name) or notation.is_differential(name) for name in names)
    return sorted(parts, key=rank)
