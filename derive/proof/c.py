"""Emitted C, run on symbols instead of numbers, exactly: the few words of C that it is made of, and nothing else.

A pointer knows its array and its place in it; a vector of rows is a tuple of entries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sympy import Expr

from derive.proof.c_expressions import TYPES, Expressions
from derive.proof.c_memory import Alone, CType, GivenArray, LocalArray, Pointer, Returned, Scope, truth
from derive.proof.c_tokens import Preprocessor, bracketed, parts_between
from derive.proof.certificate import NotProved

MOST_ROUNDS = 400  # of loops for each entry of the parameters; what is emitted takes 150


class Statements(Expressions):
    """Statements, one after the other."""

    def statements(self) -> None:
        while self.peek():
            self.statement()

    def statement(self) -> None:
        match self.peek():
            case "{":
                body, self.at = bracketed(self.tokens, self.at)
                self.within(body).statements()
            case "for":
                self.loop()
            case "if":
                self.branch()
            case "return":
                self.take()
                value = None if self.peek() == ";" else self.expression()
                raise Returned(value)
            case ";":
                self.take()
            case word if word in TYPES:
                self.declaration()
            case _:
                self.expression()
                self.take(";")

    def one(self) -> list[str]:
        """The words of the next statement."""
        start = self.at
        if self.peek() == "{":
            _, self.at = bracketed(self.tokens, self.at)
        elif self.peek() in ("for", "if"):
            word = self.take()
            _, self.at = bracketed(self.tokens, self.at)
            self.one()
            if word == "if" and self.peek() == "else":
                self.take()
                self.one()
        else:
            while self.take() != ";":
                pass
        return self.tokens[start : self.at]

    def loop(self) -> None:
        self.take("for")
        head, self.at = bracketed(self.tokens, self.at)
        first, condition, step = parts_between(head, ";")
        body, scope = self.one(), Scope(self.scope)
        self.within([*first, ";"], scope).statements()
        while not condition or truth(self.within(condition, scope).whole()):
            self.program.step()
            self.within(body, Scope(scope)).statements()
            for part in parts_between(step) if step else ():
                self.within(part, scope).whole()

    def branch(self) -> None:
        self.take("if")
        condition, self.at = bracketed(self.tokens, self.at)
        body, other = self.one(), []
        if self.peek() == "else":
            self.take()
            other = self.one()
        self.within(body if truth(self.within(condition).whole()) else other).statements()

    def declaration(self) -> None:
        words = []
        while self.peek() in TYPES:
            words.append(self.take())
        while True:
            stars, sizes = [], []
            while self.peek() in ("*", "const", "restrict"):
                stars.append(self.take())
            name, value = self.take(), None
            kind = CType.read(words + stars)
            while self.peek() == "[":
                size, self.at = bracketed(self.tokens, self.at)
                sizes.append(self.within(size).whole())
            if sizes:
                value = LocalArray(kind, sizes)
            elif self.peek() == "=":
                self.take()
                value = kind.of(self.value())
            self.scope.declare(name, kind, value)
            if self.take() == ";":
                return


@dataclass(frozen=True)
class Function:
    """A function as words: the names of its parameters and their kinds, the kind of what it returns, and its body."""

    parameters: dict[str, CType]
    returns: CType
    body: list[str]


class CProgram:
    """The functions of a source; `known` are those that are not run, but are what their names say.

    `given` are macros: BYTES, BLOCK and OFTEN, so that a few rows are several blocks. `number` says what a constant is.
    """

    def __init__(
        self,
        header: str,
        source: str,
        given: dict[str, str],
        lanes: int,
        known: dict[str, Callable[..., Any]],
        numbers: dict[str, Expr],
    ) -> None:
        self.lanes, self.known, self.rounds = lanes, known, 0
        reader = Preprocessor(given | {"BYTES": "0", "WIDE": str(lanes), "__GNUC__": "1"})
        tokens = [*reader.read(header), *reader.read(source)]
        self.globals = Scope()
        self.globals.update(numbers, NULL=None)
        self.functions: dict[str, Function] = {}
        self.fields: dict[str, tuple[CType, list[str]]] = {}
        self.top(tokens)
        self.most = MOST_ROUNDS * (10 + Statements(self, reader.expanded(["ENTRIES"]), self.globals).whole())

    def top(self, tokens: list[str]) -> None:
        """Takes the functions, and the arrays of structs; what else lies outside functions declares something."""
        at = 0
        while at < len(tokens):
            start = end = at
            while tokens[end] not in ("(", ";", "{"):
                end += 1
            head = tokens[start : end - 1]
            if tokens[end] == "{":
                inside, at = bracketed(tokens, end)
                if tokens[start] == "enum":
                    self.globals.update(
                        {part[0]: int(part[2]) for part in parts_between(inside) if not part[0].isdigit()}
                    )
                for field in (field for field in parts_between(inside, ";") if "[" in field):
                    name = field.index("[") - 1
                    self.fields[field[name]] = CType.read(field[:name]), bracketed(field, name + 1)[0]
            elif tokens[end] == "(":
                parameters, at = bracketed(tokens, end)
                if tokens[at] == "{":
                    body, at = bracketed(tokens, at)
                    kinds = {part[-1]: CType.read(part[:-1]) for part in parts_between(parameters)}
                    self.functions[tokens[end - 1]] = Function(kinds, CType.read(head), body)
                    continue
            while tokens[at] != ";":
                at += 1
            at += 1

    def step(self) -> None:
        """Counts the rounds of loops."""
        self.rounds += 1
        if self.rounds > self.most:
            raise NotProved(f"network.c: does not end within {self.most} rounds of its loops")

    def workspace(self) -> dict[str, Pointer]:
        """The arrays of the structs, nothing of which is set."""
        sizes = {name: Statements(self, size, self.globals).whole() for name, (_, size) in self.fields.items()}
        kinds = {name: kind.word for name, (kind, _) in self.fields.items()}
        return {name: Pointer(GivenArray(name, [None] * size, kinds[name]), 0) for name, size in sizes.items()}

    def call(self, name: str, *arguments: Any) -> Any:
        if name in self.known:
            return self.known[name](*arguments)
        if name not in self.functions:
            raise NotProved(f"network.c: emitted C has no function {name}")
        function, scope, alone = self.functions[name], Scope(self.globals), Alone()
        if len(arguments) != len(function.parameters):
            raise NotProved(f"network.c: {name} takes {len(function.parameters)} arguments, and not {len(arguments)}")
        for (parameter, kind), value in zip(function.parameters.items(), arguments, strict=True):
            given = value.restricted(alone, parameter) if kind.restrict and isinstance(value, Pointer) else value
            scope.declare(parameter, kind, given)
        try:
            Statements(self, function.body, scope).statements()
        except Returned as returned:
            return function.returns.of(returned.args[0])
        return function.returns.of(None)
