"""Formulas of LaTeX as text: brackets as large as what they hold, widths, and lines that are narrow enough."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

BRACKET_SIZES = ("", r"\bigl", r"\Bigl", r"\biggl")
BRACKET = re.compile(r"(?:\\left|\\right|\\(?:big|Big|bigg|Bigg)[lr])?(?<!\\)([()])")


def sized(tex: str) -> str:
    r"""The brackets as large as what they hold: plain, \bigl, \Bigl, \biggl."""
    tex = tex.replace(r"\operatorname", r"\mathrm")
    heights: dict[int, int] = {}
    for start, end in bracket_pairs(BRACKET.finditer(tex)):
        inside = tex[start.end() : end.start()]
        held = [height for at, height in heights.items() if start.end() <= at < end.start()]
        tall = 3 if "cases" in inside or "matrix" in inside else 2 if r"\frac" in inside or r"\sum" in inside else 0
        heights[start.start()] = heights[end.start()] = min(3, max(tall, 1 + max(held, default=-1)))

    def resize(token: re.Match[str]) -> str:
        mark = BRACKET_SIZES[heights.get(token.start(), 0)]
        return (mark[:-1] + ("l" if token[1] == "(" else "r") if mark else "") + token[1]

    return BRACKET.sub(resize, tex)


def bracket_pairs(tokens: Iterable[re.Match[str]]) -> Iterator[tuple[re.Match[str], re.Match[str]]]:
    """Each bracket that is closed, and what closes it, those inside others first."""
    opened = []
    for token in tokens:
        if token[1] == "(":
            opened.append(token)
        elif opened:
            yield opened.pop(), token


def width(tex: str) -> int:
    """About how many letters wide a formula is."""
    tex = re.sub(r"\\bigg[lr]", "o", tex)
    tex = re.sub(r"\\(?:left|right|boldsymbol|mathrm|text|[bB]igg?[lr]|displaystyle)(?![A-Za-z])|[{}_^&]", "", tex)
    return len(re.sub(r"\\[A-Za-z]+", "x", tex).replace(" ", ""))


def broken(tex: str, limit: int, indent: int = 0) -> list[tuple[int, str]]:
    """The formula in lines of at most some width, each with its indent; breaks at its loosest operators first."""
    if width(tex) + 2 * indent <= limit:
        return [(indent, tex)]
    arguments = split_at(tex, lambda at: tex[at - 2 : at] == ", " and tex[at - 3] != "\\")
    if len(arguments) > 1:
        return [line for part in arguments for line in broken(part, limit, indent)]
    for signs in ((" + ", " - "), (r" \odot ", r" \oslash ")):
        parts = split_at(tex, partial(tex.startswith, signs))
        if len(parts) > 1:
            lines = broken(parts[0], limit, indent)
            for part in parts[1:]:
                sign, rest = part.split(" ", 2)[1:]
                (level, first), *others = broken(rest, limit, indent + 1)
                lines += [(level, f"{{}} {sign} {first}"), *others]
            return joined_lines(lines)
    lines, start = [], 0
    for opening, closing in top_groups(tex):
        if width(tex[start : closing.end()]) + 2 * indent <= limit:
            continue
        inner = broken(tex[opening.end() : closing.start()], limit, indent + 1)
        lines += [(indent, tex[start : opening.end()]), *inner]
        start = closing.start()
    lines.append((indent, tex[start:]))
    return joined_lines(lines)


def joined_lines(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """A line of opening brackets goes in front of the next, a closing bracket after another and before its operator."""
    result: list[tuple[int, str]] = []
    for indent, line in lines:
        before = result[-1][1] if result else ""
        if re.fullmatch(r"(?:\\[a-zA-Z]+l\()+", before):
            result[-1] = (result[-1][0], before + line)
        elif re.fullmatch(r"\\[a-zA-Z]+r\)", before) and line.startswith(r"{} \o"):
            result[-1] = (result[-1][0], before + line.removeprefix("{}"))
        elif re.match(r"\\[a-zA-Z]+r\)", before) and re.fullmatch(r"\\[a-zA-Z]+r\)", line):
            result[-1] = (result[-1][0], f"{before} {line}")
        else:
            result.append((indent, line))
    return result


def split_at(tex: str, sign_at: Callable[[int], object]) -> list[str]:
    """The text cut at each sign that stands outside of all brackets."""
    depth, parts, start = 0, [], 0
    for at, letter in enumerate(tex):
        depth += (letter in "({") - (letter in ")}")
        depth += tex.startswith(r"\begin", at) - tex.startswith(r"\end", at)
        if depth == 0 and at > start and sign_at(at):
            parts.append(tex[start:at])
            start = at
    return [*parts, tex[start:]]


def top_groups(tex: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """The outermost pairs of round brackets; those within braces are left whole, as a line ends in none."""
    tokens = () if r"\begin" in tex else BRACKET.finditer(tex)
    alone = (t for t in tokens if tex.count("{", 0, t.start()) <= tex.count("}", 0, t.start()))
    groups: list[tuple[re.Match[str], re.Match[str]]] = []
    for start, end in bracket_pairs(alone):
        groups = [group for group in groups if group[0].start() < start.start()]
        groups.append((start, end))
    return groups
