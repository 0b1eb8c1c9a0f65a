"""Blocks of a document written in a format: LaTeX, Markdown as GitHub shows it, HTML.

Text is escaped here, and only here.
"""

import html
import json
import math
import re
from fractions import Fraction
from itertools import pairwise

from derive.paper import (
    Boxed,
    Broken,
    Bullets,
    Chain,
    Circle,
    Curve,
    Display,
    Figure,
    Label,
    Listing,
    Paragraph,
    Picture,
    Section,
    Segment,
    Table,
    Values,
)
from derive.paper.formats.mathml import mathml
from derive.paper.formats.page import Page
from derive.paper.formats.svg import line_path, svg

SPACIOUS = ("network", "slopes", "weight", "quotients")  # figures that can be read where they are small
LONGEST_UNBROKEN, LONGEST_TABLE = 8, 30  # rows that stand on one page
TEX_WIDTH, TEX_HEIGHT, TEX_SCALE, TEX_SPACIOUS, TEX_SMALL = 440, 480, 0.85, 0.66, 0.6
WIDEST_CODE = 94


class TexPage(Page):
    def sections(self, sections: list[Section]) -> list[dict[str, str]]:
        """Words that introduce steps stay on their page; the contents come behind the first section of several."""
        written = super().sections(sections)
        written[0]["body"] += "\n\\contents" * (len(sections) > 1)
        for page, section, after in zip(written, sections, sections[1:], strict=False):
            if section.level < after.level and isinstance(section.blocks[-1], Paragraph):
                page["body"] += "\\keep"
        return written

    SPECIAL = str.maketrans(
        {
            **{letter: f"\\{letter}" for letter in "&%$#_{}"},
            "\\": r"\textbackslash{}",
            "~": r"\textasciitilde{}",
            "^": r"\textasciicircum{}",
            "<": r"\textless{}",
            ">": r"\textgreater{}",
            "|": r"\textbar{}",
            '"': "''",
        }
    )

    def escape(self, text: str) -> str:
        return text.translate(self.SPECIAL)

    def formula(self, tex: str) -> str:
        return f"${tex}$"

    def code(self, text: str) -> str:
        return rf"\texttt{{{self.escape(text)}}}"

    def emphasis(self, text: str) -> str:
        return rf"\emph{{{text}}}"

    def heading(self, section: Section) -> str:
        command = "section" if section.level == 2 else "subsection" if section.step else "paragraph"
        labels = "".join(rf"\label{{{anchor}}}" for anchor in (section.anchor, *section.others))
        return rf"\{command}{{{self.title(section.title)}{'.' * (command == 'paragraph')}}}{labels}"

    def reference(self, anchor: str) -> str:
        return rf"\hyperref[{anchor}]{{{anchor}}}"

    def paragraph(self, block: Paragraph) -> str:
        """What ends in a colon stays with what it introduces."""
        return f"\n{self.text(block.text)}" + "\\par\\nopagebreak" * block.text.endswith(":")

    def bullets(self, block: Bullets) -> str:
        items = "\n".join(rf"\item {self.text(item)}" for item in block.items)
        return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"

    def display(self, block: Display) -> str:
        return f"\\[ {block.tex} \\]"

    def boxed(self, block: Boxed) -> str:
        return rf"\result{{{block.tex}}}"

    def broken(self, block: Broken) -> str:
        rows = " \\\\\n".join(rf"  & \hspace{{{indent}em}} {line}" for indent, line in block.lines)
        return f"\\begin{{align*}}\n{block.left} = {{}} {rows.lstrip()}\n\\end{{align*}}"

    def chain(self, block: Chain) -> str:
        rows = "\n".join(
            rf"\step{{{row.left}}}{{{{}}{row.sign} {row.right}}}{{{self.text(row.reason)}}}{{{row.shape}}}"
            for row in block.rows
        )
        kind = "steps" if len(block.rows) <= LONGEST_UNBROKEN else "longsteps"
        return f"\\begin{{{kind}}}\n{rows}\n\\end{{{kind}}}"

    def values(self, block: Values) -> str:
        rows = "\n".join(rf"\numbers{{{row.left} = {row.right}}}{{{self.text(row.reason)}}}" for row in block.rows)
        return f"\\begin{{values}}\n{rows}\n\\end{{values}}"

    def listing(self, block: Listing) -> str:
        size = "small" if max(map(len, block.text.split("\n"))) <= WIDEST_CODE else "scriptsize"
        before, behind = ("\\samepage", "") if block.text.count("\n") < LONGEST_UNBROKEN else ("", "")
        if self.is_long(block.text):
            before, behind = "\\begin{multicols}{2}", "\n\\end{multicols}"
        return f"{{\\{size}{before}\n\\begin{{verbatim}}\n{block.text}\n\\end{{verbatim}}{behind}}}"

    def is_long(self, code: str) -> bool:
        """Whether the lines are so many, and so short, that they stand in two columns."""
        lines = code.split("\n")
        return len(lines) > LONGEST_UNBROKEN and max(map(len, lines)) <= WIDEST_CODE // 2

    def table(self, block: Table) -> str:
        columns = "".join(
            rf">{{\raggedright\arraybackslash}}p{{{0.9 * share:.3f}\linewidth}}" for share in block.widths
        )
        head = " & ".join(rf"\textbf{{{self.text(cell)}}}" for cell in block.head)
        rows = "\n".join(" & ".join(map(self.text, row)) + r" \\" for row in block.rows)
        kind, endhead = ("tabular", "") if len(block.rows) <= LONGEST_TABLE else ("longtable", "\\endhead\n")
        return (
            f"{{\\par\\smallskip\\small\\setlength{{\\tabcolsep}}{{0.01\\linewidth}}\\renewcommand{{\\arraystretch}}{{1.1}}\n"
            f"\\begin{{{kind}}}{{@{{}}{columns}@{{}}}}\n\\hline\n"
            f"{head} \\\\ \\hline\n{endhead}{rows}*\n\\hline\n\\end{{{kind}}}\\par\\smallskip}}"
        )

    def picture(self, block: Picture) -> str:
        """Shrunk to the page if it is wider; `picture` knows the slopes that figures keep to."""
        figure = block.figure
        scale = min(
            TEX_SPACIOUS if figure.name in SPACIOUS else TEX_SCALE, TEX_WIDTH / figure.width, TEX_HEIGHT / figure.height
        )
        size = "footnotesize" if scale > TEX_SMALL else "scriptsize"
        height = figure.height / figure.panels
        panels = []
        for base in (height * place for place in reversed(range(figure.panels))):
            inside = (self.part(part) for part in figure.drawn if base <= height_of(part) < base + height)
            parts = "\n".join(inside)
            panels.append(f"\\begin{{picture}}({figure.width:g},{height:g})(0,{base:g})\n{parts}\n\\end{{picture}}")
        panels[-1] += f"\n\n{{\\footnotesize {self.text(figure.caption)}\\par}}"
        return "\n".join(
            f"\\begin{{center}}\\begin{{minipage}}{{\\linewidth}}\\centering\\setlength{{\\unitlength}}{{{scale:.3f}pt}}\\{size}\n"
            f"{panel}\n\\end{{minipage}}\\end{{center}}"
            for panel in panels
        )

    def part(self, part: Circle | Segment | Label | Curve) -> str:
        if isinstance(part, Curve):
            return "\n".join(straight(*ends) for ends in list(pairwise(part.points))[:: 1 + part.dashed])
        if isinstance(part, Circle):
            return rf"\put({part.x:g},{part.y:g}){{\circle{{{2 * part.radius:g}}}}}"
        if isinstance(part, Label):
            return rf"\put({part.x:g},{part.y:g}){{\makebox(0,0){{${part.tex}$}}}}"
        dx, dy = part.x2 - part.x1, part.y2 - part.y1
        slope = Fraction(dy / dx if dx else 0).limit_denominator(6)
        steps = [slope.denominator, slope.numerator] if dx else [0, 1]
        steps = [int(math.copysign(step, move)) if step else 0 for step, move in zip(steps, (dx, dy), strict=True)]
        command = "vector" if part.arrow else "line"
        return rf"\put({part.x1:.2f},{part.y1:.2f}){{\{command}({steps[0]},{steps[1]}){{{abs(dx or dy):.2f}}}}}"


