"""The mutants of a source: what a slip of the pen would have left there.

mutmut's operators (numbers, strings, arguments, operators, comparisons, conditions), and beside them the slips that
formulas invite: transposes, layers, axes, a mean for a sum, swapped operands, statements and elements left out.
Prose (docstrings, help texts), annotations, decorators and `strict=`, which only asserts, are left as they are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

PROSE = {"help", "description", "metavar", "strict"}
SKIPPED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Pass)
PAIRS = [
    *[("sum", "mean"), ("min", "max"), ("minimum", "maximum"), ("any", "all"), ("add", "sub"), ("mul", "add")],
    *[("sigmoid", "tanh"), ("sin", "cos"), ("exp", "expm1"), ("float32", "float64")],
    *[("new_ones", "new_zeros"), ("ones_like", "zeros_like")],
]
OTHER_NAME = {b: a for a, b in PAIRS} | dict(PAIRS)
COMMUTING = ("mul", "addcmul_", "max", "min")
NOT_COMMUTING = (cst.Subtract, cst.Divide, cst.FloorDivide, cst.Power, cst.MatrixMultiply, cst.Modulo)


def transpose_left_out(node: cst.Attribute) -> Iterator[cst.BaseExpression]:
    if node.attr.value == "T":
        yield node.value


def transpose_added(node: cst.BinaryOperation) -> Iterator[cst.BaseExpression]:
    if isinstance(node.operator, cst.MatrixMultiply):
        for side in ("left", "right"):
            operand = getattr(node, side)
            if not isinstance(operand, cst.Attribute):
                yield node.with_changes(**{side: cst.Attribute(atom(operand), cst.Name("T"))})


def operands_swapped(node: cst.BinaryOperation) -> Iterator[cst.BaseExpression]:
    if isinstance(node.operator, NOT_COMMUTING):
        yield node.with_changes(left=atom(node.right), right=atom(node.left))


def entries_for_matrices(node: cst.BinaryOperation) -> Iterator[cst.BaseExpression]:
    if isinstance(node.operator, cst.MatrixMultiply):
        yield node.with_changes(operator=cst.Multiply())


def one_less(node: cst.Integer) -> Iterator[cst.BaseExpression]:
    if node.evaluated_value > 0:
        yield node.with_changes(value=str(node.evaluated_value - 1))


def other_name(node: cst.Name) -> Iterator[cst.BaseExpression]:
    if node.value in OTHER_NAME:
        yield node.with_changes(value=OTHER_NAME[node.value])
    if re.fullmatch(r"[a-z]\w*[a-z]_", node.value):
        yield node.with_changes(value=node.value[:-1])


def call_left_out(node: cst.Call) -> Iterator[cst.BaseExpression]:
    if isinstance(node.func, cst.Attribute):
        if not node.args:
            yield node.func.value
        elif len(node.args) == 1 and not node.args[0].star and node.args[0].keyword is None:
            yield atom(node.args[0].value)


def arguments_swapped(node: cst.Call) -> Iterator[cst.BaseExpression]:
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    commutes = isinstance(name, cst.Name) and name.value in COMMUTING
    for i in range(0 if commutes else len(node.args) - 1):
        first, second = node.args[i : i + 2]
        if not (first.star or second.star or first.keyword or second.keyword):
            swapped = [first.with_changes(value=second.value), second.with_changes(value=first.value)]
            yield node.with_changes(args=[*node.args[:i], *swapped, *node.args[i + 2 :]])


def condition_decided(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    for value in ("True", "False") if isinstance(node, cst.If) else ("False",):
        yield node.with_changes(test=cst.Name(value))


def filter_left_out(node: cst.CompFor) -> Iterator[cst.CSTNode]:
    for i in range(len(node.ifs)):
        yield node.with_changes(ifs=[*node.ifs[:i], *node.ifs[i + 1 :]])


def element_left_out(node: cst.List | cst.Tuple | cst.Set | cst.Dict) -> Iterator[cst.CSTNode]:
    if len(node.elements) > 1:
        for i in range(len(node.elements)):
            kept = [*node.elements[:i], *node.elements[i + 1 :]]
            if isinstance(node, cst.Tuple) and len(kept) == 1:
                kept = [kept[0].with_changes(comma=cst.Comma())]
            yield node.with_changes(elements=kept)


def bound_left_out(node: cst.Slice) -> Iterator[cst.CSTNode]:
    for bound in ("lower", "upper", "step"):
        given = getattr(node, bound)
        if given is not None and not (isinstance(given, cst.Integer) and given.value == "0"):
            yield node.with_changes(**{bound: None})


def statement_left_out(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    statement = node.body[0]
    changes_state = isinstance(statement, cst.Assign) and not isinstance(statement.targets[0].target, cst.Name)
    if isinstance(statement, cst.Raise | cst.AugAssign | cst.Expr) or changes_state:
        yield node.with_changes(body=[cst.Pass()])
    elif isinstance(statement, cst.Return) and statement.value is not None:
        yield node.with_changes(body=[cst.Return()])


def is_said(argument: cst.Arg) -> bool:
    return argument.keyword is not None and argument.keyword.value in PROSE


def said(call: cst.Call) -> list[int]:
    """Which arguments are prose; they stay the same objects where a call is changed elsewhere."""
    return [id(argument) for argument in call.args if is_said(argument)]


def atom(node: cst.BaseExpression) -> cst.BaseExpression:
    """In brackets, if it needs them to stand as an operand."""
    plain = isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BaseNumber) or node.lpar
    return node if plain else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def string_changed(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """Of mutmut's three changes of a string the first; the others change its case."""
    yield from list(operator_string(node))[:1]


