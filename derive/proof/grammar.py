"""What emitted source may say, which is held before any of it runs.

What a template says of itself - imports, constants, classes, checks, loops over chunks - must be there word for word.
What is derived, the bodies of the functions in DERIVED, may say anything that is a straight line of calls in the
stand-in's tables: names are given to sums, products and calls of what was named before. No branch, loop, comparison
outside of torch.where, conversion, definition, module state, or attribute but those listed is among them, and rows are
never counted: their number is divided by, or is a size. So a line does with many rows what it does with three, and none
can reach what it was not given.
"""

import ast
from collections.abc import Iterable

from derive.backends import ANYWHERE, OF_MATRICES, ON_BUFFERS, WORDS
from derive.problems import ANEW
from derive.proof.certificate import NotProved
from derive.proof.stand_in import MATH, MATRICES, TORCH_BY_PATH

DERIVED = (
    *("forward", "value_and_grad", "input_grad", "per_sample_grad", "jvp", "hvp"),
    *("penalty_and_grad", "penalty_hvp"),
)
DERIVED_METHODS = ("_make_rows", "_make_each", "_make_hvp")
ALLOWED_METHODS = {
    lines: {word.path for word in WORDS if word.lines == lines and word.path and "." not in word.path}
    for lines in (ANYWHERE, OF_MATRICES, ON_BUFFERS)
}
ALLOWED_METHODS[ON_BUFFERS] |= {f"{word.function}_" for word in WORDS if word.in_place}
OWNED = {
    "flat_gradient",
    "_loss",
    "_point",
    *(f"_{of}_blocks" for of in ("parameter", "gradient", "direction", "product")),
}
SHAPED = {word.path for word in WORDS if word.shaped}  # take the number of rows
OUTS, SCALES = {"out", "grad_input"}, {"alpha", "beta", "value"}
ARITHMETIC_NODES = ast.Add | ast.Sub | ast.Mult | ast.MatMult
COMPARISON_NODES = ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.Eq | ast.NotEq
NEVER_ASSIGNED = {"torch", "math", "len", "_blocks", "Parameters", "Gradients"}
MOST = 1000  # of an exponent


class Unknown(Exception):
    """A node, and what is wrong with it."""