class MarkdownPage(Page):
    """As GitHub shows it: fences of math, and none of the commands that it does not know."""

    def escape(self, text: str) -> str:
        return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", text)

    def formula(self, tex: str) -> str:
        return f"$`{tex}`$"

    def code(self, text: str) -> str:
        return f"`{text}`"

    def emphasis(self, text: str) -> str:
        return f"*{text}*"

    def heading(self, section: Section) -> str:
        return f"{'#' * section.level} {self.title(section.title)}"

    def paragraph(self, block: Paragraph) -> str:
        return f"{self.text(block.text)}\n"

    def bullets(self, block: Bullets) -> str:
        return "".join(f"- {self.text(item)}\n" for item in block.items)

    def fence(self, tex: str) -> str:
        return f"```math\n{tex}\n```\n"

    def display(self, block: Display) -> str:
        return self.fence(block.tex)

    def boxed(self, block: Boxed) -> str:
        return self.fence(f"\\boxed{{ {block.tex} }}")

    def broken(self, block: Broken) -> str:
        rows = " \\\\\n".join("& " + r"\quad " * indent + line for indent, line in block.lines)
        return self.fence(f"\\begin{{aligned}}\n{block.left} = {{}} {rows}\n\\end{{aligned}}")

    def chain(self, block: Chain) -> str:
        rows = " \\\\\n".join(
            f"{row.left} &{row.sign} {row.right} && {self.reason(row.reason)} && {row.shape}" for row in block.rows
        )
        return self.fence(f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}")

    def values(self, block: Values) -> str:
        return self.chain(block)

    def reason(self, text: str) -> str:
        """Prose inside a formula."""
        parts = re.split(r"\$([^$]*)\$", text)
        words = (rf"\text{{{self.in_formula(part)}}}" if part else "" for part in parts[::2])
        return "".join(word + formula for word, formula in zip(words, [*parts[1::2], ""], strict=True))

    def in_formula(self, text: str) -> str:
        text = re.sub(r"([&%$#_{}])|\\", lambda match: rf"\{match[1]}" if match[1] else r"$\backslash$", text)
        return text.replace("`", "")

    def listing(self, block: Listing) -> str:
        return f"```python\n{block.text}\n```\n"

    def table(self, block: Table) -> str:
        rows = [map(self.text, block.head), ["---"] * len(block.head), *(map(self.text, row) for row in block.rows)]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def picture(self, block: Picture) -> str:
        return f"![{self.escape(block.figure.caption)}]({block.figure.name}.svg)\n"


