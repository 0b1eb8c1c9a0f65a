"""The words of emitted C, as a compiler sees them: without comments, and with its macros written out."""

import re

from derive.proof.certificate import NotProved

STRANGE = re.compile(r"[^\n -~]|\?\?|<[:%]|%[:>]|:>")  # what compilers read in ways of their own
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
C_TOKEN = re.compile(
    r"\s*([A-Za-z_]\w*|\d+\.?\d*(?:e[+-]?\d+)?f?|##|->|\+\+|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|/=|[-+*/%<>=!?:;,.(){}\[\]&|])"
)
CONDITION = re.compile(r"defined\((\w+)\)")


def words(text: str) -> list[str]:
    found, at = [], 0
    text = text.strip(" \t\n")
    while at < len(text):
        match = C_TOKEN.match(text, at)
        if match is None:
            raise NotProved(f"network.c: emitted C has no such thing: {text[at : at + 40]!r}")
        found.append(match[1])
        at = match.end()
    return found


class Preprocessor:
    """The words of a source; `given` are the macros of the command that compiles it, which it does not define anew."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given
        self.macros: dict[str, tuple[list[str] | None, list[str]]] = {n: (None, words(t)) for n, t in given.items()}

    def read(self, text: str) -> list[str]:
        """The words of a file, with its macros written out; what a condition excludes is left out."""
        kept: list[str] = []
        since: list[str] = []  # the last directive
        stack: list[bool] = []
        if strange := STRANGE.search(text):
            raise NotProved(f"network.c: emitted C has no {strange[0]!r}")
        for line in COMMENT.sub(" ", text.replace("\\\n", "")).split("\n"):
            directive = line.strip()
            if not directive.startswith("#"):
                since += words(line) if all(stack) else []
                continue
            kept += self.expanded(since)
            since.clear()
            name, _, rest = directive[1:].strip().partition(" ")
            if name in ("ifdef", "ifndef"):
                stack.append((rest.strip() in self.macros) == (name == "ifdef"))
            elif name == "if":
                stack.append(any(word in self.macros for word in CONDITION.findall(rest)))
            elif name == "elif":
                stack[-1] = False if stack[-1] else any(word in self.macros for word in CONDITION.findall(rest))
            elif name == "else":
                stack[-1] = not stack[-1]
            elif name == "endif":
                stack.pop()
            elif name == "define" and all(stack):
                self.define(rest.strip())
            elif name not in ("define", "include", "undef") and all(stack):
                raise NotProved(f"network.c: emitted C has no {directive}")
        return kept + self.expanded(since)

    def define(self, text: str) -> None:
        match = re.fullmatch(r"(\w+)(\([\w, ]*\))?\s*(.*)", text)
        if match is None:
            raise NotProved(f"network.c: emitted C has no #define {text}")
        name, parameters, body = match.groups()
        if name not in self.given:
            given = None if parameters is None else [part.strip() for part in parameters[1:-1].split(",")]
            self.macros[name] = given, words(re.sub(r'_Pragma\("[^"]*"\)|__attribute__\s*\(\(.*\)\)', " ", body))

    def expanded(self, tokens: list[str]) -> list[str]:
        found: list[str] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            at += 1
            if token not in self.macros:
                found.append(token)
                continue
            parameters, body = self.macros[token]
            if parameters is None:
                found += self.expanded(body)
                continue
            arguments, at = bracketed(tokens, at)
            values = dict(zip(parameters, map(self.expanded, parts_between(arguments)), strict=True))
            written = [word for part in body for word in values.get(part, [part])]
            found += self.expanded(["".join(written).replace("##", "")] if "##" in written else written)
        return found


def bracketed(tokens: list[str], at: int) -> tuple[list[str], int]:
    """What stands in the brackets that open at a place, and the place behind them."""
    depth, start = 0, at
    while True:
        depth += (tokens[at] in "([{") - (tokens[at] in ")]}")
        at += 1
        if depth == 0:
            return tokens[start + 1 : at - 1], at


def parts_between(tokens: list[str], at: str = ",") -> list[list[str]]:
    """The parts between commas that stand in no brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if token == at and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