def check_grammar(source: str, model: str, filename: str) -> None:
    """Passes where the source is the model but for derived lines, which are lines of the grammar.

    Raises NotProved with file, line and what stands there otherwise.
    """
    try:
        same_text(ast.parse(source, filename).body, ast.parse(model).body, DERIVED)
    except Unknown as error:
        node, why = error.args
        raise NotProved(f"{filename}:{node.lineno}: {beginning_of(node)}: {why}; {ANEW}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotProved(f"{filename}: {error}; {ANEW}") from None


def beginning_of(node: ast.AST) -> str:
    """The beginning of what stands there."""
    return ast.unparse(node).strip().splitlines()[0][:60]


def same_text(body: list[ast.stmt], model: list[ast.stmt], derived: tuple[str, ...]) -> None:
    """Statement by statement the same, but for the lines of derived functions."""
    for node, wanted in zip(body, model, strict=False):
        if (
            isinstance(wanted, ast.FunctionDef)
            and wanted.name in derived
            and isinstance(node, ast.FunctionDef)
            and node.name == wanted.name
        ):
            same_head(node, wanted)
            DerivedLines(wanted, derived is DERIVED_METHODS).check(node.body)
        elif isinstance(wanted, ast.ClassDef) and isinstance(node, ast.ClassDef):
            same_head(node, wanted)
            same_text(node.body, wanted.body, DERIVED_METHODS)
        elif ast.dump(node) != ast.dump(wanted):
            raise Unknown(node, f"the template has {beginning_of(wanted)}")
    if len(body) > len(model):
        raise Unknown(body[len(model)], "the template has no such line")
    if len(body) < len(model):
        raise Unknown(model[len(body)], "only the template has this")


def same_head(node: ast.ClassDef | ast.FunctionDef, wanted: ast.ClassDef | ast.FunctionDef) -> None:
    """The same but for what is inside."""
    one, other = (ast.dump(type(part)(**{**dict(ast.iter_fields(part)), "body": []})) for part in (node, wanted))
    if one != other:
        raise Unknown(node, "the template defines it otherwise")


def checks(model: list[ast.stmt]) -> int:
    """How many statements come before the derived lines: docstring and checks of what is given."""

    def is_check(node: ast.stmt) -> bool:
        called = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        return docstring or isinstance(node, ast.If) or any(ast.unparse(name).startswith("_check") for name in called)

    return max((place for place, node in enumerate(model, 1) if is_check(node)), default=0)


class RightSides:
    """What stands on the right in the lines of a derived function, whose head the model has."""

    def __init__(self, model: ast.FunctionDef, fast: bool) -> None:
        self.model, self.fast, self.is_step = model, fast, model.name == "step"
        self.matrices = any(argument.arg != "parameters" for argument in model.args.kwonlyargs)
        given = {part.arg for part in ast.walk(model.args) if isinstance(part, ast.arg)}
        self.known = ALLOWED_METHODS[ANYWHERE] | TORCH_BY_PATH.keys() | MATH.keys()
        self.known |= (ALLOWED_METHODS[OF_MATRICES] | MATRICES.keys()) if self.matrices else set()
        self.known |= ALLOWED_METHODS[ON_BUFFERS] if fast else set()
        self.sizes = given & {"n", "N", "beta"}
        self.names = given - self.sizes - {"self"}
        self.functions: dict[str, str] = {}  # what they are called here, and their paths

    def each(self, nodes: Iterable[ast.expr] | ast.Tuple) -> None:
        for node in nodes.elts if isinstance(nodes, ast.Tuple) else nodes:
            self.value(node)

    def value(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                pass
            case ast.Name(id=name) if name == "one" or name in self.names or (self.matrices and name in self.sizes):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self.value(operand)
            case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
                self.value(base)
                self.exponent(exponent)
            case ast.BinOp(op=ast.Div(), left=over, right=under):
                self.value(over)
                self.scale(under)
            case ast.BinOp(op=op, left=left, right=right) if isinstance(op, ARITHMETIC_NODES):
                self.each([left, right])
            case ast.Attribute(value=matrix, attr="T" | "mT"):
                self.value(matrix)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self.fast and name in OWNED:
                pass
            case ast.Call():
                self.call(node)
            case ast.Subscript():
                self.subscript(node)
            case _ if ast.unparse(node) in MATH:
                pass
            case _:
                raise Unknown(node, "no expression of emitted code is like this")

    def exponent(self, node: ast.expr) -> None:
        """A number, or one over another, that is not large; in a matrix expression any value."""
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and number <= MOST:
                pass
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self.exponent(operand)
            case ast.BinOp(op=ast.Div(), left=left, right=right):
                self.exponent(left)
                self.exponent(right)
            case _ if self.matrices:
                self.value(node)
            case _:
                raise Unknown(node, "no exponent of emitted code is like this")

    def scale(self, node: ast.expr) -> None:
        """A value, or a product of numbers and the number of rows, as a mean divides by."""
        match node:
            case ast.Name(id=name) if name in self.sizes:
                pass
            case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
                self.scale(left)
                self.scale(right)
            case _:
                self.value(node)

    def condition(self, node: ast.expr) -> None:
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, COMPARISON_NODES):
                self.each([left, right])
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left, right=right):
                self.condition(left)
                self.condition(right)
            case _:
                raise Unknown(node, "no condition of emitted code is like this")

    def call(self, node: ast.Call) -> None:
        path, arguments = ast.unparse(node.func), list(node.args)
        match node.func:
            case ast.Name(id=name) if self.fast and name in self.functions:
                path = self.functions[name].removeprefix("self.flat_gradient.")
            case ast.Attribute() if path in self.known:
                pass
            case ast.Attribute(value=tensor, attr=name) if name in self.known:
                self.value(tensor)
                path = name
            case _:
                raise Unknown(node, "no call of emitted code is like this")
        if path == "torch.where" and arguments:
            self.condition(arguments.pop(0))
        for argument in arguments:
            self.argument(argument, path in SHAPED)
        for keyword in node.keywords:
            if keyword.arg is None or (keyword.arg in OUTS and not self.fast):
                raise Unknown(node, "no call of emitted code has such a keyword")
            if keyword.arg in SCALES:
                self.scale(keyword.value)
            else:
                self.argument(keyword.value, path in SHAPED)

    def argument(self, node: ast.expr, is_size: bool) -> None:
        match node:
            case ast.Constant(value=None | bool() | str()):
                pass
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.argument(part, is_size)
            case ast.Attribute(value=ast.Name() as name, attr="dtype" | "device"):
                self.value(name)
            case ast.Name(id=name) if is_size and name in self.sizes:
                pass
            case _:
                self.value(node)

    def subscript(self, node: ast.Subscript) -> None:
        """Numbers of the layout, or the name of a block; in the lines of backward.py only to unpack parameters."""
        cut = self.matrices or (self.fast and not self.is_step)
        named = self.fast and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
        if not (cut or named or ast.unparse(node.value) in ("parameters", "direction")):
            raise Unknown(node, "no index of emitted code is like this")
        self.value(node.value)
        for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            bounds = [part.lower, part.upper, part.step] if isinstance(part, ast.Slice) else [part]
            for bound in bounds:
                number = bound.operand if isinstance(bound, ast.UnaryOp) else bound
                if self.matrices and number is not None:
                    self.value(number)
                elif not (number is None or isinstance(number, ast.Constant)):
                    raise Unknown(node, "no index of emitted code is like this")


