"""The expressions of emitted C on symbols: numbers exactly, whole numbers as C has them, and vectors entry by entry."""

import operator
from collections.abc import Callable
from typing import Any, Protocol, Self

import sympy
from sympy import Integer, Piecewise, Rational

from derive.proof.c_memory import STRUCTS, CType, LocalArray, Pointer, Scope, truth
from derive.proof.c_tokens import bracketed, parts_between
from derive.proof.certificate import NotProved

TYPES = {"real", "lanes", "int", "long", "double", "const", "void", "whole", "static", *STRUCTS}
C_PRECEDENCE = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))
C_BINDING = {sign: level for level, signs in enumerate(C_PRECEDENCE) for sign in signs}
C_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "%": operator.mod,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Caller(Protocol):
    """What knows the functions, how many entries a vector has, and when it takes too long."""

    @property
    def lanes(self) -> int: ...

    def call(self, name: str, *arguments: Any) -> Any: ...

    def step(self) -> None: ...


class Expressions:
    """Words that are computed as they are read, once for each time that they are reached."""

    def __init__(self, program: Caller, tokens: list[str], scope: Scope) -> None:
        self.program, self.tokens, self.scope, self.at = program, tokens, scope, 0

    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise NotProved(f"network.c: emitted C has no {token or 'end'} here: {' '.join(self.tokens)[:60]}")
        self.at += 1
        return token

    def within(self, tokens: list[str], scope: Scope | None = None) -> Self:
        return type(self)(self.program, tokens, Scope(self.scope) if scope is None else scope)

    def refuse(self, what: str) -> Any:
        raise NotProved(f"network.c: emitted C has no {what}: {' '.join(self.tokens)[:60]}")

    def expression(self) -> Any:
        """A value, after what is assigned on the way; parts between commas come one after the other."""
        value = self.value()
        while self.peek() == ",":
            self.take()
            value = self.value()
        return value

    def whole(self) -> Any:
        """The value of all the words."""
        value = self.expression()
        return self.refuse(self.peek()) if self.peek() else value

    def value(self) -> Any:
        start = self.at
        value = self.ternary()
        if self.peek() in ("=", "+=", "-=", "*=", "/="):
            sign, target = self.take(), self.tokens[start : self.at - 1]
            new = self.value()
            self.assign(target, new if sign == "=" else self.operate(sign[0], value, new))
            return new
        return value

    def assign(self, target: list[str], value: Any) -> None:
        if target[0] == "(" and target[-1] == ")":
            return self.assign(target[1:-1], value)
        if target[0] == "*":
            self.within(target[1:], self.scope).unary().store(value)
        elif target[-1] == "]":
            depth, at = 0, len(target)
            while True:
                at -= 1
                depth += (target[at] == "]") - (target[at] == "[")
                if depth == 0:
                    break
            whole, index = (self.within(part, self.scope).whole() for part in (target[:at], target[at + 1 : -1]))
            if isinstance(whole, Pointer):
                whole.moved(index).store(value)
            elif isinstance(whole, LocalArray):
                whole[whole.checked(index)] = whole.kind.of(value)
            else:
                self.refuse("such array")
        elif len(target) == 1:
            self.scope.assign(target[0], value)
        elif target[-2] == "->":
            self.within(target[:-2], self.scope).whole()[target[-1]] = CType("real").of(value)
        else:
            raise NotProved(f"network.c: emitted C assigns to no {' '.join(target)}")
        return None

    def ternary(self) -> Any:
        condition = self.binary(0)
        if self.peek() != "?":
            return condition
        self.take()
        first, second = (self.within(part, self.scope) for part in (self.until(":"), self.until("")))
        if not isinstance(condition, sympy.Basic):
            return first.whole() if truth(condition) else second.whole()
        return Piecewise((first.whole(), condition), (second.whole(), True))

    def until(self, end: str) -> list[str]:
        """The words of a branch, up to what ends it."""
        depth, inner, start = 0, 0, self.at
        while self.peek() and (depth or (self.peek() not in (",", ";") and (self.peek() != ":" or inner))):
            token = self.take()
            depth += (token in "([{") - (token in ")]}")
            inner += (depth == 0) * ((token == "?") - (token == ":"))
        found = self.tokens[start : self.at]
        if end:
            self.take(end)
        return found

    def binary(self, least: int) -> Any:
        """A value, with all operators after it that bind at least so much."""
        value = self.unary()
        while (level := C_BINDING.get(self.peek(), -1)) >= least:
            value = self.operate(self.take(), value, self.binary(level + 1))
        return value

    def operate(self, sign: str, left: Any, right: Any) -> Any:
        if isinstance(left, Pointer) and sign in ("+", "-") and isinstance(right, int):
            return left.moved(right if sign == "+" else -right)
        if isinstance(left, tuple) or isinstance(right, tuple):
            n = self.program.lanes
            pairs = zip(*(part if isinstance(part, tuple) else (part,) * n for part in (left, right)), strict=True)
            return tuple(self.operate(sign, *pair) for pair in pairs)
        if any(isinstance(part, Pointer | list) or part is None for part in (left, right)):
            raise NotProved(f"network.c: {sign} of no numbers")
        whole = isinstance(left, int) and isinstance(right, int)
        if (sign in ("==", "!=") and not whole) or (whole and sign in ("/", "%") and (left < 0 or right <= 0)):
            return self.refuse(f"{left} {sign} {right}")
        if sign == "/":
            return left // right if whole else sympy.sympify(left) / right
        if sign in ("&&", "||"):
            if whole:
                return bool(left and right) if sign == "&&" else bool(left or right)
            return (sympy.And if sign == "&&" else sympy.Or)(left, right)
        return C_OPERATORS[sign](left, right)

    def unary(self) -> Any:
        token = self.peek()
        if token in ("-", "!", "*", "&"):
            self.take()
            value = self.unary()
            if token == "*" and self.peek() == "=":
                return None
            if token == "*":
                return value.load() if isinstance(value, Pointer) else self.refuse("* of no pointer")
            if token == "&":
                return value if isinstance(value, dict) else self.refuse("&")
            if token == "!":
                return not truth(value)
            return tuple(-entry for entry in value) if isinstance(value, tuple) else -value
        if token == "(" and self.peek(1) in TYPES:
            kind, self.at = bracketed(self.tokens, self.at)
            return self.cast(kind)
        return self.postfix()

    def cast(self, kind: list[str]) -> Any:
        if self.peek() == "{":
            zero, self.at = bracketed(self.tokens, self.at)
            return (Integer(0),) * self.program.lanes if zero == ["0"] and kind == ["lanes"] else self.refuse("such {}")
        value, wanted = self.unary(), CType.read(kind)
        if wanted.word == "void":
            return None
        if wanted.pointer and isinstance(value, Pointer):
            value = value.of_lanes(self.program.lanes if wanted.word == "lanes" else 0)
        return wanted.of(value)

    def postfix(self) -> Any:
        token = self.take()
        value: Any = None
        if token == "(":
            self.at -= 1
            inside, self.at = bracketed(self.tokens, self.at)
            assigned = self.peek() == "=" and inside[0] == "*"
            value = None if assigned else self.within(inside, self.scope).whole()
        elif token[0].isdigit():
            if len(token) > 1 and token[0] == "0" and token[1] != ".":
                self.refuse(token)
            plain = token.removesuffix("f")
            value = int(plain) if plain.isdigit() else Rational(plain)
        elif self.peek() == "(":
            inside, self.at = bracketed(self.tokens, self.at)
            arguments = [self.within(part, self.scope).whole() for part in parts_between(inside)]
            value = self.program.call(token, *arguments)
        elif self.peek() == "++":
            self.take()
            value = self.scope.owner(token)[token]
            self.scope.assign(token, self.operate("+", value, 1))
        else:
            value = self.scope.owner(token)[token]
        while self.peek() in ("[", "->", "."):
            if self.take() != "[":
                value = value[self.take()]
                continue
            self.at -= 1
            index, self.at = bracketed(self.tokens, self.at)
            place = self.within(index, self.scope).whole()
            if self.peek() == "=":
                value = None
            elif isinstance(value, Pointer):
                value = value.moved(place).load()
            elif isinstance(value, LocalArray):
                value = value[value.checked(place)]
            else:
                self.refuse("such array")
        return value