OPERATORS: list[tuple[type, Callable[..., Iterable[cst.CSTNode]]]] = [
    *[(kind, operator) for kind, operator in mutation_operators if operator is not operator_string],
    (cst.BaseString, string_changed),
    (cst.Attribute, transpose_left_out),
    (cst.BinaryOperation, transpose_added),
    (cst.BinaryOperation, operands_swapped),
    (cst.BinaryOperation, entries_for_matrices),
    (cst.Integer, one_less),
    (cst.Name, other_name),
    (cst.Call, call_left_out),
    (cst.Call, arguments_swapped),
    (cst.If, condition_decided),
    (cst.While, condition_decided),
    (cst.CompFor, filter_left_out),
    *[(kind, element_left_out) for kind in (cst.List, cst.Tuple, cst.Set, cst.Dict)],
    (cst.Slice, bound_left_out),
    (cst.SimpleStatementLine, statement_left_out),
]


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of one source. `lines` are those of the statement that is changed, None outside of functions."""

    path: str
    source: "Source"
    old: cst.CSTNode
    new: cst.CSTNode
    lines: range | None
    line: int

    @property
    def original(self) -> str:
        return self.source.module.code

    @property
    def nodes(self) -> tuple[bytes, bytes]:
        """What is replaced, and by what."""
        return tuple(self.source.module.code_for_node(node).encode() for node in (self.old, self.new))

    @cached_property
    def text(self) -> str:
        module = self.source.module
        if not isinstance(self.old, cst.BaseExpression):
            return module.deep_replace(self.old, self.new).code
        span, code = self.source.spans[self.old], self.source.code
        bare = self.new.with_changes(lpar=[], rpar=[]) if self.old.lpar else self.new
        return (code[: span.start] + module.code_for_node(bare).encode() + code[span.start + span.length :]).decode()

    @cached_property
    def compiles(self) -> bool:
        try:
            compile(self.text, self.path, "exec")
        except SyntaxError:
            return False
        return True

    @cached_property
    def change(self) -> str:
        """The lines that change, old => new, without their indentation."""
        old, new = self.original.splitlines(), self.text.splitlines()
        while old and new and old[-1] == new[-1]:
            old.pop()
            new.pop()
        same = min(len(old), len(new))
        first = next((i for i in range(same) if old[i] != new[i]), same)
        return " => ".join(" ".join(line.strip() for line in side[first:]) for side in (old, new))

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


class Source(cst.CSTVisitor):
    """The mutants of a text, each once."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path = path
        self.functions = 0
        self.statements: list[range] = []
        self.mutants: list[Mutant] = []
        wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
        self.module = wrapper.module
        self.code = text.encode()
        self.spans = wrapper.resolve(ByteSpanPositionProvider)
        self.names = set(re.findall(r"[A-Za-z_]\w*", text))
        wrapper.visit(self)

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.functions += self.is_body(node)
        if isinstance(node, cst.BaseStatement):
            self.statements.append(self.lines_of(node))
        if isinstance(node, SKIPPED) or self.is_prose(node) or self.is_program_start(node):
            return False
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                self.add(node, operator(node))
        if isinstance(node, cst.Name) and self.is_read(node):
            self.add(node, self.other_layers(node))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self.functions -= self.is_body(original_node)
        if isinstance(original_node, cst.BaseStatement):
            self.statements.pop()

    def add(self, node: cst.CSTNode, changed: Iterable[cst.CSTNode]) -> None:
        line = self.get_metadata(PositionProvider, node).start.line
        for new in changed:
            if isinstance(new, cst.Call) and isinstance(node, cst.Call) and said(new) != said(node):
                continue
            lines = self.statements[-1] if self.functions else None
            self.mutants.append(Mutant(self.path, self, node, new, lines, line))

    def other_layers(self, node: cst.Name) -> Iterator[cst.Name]:
        """W2 for W3, where there is a W2."""
        for digits in re.finditer(r"\d+", node.value):
            for number in (int(digits[0]) - 1, int(digits[0]) + 1):
                name = f"{node.value[: digits.start()]}{number}{node.value[digits.end() :]}"
                if name in self.names:
                    yield node.with_changes(value=name)

    def is_read(self, node: cst.Name) -> bool:
        parent = self.get_metadata(ParentNodeProvider, node)
        if isinstance(parent, cst.Arg):
            return parent.keyword is not node
        return not isinstance(parent, cst.Param | cst.AssignTarget | cst.FunctionDef | cst.ClassDef | cst.AnnAssign)

    def is_body(self, node: cst.CSTNode) -> bool:
        """Whether it is executed when a function is called, as its defaults are not."""
        return isinstance(node, cst.Lambda) or (
            isinstance(node, cst.BaseSuite) and isinstance(self.get_metadata(ParentNodeProvider, node), cst.FunctionDef)
        )

    def is_prose(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Arg):
            return is_said(node)
        lone = isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Expr)
        return lone and isinstance(node.body[0].value, cst.BaseString)

    def is_program_start(self, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.If) and self.module.code_for_node(node.test).startswith("__name__")

    def lines_of(self, node: cst.CSTNode) -> range:
        """The lines of a statement, of a compound one those of its head."""
        position = self.get_metadata(PositionProvider, node)
        end = position.end.line
        if isinstance(node, cst.BaseCompoundStatement):
            body = node.cases[0] if isinstance(node, cst.Match) else node.body
            end = max(position.start.line, self.get_metadata(PositionProvider, body).start.line - 1)
        return range(position.start.line, end + 1)


def mutants(path: str, text: str) -> list[Mutant]:
    """All mutants of a source."""
    return Source(path, text).mutants
