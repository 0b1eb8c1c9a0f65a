"""Every symbol once: how code and pages write it, and what it means.

A symbol's name in the derivation is a family and a layer, as Z2. `NETWORK` is the notation of a network; `PLAIN` that
of a matrix expression, whose names belong to the person who wrote it.
"""

import re
from dataclasses import dataclass
from unicodedata import lookup

from sympy import Add, Expr, MatrixSymbol, Mul, Pow, Symbol


@dataclass(frozen=True)
class Family:
    torch: str
    latex: str
    meaning: str


FAMILIES = {
    "X": Family("x", "X", "inputs, one row a sample"),
    "Y": Family("y", "Y", "targets, one row a sample"),
    "W": Family("W", "W", "weights of layer {layer}, as torch.nn.Linear stores them"),
    "b": Family("b", "b", "biases of layer {layer}"),
    "Z": Family("z", "Z", "pre-activation of layer {layer}"),
    "A": Family("a", "A", "activation of layer {layer}"),
    "M": Family("lse", "M", "log of the row sums of exp"),
    "Q": Family("q", "Q", "what logsumexp runs over"),
    "E": Family("e", "E", "loss of each entry"),
    "L": Family("loss", "L", "loss"),
    "Delta": Family("delta", r"\Delta", "error of layer {layer}, dL/dZ{layer}"),
}
_NAME = re.compile(r"((?:dot_)?(?:grad_)?)([A-Za-z_]+?)(?:(\d+)([a-z]*))?")
GREEK = frozenset(
    re.findall(
        r"\w+",
        """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi
        omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega""",
    )
)
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


def _split(name: str) -> list[str]:
    """Prefix, family, layer and letter of a name, each empty where it has none."""
    return [part or "" for part in _NAME.fullmatch(name).groups()]


def greek(name: str) -> str:
    """The letter of that name: Delta and delta differ."""
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    return lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


class Notation:
    """The names of a program's symbols; this one takes them as they come."""

    def torch(self, name: str) -> str:
        return name

    def latex(self, name: str) -> str:
        """A bold symbol; a cotangent is written as the partial derivative that it is, a differential with a d.

        Raises ValueError for a name that is no plain identifier: in LaTeX it could be a command.
        """
        if name.startswith("dot_"):
            return rf"\dot{{{self.latex(name.removeprefix('dot_'))}}}"
        if name.startswith("grad_"):
            return rf"\frac{{\partial L}}{{\partial {self.latex(name.removeprefix('grad_'))}}}"
        if name.startswith("diff_"):
            return f"d{self.latex(name.removeprefix('diff_'))}"
        letters, index = self.sign(name)
        return rf"\boldsymbol{{{letters}}}" + (f"_{{{index}}}" if index else "")

    def sign(self, name: str) -> tuple[str, str]:
        """The letters of a symbol, without bold, and its index."""
        match = re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*?)_?(\d*)", name, re.ASCII)
        if match is None:
            raise ValueError(f"{name!r}: a name on a page must be letters, digits and underscores, as W1")
        stem, index = match.groups()
        if stem in GREEK:
            return rf"\{stem}", index
        return (stem if len(stem) == 1 else rf"\mathrm{{{stem}}}".replace("_", r"\_")), index

    def meaning(self, name: str) -> str:
        if name.startswith("dot_"):
            return f"tangent of {self.torch(name.removeprefix('dot_'))}"
        return f"dL/d{name.removeprefix('grad_')}" if name.startswith("grad_") else name

    def cotangent(self, variable: MatrixSymbol) -> MatrixSymbol:
        """The symbol of dL/dvariable; it has the variable's shape."""
        return MatrixSymbol(f"grad_{variable.name}", *variable.shape)

    def tangent(self, variable: MatrixSymbol) -> MatrixSymbol:
        """The symbol of the variable's directional derivative; it has the variable's shape."""
        return MatrixSymbol(f"dot_{variable.name}", *variable.shape)

    def is_cotangent(self, name: str) -> bool:
        """Whether the symbol is written in front of a product: a cotangent, a tangent, or a differential on a page."""
        return name.startswith(("grad_", "dot_", "diff_"))


class NetworkNotation(Notation):
    """Layers are subscripts; dL/dZ has a name of its own, Delta, as in every textbook."""

    def torch(self, name: str) -> str:
        prefix, family, layer, letter = _split(name)
        known = FAMILIES[family].torch if family in FAMILIES else family
        return f"{prefix}{known}{layer}{letter}"

    def latex(self, name: str) -> str:
        return "L" if name == "L" else super().latex(name)

    def sign(self, name: str) -> tuple[str, str]:
        _, family, layer, letter = _split(name)
        if family not in FAMILIES:
            return rf"\mathrm{{{family}}}".replace("_", r"\_"), layer + letter
        return FAMILIES[family].latex, layer

    def meaning(self, name: str) -> str:
        if name.startswith(("grad_", "dot_")):
            return super().meaning(name)
        _, family, layer, _ = _split(name)
        if family not in FAMILIES:
            return "part of the next formula"
        return FAMILIES[family].meaning.format(layer=layer)

    def cotangent(self, variable: MatrixSymbol) -> MatrixSymbol:
        if variable.name.startswith("Z"):
            return MatrixSymbol("Delta" + variable.name[1:], *variable.shape)
        return super().cotangent(variable)

    def is_cotangent(self, name: str) -> bool:
        return super().is_cotangent(name) or name.startswith("Delta")


PLAIN = Notation()
NETWORK = NetworkNotation()


def is_number(expr: Expr) -> bool:
    """Whether the value is one number for the whole batch: no entry of a matrix is in it, only sizes may be."""
    return all(symbol.is_integer for symbol in expr.free_symbols)


def terms(expr: Expr) -> list[Expr]:
    """The terms of a sum in the order in which people write them: 1 - a, p - y."""
    return sorted(Add.make_args(expr), key=lambda t: (t.could_extract_minus_sign(), not t.is_number))


def factors(expr: Expr, notation: Notation) -> list[Expr]:
    """The factors of a product in the order in which autograd multiplies: number, cotangent, sums, then the rest."""

    def rank(factor: Expr) -> int:
        base = factor.base if isinstance(factor, Pow) else factor
        if not any(s.is_real and not s.is_integer for s in factor.free_symbols):
            return 0
        if isinstance(base, Symbol) and notation.is_cotangent(base.name):
            return 1
        if has_cotangent:
            return 2 if isinstance(base, Add) else 3
        return 2 if isinstance(base, Symbol) else 3

    parts = Mul.make_args(expr)
    has_cotangent = any(isinstance(p, Symbol) and notation.is_cotangent(p.name) for p in parts)
    return sorted(parts, key=rank)