class HtmlPage(Page):
    """One file that needs no other: MathML, figures inside, and each symbol with its name."""

    def __init__(self, symbols: dict[str, str] | None = None) -> None:
        self.symbols = symbols or {}

    def escape(self, text: str) -> str:
        return html.escape(text)

    def formula(self, tex: str) -> str:
        return mathml(tex, self.symbols)

    def code(self, text: str) -> str:
        return f"<code>{html.escape(text)}</code>"

    def emphasis(self, text: str) -> str:
        return f"<em>{text}</em>"

    def formula_and(self, sign: str, tex: str) -> str:
        """On one line."""
        whole = super().formula_and(sign, tex)
        return f'<span class="whole">{whole}</span>' if sign else whole

    def sections(self, sections: list[Section]) -> list[dict[str, str]]:
        """Also the anchor, and whether a section is a step to go through one by one."""
        written = super().sections(sections)
        kinds = {True: "step", False: "part"}
        return [
            {**page, "anchor": section.anchor, "kind": kinds[section.step], "title": self.title(section.title)}
            for page, section in zip(written, sections, strict=True)
        ]

    def heading(self, section: Section) -> str:
        others = "".join(f'<a id="{anchor}"></a>' for anchor in section.others)
        return f"<h{section.level}>{self.title(section.title)}{others}</h{section.level}>"

    def reference(self, anchor: str) -> str:
        return f'<a href="#{anchor}">{anchor}</a>'

    def paragraph(self, block: Paragraph) -> str:
        return f"<p>{self.text(block.text)}</p>"

    def bullets(self, block: Bullets) -> str:
        items = "".join(f'<li><div class="scroll">{self.text(item)}</div></li>' for item in block.items)
        return f"<ul>{items}</ul>"

    def display(self, block: Display) -> str:
        return f'<div class="display">{mathml(block.tex, self.symbols, display=True)}</div>'

    def boxed(self, block: Boxed) -> str:
        return f'<div class="display result">{mathml(block.tex, self.symbols, display=True)}</div>'

    def broken(self, block: Broken) -> str:
        lines = "".join(
            f'<div style="margin-left: {indent}em">{mathml(line, self.symbols, display=True)}</div>'
            for indent, line in block.lines
        )
        left = mathml(f"{block.left} =", self.symbols, display=True)
        return f'<div class="display broken">{left}<div>{lines}</div></div>'

    def chain(self, block: Chain) -> str:
        rows = "\n".join(
            f'<tr><td class="left">{self.side(row.left)}</td>'
            f'<td class="right">{self.side(f"{row.sign} {row.right}")}</td>'
            f'<td class="reason">{self.text(row.reason)}</td><td class="shape">{self.side(row.shape)}</td></tr>'
            for row in block.rows
        )
        return f'<div class="scroll"><table class="chain">\n{rows}\n</table></div>'

    def values(self, block: Values) -> str:
        rows = "\n".join(
            f'<li class="scroll">{self.side(f"{row.left} = {row.right}")} <small>{self.text(row.reason)}</small></li>'
            for row in block.rows
        )
        return f'<ul class="values">\n{rows}\n</ul>'

    def side(self, tex: str) -> str:
        return mathml(tex, self.symbols, display=True) if tex else ""

    def listing(self, block: Listing) -> str:
        return f"<pre><code>{html.escape(block.text)}</code></pre>"

    def table(self, block: Table) -> str:
        head = "".join(f'<th scope="col">{self.text(cell)}</th>' for cell in block.head)
        rows = "\n".join(f"<tr>{''.join(f'<td>{self.text(cell)}</td>' for cell in row)}</tr>" for row in block.rows)
        body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
        return f'<div class="scroll"><table class="grid">\n{body}</table></div>'

    def picture(self, block: Picture) -> str:
        caption = self.text(block.figure.caption)
        slider = self.slider(block.figure) if block.figure.slider else ""
        return (
            f'<figure><div class="scroll">{svg(block.figure)}</div>{slider}<figcaption>{caption}</figcaption></figure>'
        )

    def slider(self, figure: Figure) -> str:
        """What moves the reading of a figure, and says it."""
        readings = [
            {
                "mark": [round(r.mark.x, 2), round(figure.height - r.mark.y, 2)],
                "line": line_path(r.line, figure.height),
                "text": r.text,
            }
            for r in figure.readings
        ]
        ends = f'min="0" max="{len(readings) - 1}" value="{figure.at}"'
        return (
            f'<p class="slider"><label>{self.text(figure.slider)} <input type="range" {ends} '
            f'data-readings="{html.escape(json.dumps(readings))}"></label> '
            f"<output>{html.escape(figure.readings[figure.at].text)}</output></p>"
        )


def height_of(part: Circle | Segment | Label | Curve) -> float:
    """Of a point of it."""
    return part.points[0][1] if isinstance(part, Curve) else part.y1 if isinstance(part, Segment) else part.y


def straight(one: tuple[float, float], other: tuple[float, float]) -> str:
    """A piece of a curve, of any slope, which `line` of LaTeX cannot draw."""
    (a, b), (c, d) = one, other
    return rf"\qbezier({a:.2f},{b:.2f})({(a + c) / 2:.2f},{(b + d) / 2:.2f})({c:.2f},{d:.2f})"
