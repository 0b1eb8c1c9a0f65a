"""Typed text as a matrix expression: tr((Y - U*V')'*(Y - U*V')), read against a list of what is allowed, never run.

' or .T is a transpose, * a product, .* and ./ and .^ act entry by entry, ^ is a power. A name with a capital first is a
matrix, another a column, unless its shape is given; what is not known of shapes follows from what agrees. A name that
shapes have for a size is that number.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sympy import (
    Expr,
    Identity,
    Integer,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Rational,
    Symbol,
    Trace,
    ZeroMatrix,
    pi,
    symbols,
)
from sympy.matrices.exceptions import NonInvertibleMatrixError

from derive.formulas import ELEMENTWISE, check_count
from derive.matrix_words import (
    MADE_OF_MATRICES,
    MADE_OF_NUMBERS,
    MATRIX_FUNCTIONS,
    NO_SUCH_SIGN,
    NOT_TYPED,
    entry_by_entry_of,
    instead,
)

TYPED_NUMBER = r"(?:\d+(?:\.(?![/^]|\*(?!\*))\d*)?|\.\d+)(?:[eE][-+]?\d+)?"  # in 2./x the point is of what comes behind
TEXT_TOKEN = re.compile(rf"\s*(?:({TYPED_NUMBER})|([A-Za-z]\w*)|(\.\*|\./|\.\^|\*\*|\.T\b|[-+*/^@'(),]))")
LONGEST_TEXT, DEEPEST_TEXT = 2000, 60
SIZE_LETTERS = "nmkpqrlhgcdefabstuvwxyzij"
TypedSize = int | str  # a number or a name
TypedShape = tuple["Dimension", "Dimension"]


@dataclass
class Dimension:
    """A number of rows or columns; two that must agree point to one."""

    size: TypedSize | None = None
    same: "Dimension | None" = None

    def root(self) -> "Dimension":
        return self if self.same is None else self.same.root()


@dataclass
class TextNode:
    """A part of the text; of a number the shape is None. `children` come before it."""

    kind: str
    shape: Any  # a Shape, or None
    children: list["TextNode"] = field(default_factory=list)
    value: str = ""

    @property
    def single(self) -> bool:
        """Whether it is one number."""
        return self.shape is None or all(side.root().size == 1 for side in self.shape)


MINUS_BINDS, POWER_BINDS = 3, 4
BINARY = {  # how tightly they bind
    **{"+": 1, "-": 1, "*": 2, "@": 2, "/": 2, ".*": 2, "./": 2},
    **dict.fromkeys(("^", "**", ".^"), POWER_BINDS),
}


def parsed(
    text: str, shapes: dict[str, tuple[TypedSize, ...]], square: Collection[str] = ()
) -> tuple[Expr, dict[str, Expr]]:
    """The expression, and each name in it as the symbol that it is, a matrix of `square` with as many columns as rows.

    Raises ValueError that says where the text is not allowed, or which shapes do not agree.
    """
    if len(text) > LONGEST_TEXT or not text.isascii() or not text.isprintable():
        other = next((f"{c} is not; " for c in text if not c.isascii()), "")
        raise ValueError(
            f"expected an expression of at most {LONGEST_TEXT} plain characters; {other}' is the transpose, ^ a power"
        )
    try:
        return read_whole(TextReader(text, shapes, square))
    except ValueError as error:
        names = dict.fromkeys(re.findall(r"\b[a-z]\w*\b(?! *\()", text))
        numbers = [name for name in names if shapes.get(name) is None and is_number_with(name, text, shapes)]
        hint = f"; --shape {numbers[0]}= makes {numbers[0]} a number, and then it is one" if numbers else ""
        if isinstance(error, NonInvertibleMatrixError):
            hint = " What an inverse is taken of has none, whatever the entries are"
        raise ValueError(f"{error}{hint}") from None


def is_number_with(name: str, text: str, shapes: dict[str, tuple[TypedSize, ...]]) -> bool:
    """Whether the text is a number once this name is one."""
    try:
        read_whole(TextReader(text, {**shapes, name: ()}))
    except ValueError:
        return False
    return True


def read_whole(reader: "TextReader") -> tuple[Expr, dict[str, Expr]]:
    if not reader.tokens:
        raise ValueError("expected an expression, as tr(A'*X)")
    node = reader.read(0, 0)
    if reader.tokens:
        raise ValueError(f"not expected here: {reader.tokens[0]}; {reader.rest()}{reader.product_hint()}")
    made = Maker(reader.names)
    loss = made.of(node)
    if isinstance(loss, MatrixExpr):
        raise ValueError(f"it is a matrix {loss.shape}; tr(...), sum(...) or norm(...)^2 of it is a number")
    unknown = sorted(reader.shapes.keys() - reader.names.keys() - reader.sizes)
    if unknown:
        raise ValueError(f"{unknown[0]}: a shape is given for it, but it is not in the expression")
    return loss, made.symbols


class TextReader:
    """Reads tokens into nodes, from the left, what binds more tightly first."""

    def __init__(self, text: str, shapes: dict[str, tuple[TypedSize, ...]], square: Collection[str] = ()) -> None:
        self.tokens: list[str] = []
        place = 0
        while text[place:].strip():
            match = TEXT_TOKEN.match(text, place)
            if match is None:
                rest = text[place:].strip()
                raise ValueError(f"not allowed here: {rest[:20]}; {NOT_TYPED.get(rest[0], NO_SUCH_SIGN)}")
            self.tokens.append("0" * bool(match[1] and match[1][0] == ".") + match[0].strip())
            place = match.end()
        self.shapes, self.square = shapes, square
        self.sizes = {size for shape in shapes.values() for size in shape if isinstance(size, str)}
        self.names: dict[str, TypedShape | None] = {}

    def rest(self) -> str:
        return f"at {' '.join(self.tokens[:6])!r}" if self.tokens else "at the end"

    def take(self, wanted: str = "") -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise ValueError(f"expected {wanted or 'a number, a name or a bracket'} {self.rest()}{self.product_hint()}")
        return self.tokens.pop(0)

    def product_hint(self) -> str:
        """What is missing where a factor stands behind another."""
        factor = bool(self.tokens) and (self.tokens[0][0].isalnum() or self.tokens[0] == "(")
        return "; between factors there is a *" if factor else ""

    def read(self, least: int, depth: int) -> TextNode:
        if depth > DEEPEST_TEXT:
            raise ValueError(f"nested more than {DEEPEST_TEXT} deep")
        if self.tokens and self.tokens[0] in ("-", "+"):
            sign = self.take()
            inner = self.read(MINUS_BINDS, depth + 1)
            left = TextNode("negative", inner.shape, [inner]) if sign == "-" else inner
        else:
            left = self.one(depth + 1)
        while self.tokens and BINARY.get(self.tokens[0], -1) >= max(least, 1):
            operator = self.take()
            level = BINARY[operator]
            right = self.exponent(depth + 1) if level == POWER_BINDS else self.read(level + 1, depth + 1)
            left = binary({"**": "^", "@": "*"}.get(operator, operator), left, right)
        return left

    def exponent(self, depth: int) -> TextNode:
        sign = self.take() if self.tokens[:1] in (["-"], ["+"]) else ""
        node = self.one(depth)
        if self.tokens and BINARY.get(self.tokens[0]) == POWER_BINDS:
            raise ValueError("a^b^c is (a^b)^c to some and a^(b^c) to others: brackets say which")
        return TextNode("negative", node.shape, [node]) if sign == "-" else node

    def one(self, depth: int) -> TextNode:
        token = self.take()
        if token == "(":
            node = self.read(0, depth)
            self.take(")")
        elif token[0].isdigit():
            node = TextNode("constant", None, value=token)
        elif token[0].isalpha() and self.tokens[:1] == ["("]:
            node = self.call(token, depth)
        elif token[0].isalpha():
            node = self.named(token)
        else:
            raise ValueError(f"not expected here: {token} {self.rest()}")
        while self.tokens and self.tokens[0] in ("'", ".T"):
            self.take()
            node = TextNode("transpose", node.shape and node.shape[::-1], [node])
        return node

    def named(self, name: str) -> TextNode:
        if self.tokens and self.tokens[0][0].isalnum() and (name in MATRIX_FUNCTIONS or name in ELEMENTWISE):
            raise ValueError(f"{name}: what it is of stands in brackets, {name}(...)")
        if name in self.sizes and not self.shapes.get(name):
            return TextNode("size", None, value=name)
        if name not in self.names:
            given = self.shapes.get(name)
            if given is not None:
                sizes = tuple(Dimension(size) for size in given)
                shape = None if not sizes else (sizes[0], sizes[1] if len(sizes) > 1 else Dimension(1))
            elif name == "pi":
                return TextNode("constant", None, value="pi")
            elif name in ("I", "eye"):
                side = Dimension()
                return TextNode("identity", (side, side))
            elif name in ("ones", "zeros"):
                return TextNode(name, (Dimension(), Dimension()))
            else:
                rows = Dimension()
                matrix = rows if name in self.square else Dimension()
                shape = (rows, matrix if name[0].isupper() else Dimension(1))
            self.names[name] = shape
        return TextNode("name", self.names[name], value=name)

    def call(self, name: str, depth: int) -> TextNode:
        self.take("(")
        arguments = [self.read(0, depth)]
        while self.tokens and self.tokens[0] == ",":
            self.take()
            arguments.append(self.read(0, depth))
        self.take(")")
        first = arguments[0]
        if name == "kron" and len(arguments) == 2:
            if any(argument.single for argument in arguments):
                return binary("*", *arguments)
            shape = tuple(map(product_of_sizes, *(argument.shape for argument in arguments)))
            return TextNode("kron", shape, arguments)
        if name in MATRIX_FUNCTIONS and len(arguments) == 1 and first.shape is not None:
            kind, _ = MATRIX_FUNCTIONS[name]
            rows, columns = first.shape
            vector = kind == "diagonal" and 1 in (rows.root().size, columns.root().size)
            if "square" in kind or (kind == "diagonal" and not vector):
                unify(rows, columns, f"{name} needs a square matrix")
            one = Dimension(1)
            side = columns if rows.root().size == 1 else rows
            shape = {
                "column": (rows, one),
                "row": (one, columns),
                "turned": (columns, rows),
                "diagonal": (side, side if vector else one),
            }.get(kind, first.shape)
            return TextNode("matrix function", None if kind.startswith("number") else shape, [first], name)
        if name in ELEMENTWISE and name != "where":
            check_count(name, len(arguments))
            matrices = [argument for argument in arguments if not argument.single] or arguments[:1]
            for other in matrices[1:]:
                for side, same in zip(matrices[0].shape, other.shape, strict=True):
                    unify(side, same, f"{name} needs one shape")
            return TextNode("elementwise", matrices[0].shape, arguments, name)
        raise ValueError(f"{name}: {instead(name, len(arguments))}")


def unify(left: Dimension, right: Dimension, why: str) -> None:
    """Makes two sizes one."""
    left, right = left.root(), right.root()
    if left is right:
        return
    if None not in (left.size, right.size) and left.size != right.size:
        raise ValueError(f"{why}: {left.size} and {right.size} do not agree")
    left.size = left.size if left.size is not None else right.size
    right.same = left


def product_of_sizes(left: Dimension, right: Dimension) -> Dimension:
    """The product of two sizes, as far as they are known."""
    one, other = left.root().size, right.root().size
    if 1 in (one, other):
        return right if one == 1 else left
    return Dimension(one * other if isinstance(one, int) and isinstance(other, int) else None)


def binary(operator: str, left: TextNode, right: TextNode) -> TextNode:
    if operator in (".*", "./") and left.single != right.single:
        if operator == "./" and left.single:
            right = TextNode("entry power", right.shape, [right, TextNode("constant", None, value="-1")])
        operator = "/" if operator == "./" and right.single else "*"
    if operator in ("*", "/"):
        return product_of_nodes(left, right) if operator == "*" else divided(left, right)
    if operator == "^":
        return to_a_power(left, right)
    if operator == ".^":
        if not right.single:
            raise ValueError(".^ needs a number as the exponent; exp(B.*log(A)) is A.^B where A is positive")
        return TextNode("entry power", left.shape, [left, right])
    if left.single and right.single:
        return TextNode(operator, None, [left, right])
    if left.single or right.single:
        number = "a number" if operator in "+-" else "a single number"
        raise ValueError(f"{operator}: {number} and a matrix; c*ones adds c to every entry, and * and / scale")
    for one, other in zip(left.shape, right.shape, strict=True):
        unify(one, other, f"{operator} needs one shape")
    return TextNode(operator, left.shape, [left, right])


def product_of_nodes(left: TextNode, right: TextNode) -> TextNode:
    """A number times anything, also where a row and a column make one, or the product of two matrices."""
    of_vectors = left.shape and right.shape and left.shape[1].root().size == 1 == right.shape[0].root().size
    if (left.single or right.single) and not of_vectors:
        other = right if left.single else left
        return TextNode("scaled", None if other.single else other.shape, [left, right])
    if not of_vectors:
        if left.shape[1].root().size == 1 == right.shape[1].root().size and right.shape[0].root().size != 1:
            raise ValueError("* of two columns; x'*y is their number, x*y' a matrix, and x.*y entry by entry")
        unify(left.shape[1], right.shape[0], "a product needs as many columns on the left as rows on the right")
    return TextNode("product", (left.shape[0], right.shape[1]), [left, right])


def divided(left: TextNode, right: TextNode) -> TextNode:
    if not right.single:
        raise ValueError("/ divides by a number; ./ divides entry by entry, and A*inv(B) by a matrix")
    return TextNode("over", None if left.single else left.shape, [left, right])


def to_a_power(left: TextNode, right: TextNode) -> TextNode:
    if not right.single:
        raise ValueError("^ needs a number as the exponent; X' or X.T is the transpose, and exp(x) is e^x")
    if not left.single:
        if any(side.root().size == 1 for side in left.shape):
            raise ValueError("^ of a column or a row; .^ is the power entry by entry, and norm(x)^2 is x'*x")
        unify(left.shape[0], left.shape[1], "^ needs a square matrix; .^ is the power entry by entry")
    return TextNode("power", left.shape, [left, right])


class Maker:
    """Nodes as SymPy, once all shapes are known as far as they will be."""

    def __init__(self, names: dict[str, TypedShape | None]) -> None:
        self.sizes: dict[int, Expr] = {}
        self.taken = set(names)
        self.symbols = {name: self.symbol(name, shape) for name, shape in names.items()}

    def symbol(self, name: str, shape: TypedShape | None) -> Expr:
        return Symbol(name, real=True) if shape is None else MatrixSymbol(name, *map(self.size, shape))

    def size(self, dimension: Dimension, of: str = "") -> Expr:
        """A number of rows or columns; of what is no name it has to agree with something."""
        found = dimension.root()
        if isinstance(found.size, int):
            return Integer(found.size)
        if found.size is None:
            if of:
                raise ValueError(
                    f"{of}: its size follows from nothing here; sum, row_sum and column_sum do without ones"
                )
            free = (letter for letter in SIZE_LETTERS if letter not in self.taken)
            found.size = next(free, f"size{len(self.taken)}")
        self.taken.add(found.size)
        return symbols(found.size, integer=True, positive=True)

    def of(self, node: TextNode) -> Expr:
        """A number where it is one, else a matrix."""
        value = self.made(node)
        return Trace(value) if node.single and isinstance(value, MatrixExpr) else value

    def made(self, node: TextNode) -> Expr:
        if node.kind == "name":
            return self.symbols[node.value]
        if node.kind == "constant":
            return pi if node.value == "pi" else Rational(node.value)
        if node.kind == "size":
            return symbols(node.value, integer=True, positive=True)
        if node.kind == "identity":
            return Identity(self.size(node.shape[0], "I"))
        if node.kind in ("ones", "zeros"):
            constant = OneMatrix if node.kind == "ones" else ZeroMatrix
            return constant(*(self.size(side, node.kind) for side in node.shape))
        if node.kind == "matrix function":
            inner = self.made(node.children[0])
            return MATRIX_FUNCTIONS[node.value][1](inner if isinstance(inner, MatrixExpr) else inner * Identity(1))
        values = [self.of(child) for child in node.children]
        if node.kind in ("product", "kron"):
            values = [self.made(child) for child in node.children]
        made = made_of(node, values)
        if node.kind == "kron" and isinstance(made, MatrixExpr):
            for side, size in zip(node.shape, made.shape, strict=True):
                if side.root().size is not None and self.size(side) != size:
                    raise ValueError(f"kron: {side.root().size} rows or columns are needed, and it has {size}")
        return made


def made_of(node: TextNode, values: list[Expr]) -> Expr:
    if node.kind == "elementwise":
        return entry_by_entry_of(ELEMENTWISE[node.value], values)
    made = MADE_OF_MATRICES if isinstance(values[0], MatrixExpr) else MADE_OF_NUMBERS
    return made[node.kind](*values)