class DerivedLines(RightSides):
    """The lines of a derived function; of a fast one with a step that writes into buffers."""

    def check(self, body: list[ast.stmt]) -> None:
        head = checks(self.model.body)
        same_text(body[:head], self.model.body[:head], ())
        for node in self.model.body[:head]:
            for part in ast.walk(node):
                if isinstance(part, ast.Assign):
                    self.assigned(part)
        for node in body[head:]:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(value=value):
                if not (self.is_size(value) or (self.fast and self.is_function(value))):
                    self.each(value) if isinstance(value, ast.Tuple) else self.value(value)
                self.assigned(node)
            case ast.Expr(value=ast.Call() as call) if self.fast:
                self.call(call)
            case ast.Expr(value=ast.IfExp(test, body=ast.Call() as first, orelse=ast.Call() as rest)) if self.fast:
                if ast.unparse(test) != "beta == 0":
                    raise Unknown(node, "a branch")
                self.each([first, rest])
            case ast.FunctionDef(name="step") if self.fast:
                wanted = next(part for part in self.model.body if isinstance(part, ast.FunctionDef))
                same_head(node, wanted)
                inside = DerivedLines(wanted, fast=True)
                inside.names |= self.names
                inside.functions = self.functions
                inside.check(node.body)
                self.names.add("step")
            case ast.Return(value=ast.Tuple(elts=results)):
                self.results(results)
            case ast.Return(value=ast.expr() as result):
                self.results([result])
            case ast.Pass() if self.fast:
                pass
            case _:
                raise Unknown(node, "no line of emitted code is like this")

    def assigned(self, node: ast.Assign) -> None:
        """Adds the names to those that are known."""
        for target in node.targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                never = NEVER_ASSIGNED | self.functions.keys() | ({"self"} if self.fast else set())
                if not isinstance(name, ast.Name) or name.id in never:
                    raise Unknown(node, "assigns to what is no new name")
                if self.fast and self.is_function(node.value):
                    self.functions[name.id] = ast.unparse(node.value)
                else:
                    (self.sizes if self.is_size(node.value) else self.names).add(name.id)

    def results(self, nodes: Iterable[ast.expr]) -> None:
        for node in nodes:
            match node:
                case ast.Call(func=ast.Name(id="Parameters" | "Gradients"), args=[], keywords=fields):
                    self.each(field.value for field in fields)
                case _:
                    self.value(node)

    def is_function(self, node: ast.expr) -> bool:
        """A function of torch by its path, or a way to make memory."""
        path = ast.unparse(node)
        made = isinstance(node, ast.Attribute) and node.attr in SHAPED and path.startswith("self.flat_gradient.new_")
        return path in TORCH_BY_PATH or made

    def is_size(self, node: ast.expr) -> bool:
        match node:
            case ast.Subscript(value=ast.Attribute(value=ast.Name(), attr="shape"), slice=ast.Constant(value=int())):
                return True
        return False
