r"""Formulas as MathML, from the LaTeX that to_latex.py writes, so that the two cannot differ.

It reads that part of LaTeX and no other: an unknown command is an error at build time, not a hole on a page.
"""

import re
import unicodedata
from collections.abc import Mapping
from html import escape
from xml.etree.ElementTree import Element

from derive.programs import GREEK, greek

TOKEN = re.compile(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|\\[A-Za-z]+|\\.|[A-Za-z]|\d+(?:\.\d+)?|\S", re.DOTALL)
OPERATOR_SIGNS = {
    "cdot": "\u22c5",
    "cdots": "\u22ef",
    "ge": "\u2265",
    "langle": "\u27e8",
    "ldots": "\u2026",
    "le": "\u2264",
    "lvert": "|",
    "ne": "\u2260",
    "odot": "\u2299",
    "oslash": "\u2298",
    "otimes": "\u2297",
    "rangle": "\u27e9",
    "rvert": "|",
    "sum": "\u2211",
    "times": "\u00d7",
    "vdots": "\u22ee",
}
CLOSE = ("/", "|", "\u27e8", "\u27e9", "\u2016")
SIGNS = {"-": "\u2212", "'": "\u2032"}
NAMES = ("exp", "log", "ln", "sin", "cos", "tan", "sinh", "cosh", "tanh", "coth", "max", "min", "det")
LETTER_SIGNS = {"partial": "\u2202", "top": "\u22a4", **{name: name for name in NAMES}}
SPACES = {",": "0.17em", ";": "0.28em", ":": "0.22em", "!": "0", " ": "0.25em", "quad": "1em", "qquad": "2em"}
SILENT = frozenset(["left", "right", "limits", "displaystyle", "textstyle", "scriptstyle", "&"])
TIGHT = {"lspace": "0", "rspace": "0"}
UNSTRETCHED = {"stretchy": "false", **TIGHT}
TALL = frozenset(["mfrac", "munder", "mover", "munderover", "mtable", "msqrt"])
BRACKETS = frozenset(f"{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in "lr")
FENCES = {"bmatrix": "[]", "pmatrix": "()", "matrix": ("", ""), "cases": ("{", ""), "aligned": ("", "")}


def mathml(tex: str, symbols: Mapping[str, str] | None = None, display: bool = False) -> str:
    """The formula as a <math> element; `symbols` maps a symbol's LaTeX to its name, which the element then carries.

    Raises ValueError that names a command that is not known here.
    """
    reader = TexReader(tex, symbols or {})
    body = reader.row()
    if reader.at < len(reader.tokens):
        raise ValueError(f"unexpected {reader.next()[0]!r} in {tex}")
    style = ' displaystyle="true"' if display else ""
    return f'<math{style} alttext="{escape(in_words(body).strip())}">{markup(body)}</math>'


def made(tag: str, *inside: Element | str, **attributes: str) -> Element:
    """An element with others in it, or with a text."""
    element = Element(tag, attributes)
    element.text = "".join(part for part in inside if isinstance(part, str))
    element.extend(part for part in inside if isinstance(part, Element))
    return element


def markup(element: Element) -> str:
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in element.attrib.items())
    if element.tag == "mspace":
        return f"<mspace{attributes}/>"
    inside = escape(element.text or "").replace("\xa0", "&#160;") + "".join(map(markup, element))
    return f"<{element.tag}{attributes}>{inside}</{element.tag}>"


def in_words(element: Element) -> str:
    """The formula in one line of plain characters, for those who hear it or have no font for it."""
    parts = [in_words(part) for part in element]
    match element.tag:
        case "mfrac":
            return "/".join(map(enclosed, parts))
        case "msub" | "munder":
            return f"{parts[0]}_{enclosed(parts[1])}"
        case "msup" | "mover":
            return f"{parts[0]}^{enclosed(parts[1])}"
        case "msubsup" | "munderover":
            return f"{parts[0]}_{enclosed(parts[1])}^{enclosed(parts[2])}"
        case "msqrt":
            return f"sqrt({''.join(parts)})"
        case "mtr":
            return ", ".join(parts)
        case "mtable":
            return "; ".join(parts)
        case "mspace":
            return " "
    text = unicodedata.normalize("NFKC", element.text or "").replace(LETTER_SIGNS["top"], "T")
    spaced = element.tag == "mo" and "lspace" not in element.attrib and element.get("form") != "prefix"
    if spaced and text not in ",;\u2211":
        return f" {text} "
    for part in parts:
        apart = text[-1:].isalnum() and part[:1].isalpha()
        text += f" {part}" if apart or text.endswith(",") else part
    return text


def enclosed(text: str) -> str:
    return text if re.fullmatch(r"\u2202?\w+|.", text) else f"({text})"


class TexReader:
    """Reads tokens from left to right; every method returns the element of what it has read."""

    def __init__(self, tex: str, symbols: Mapping[str, str]) -> None:
        self.tex, self.symbols = tex, symbols
        self.tokens = [token for token in TOKEN.finditer(tex) if token[0][1:] not in BRACKETS]
        self.at = 0
        self.pairs = self.matching()

    def matching(self) -> set[int]:
        """Where a round bracket opens that is closed in this formula; a line of a broken one may leave some open."""
        opened, pairs = [], set()
        for at, token in enumerate(self.tokens):
            if token[0] == "(":
                opened.append(at)
            elif token[0] == ")" and opened:
                pairs.add(opened.pop())
        return pairs

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def next(self) -> re.Match[str]:
        self.at += 1
        if self.at > len(self.tokens):
            raise ValueError(f"ends too early: {self.tex}")
        return self.tokens[self.at - 1]

    def row(self, end: str = "}") -> Element:
        """Everything up to a closing brace, a cell's or a row's end, or the end."""
        parts: list[Element] = []
        while self.peek() and self.peek() not in ("}", "&", "\\\\", end) and not self.peek().startswith("\\end"):
            if self.peek() == "-" and (not parts or has_room(parts[-1])):
                self.next()
                parts.append(made("mo", SIGNS["-"], form="prefix"))
            else:
                parts.append(self.scripted())
        return parts[0] if len(parts) == 1 else made("mrow", *parts)

    def group(self) -> Element:
        """An argument: {...} or one token."""
        if self.peek() != "{":
            return self.atom()
        self.next()
        body = self.row()
        if self.next()[0] != "}":
            raise ValueError(f"a brace is not closed: {self.tex}")
        return body

    def scripted(self) -> Element:
        """An atom with what stands below and above it; a known symbol carries its name."""
        start = self.at
        base = self.atom()
        below = self.script("_")
        end = self.at
        above = self.script("^")
        low, high = ("under", "over") if base.text == OPERATOR_SIGNS["sum"] else ("sub", "sup")
        kind = low * bool(below) + high * bool(above)
        return self.marked(start, end, made(f"m{kind}", base, *below, *above) if kind else base)

    def script(self, sign: str) -> list[Element]:
        """What stands below or above, if anything; a sign there takes no room around it."""
        if self.peek() != sign:
            return []
        self.next()
        body = self.group()
        for part in filter(has_room, body.iter()):
            part.attrib.update(TIGHT)
        return [body]

    def marked(self, start: int, end: int, body: Element) -> Element:
        source = self.tex[self.tokens[start].start() : self.tokens[end - 1].end()]
        name = self.symbols.get(source)
        return made("mrow", body, **{"class": "symbol", "data-symbol": name}) if name else body

    def atom(self) -> Element:
        token = self.next()
        text = token[0]
        if token[1]:
            return self.table(token[1])
        if text == "{":
            self.at -= 1
            return self.group()
        if text == "(" and self.at - 1 in self.pairs:
            body = self.row(end=")")
            self.next()
            size = TIGHT if any(part.tag in TALL for part in body.iter()) else UNSTRETCHED
            return made("mrow", made("mo", "(", **size), body, made("mo", ")", **size))
        if text in ("(", ")", "[", "]"):
            return made("mo", text, **UNSTRETCHED)
        if text.startswith("\\"):
            return self.command(text[1:])
        if text.isalpha():
            return made("mi", text)
        if text[0].isdigit():
            return made("mn", text)
        return operator(SIGNS.get(text, text))

    def command(self, name: str) -> Element:
        if name in GREEK:
            return made("mi", greek(name))
        if name in LETTER_SIGNS:
            return made("mi", LETTER_SIGNS[name])
        if name in OPERATOR_SIGNS:
            return operator(OPERATOR_SIGNS[name])
        if name in SPACES:
            return made("mspace", width=SPACES[name])
        if name in SILENT:
            return self.atom()
        if name in ("{", "}", "_", "%", "#", "$"):
            return operator(name)
        if name == "frac":
            return made("mfrac", self.group(), self.group())
        if name == "dot":
            return made("mover", self.group(), made("mo", "\u02d9"))
        if name == "sqrt":
            return made("msqrt", self.group())
        if name == "boldsymbol":
            return self.bold()
        if name in ("mathrm", "text"):
            return self.words(name)
        raise ValueError(f"no MathML here for \\{name}: {self.tex}")

    def bold(self) -> Element:
        """A matrix: a letter bold italic, a word bold, in characters of their own, as CSS makes none bold in MathML."""
        body = self.group()
        for part in body.iter():
            if part.tag in ("mi", "mn"):
                part.text = "".join(bold(letter, "mathvariant" in part.attrib) for letter in part.text or "")
                part.tag = "mi"
                part.attrib.clear()
        return body

    def words(self, kind: str) -> Element:
        """Letters that are read as they stand."""
        start = self.next().end()
        depth, end = 1, start
        while depth:
            depth += {"{": 1, "}": -1}.get(self.next()[0], 0)
            end = self.tokens[self.at - 1].start()
        text = self.tex[start:end].replace("\\_", "_")
        if kind == "text":
            return made("mtext", text.replace(" ", "\xa0"))
        return made("mi", text, mathvariant="normal")

    def table(self, kind: str) -> Element:
        rows, cells = [], list[Element]()
        while not self.peek().startswith("\\end"):
            cells.append(made("mtd", self.row()))
            if self.peek() == "&":
                self.next()
            elif self.peek() == "\\\\":
                self.next()
                rows.append(cells)
                cells = []
            elif not self.peek():
                raise ValueError(f"{kind} does not end: {self.tex}")
        self.next()
        align = {"columnalign": "left"} if kind == "cases" else {}
        body = made("mtable", *(made("mtr", *row) for row in [*rows, cells]), **align)
        before, behind = ([made("mo", s, fence="true", stretchy="true")] if s else [] for s in FENCES[kind])
        return made("mrow", *before, body, *behind)


def operator(sign: str) -> Element:
    """A sign; a slash and brackets take no room around them."""
    return made("mo", sign, **(UNSTRETCHED if sign in CLOSE else {}))


def has_room(element: Element) -> bool:
    """Whether it is a sign with room around it."""
    return element.tag == "mo" and not element.attrib


def bold(letter: str, upright: bool = False) -> str:
    """The mathematical bold character of a letter or digit; as in LaTeX digits and Greek capitals are upright."""
    name = unicodedata.name(letter)
    upright = upright or letter.isdigit() or name.startswith("GREEK CAPITAL")
    kind = name.removeprefix("LATIN ").removeprefix("GREEK ").replace("LETTER ", "")
    return unicodedata.lookup(f"MATHEMATICAL BOLD {'' if upright else 'ITALIC '}{kind}") if letter.isalnum() else letter
