"""The derivation of a module's backward, to read."""

from collections.abc import Iterable, Sequence

from derive.backward.emit import Texts, gradient_shape, shape_text, short
from derive.backward.reading import Reading
from derive.backward.sweep import Sweep, SweepLine
from derive.backward.tape import Value
from derive.backward.written import authors_text
from derive.packages import document_pages
from derive.paper import Bullets, Paragraph, Section, Table, prose

ROWS_PROSE = (
    "Of what all rows share, each row of the batch has its own gradient: the sum over rows is left out. "
    "All else is as above."
)
TANGENTS = (
    "As each d_x is added to x, d_y is added to y, but for squares of these. The rules are the same, read forwards."
)
OPPOSITE = "sigmoid(-"  # in code of backward
OF_OPPOSITES = (
    "With $\\sigma$ for `sigmoid`, the slope of $a = \\sigma(u)$ is $a (1 - a) = \\sigma(u) \\, \\sigma(-u)$, "
    "and that of $a = \\tanh(u)$ is $1 - a^{2} = 4 \\, \\sigma(2 u) \\, \\sigma(-2 u)$. "
    "Written with $-u$ it keeps its digits where $a$ is nearly 1."
)
RULES = {
    "as large as the largest": "The cotangent goes to the entry that is largest, or in equal parts to those that are.",
    "product rule": "A product is linear in each factor. Its adjoint in one of them is a product of the cotangent and "
    "the others.",
    "adjoint of a linear map": "$y = A x$ sends back $A^{\\top} g$, where $\\langle A x, g \\rangle = \\langle x, "
    "A^{\\top} g \\rangle$ for all $x$ and $g$.",
    "chain rule, entry by entry": "$y = f(x, ...)$ in each entry sends back $g$ times the slope of $f$, which SymPy "
    "derives from $f$. What was repeated along an axis gets the sum along it.",
    "chain rule along the line": "Each entry of a line depends on all of them, by sums or means over the line. SymPy "
    "derives what goes back through these from their definitions, and writes it in the output.",
    "chain rule along the lines": "The same where a line runs along several axes.",
}


def quoted_code(text: str) -> str:
    """Code that fits between the quotes of a page."""
    return text.replace("`", "'").replace("\n", " ")


def pages(reading: Reading, texts: Texts, title: str, paths: dict[str, str]) -> dict[str, str]:
    """The files of the document, by their names."""
    headline = f"The backward pass of `{quoted_code(title)}`"
    return document_pages(headline, prose("about.module"), document(reading, texts, paths))


def document(reading: Reading, texts: Texts, paths: dict[str, str]) -> list[Section]:
    sweep = texts.sweep
    used = dict.fromkeys(equation.why for line in sweep.lines for equation in line.through)
    tangents = [(e, shape_text(reading.tape, e.value.shape), e.through[0].why) for e in texts.tangents]
    return [
        Section("What is given", "given", (inputs(reading, paths),)),
        Section("Forward", "forward", tuple(forward_part(reading))),
        Section(
            "Rules",
            "rules",
            (
                Paragraph(
                    "$L$ is any number that is made of the output, and $G$ (`G` in the code) its gradient there."
                ),
                Bullets(tuple(f"*{why}*: {RULES[why]}" for why in used if why in RULES)),
                *[Paragraph(OF_OPPOSITES)] * any(OPPOSITE in line.code.text for line in sweep.lines),
            ),
        ),
        Section("Backward", "backward", (backward_table(reading, sweep, sweep.lines), ends(reading, sweep))),
        Section("Each row by itself", "rows", by_row(reading, texts)),
        Section("Tangents", "tangents", (Paragraph(TANGENTS), line_table(tangents))),
    ]


def by_row(reading: Reading, texts: Texts) -> tuple[Paragraph | Table, ...]:
    """The lines in which it differs from all rows together."""
    if texts.by_row is None:
        return (Paragraph(quoted_code(f"{texts.without}.")),)
    same = {(line.name, line.code.text) for line in texts.sweep.lines}
    lines = [line for line in texts.by_row.lines if (line.name, line.code.text) not in same]
    return Paragraph(ROWS_PROSE), *([backward_table(reading, texts.by_row, lines)] if lines else [])


def inputs(reading: Reading, paths: dict[str, str]) -> Table:
    rows = (
        (f"`{value.name}`", f"`{shown_shape(reading, value)}`", f"`{paths.get(value.name, value.name)}`")
        for value in reading.tape.inputs
    )
    return Table(("name", "shape", "in the module"), tuple(rows), (0.4, 0.3, 0.3))


def forward_part(reading: Reading) -> list[Paragraph | Table]:
    """Each equation, beside the statement of the author that it is of."""
    rows = []
    before = ""
    for one in reading.equations:
        statement = authors_text(one.step.line)
        target = ", ".join(value.name for value in one.values)
        shape = shown_shape(reading, one.values[0])
        rows.append(
            (
                f"`{target} = {quoted_code(short(one.code).text)}`",
                f"`{shape}`",
                f"`{quoted_code(statement)}`" if statement not in ("", before) else "",
            )
        )
        before = statement
    return [Table(("equation", "shape", "in the module"), tuple(rows), (0.5, 0.15, 0.35))]


def backward_table(reading: Reading, sweep: Sweep, lines: Sequence[SweepLine]) -> Table:
    return line_table((line, gradient_shape(reading, sweep, line.value), reasons(line)) for line in lines)


def line_table(lines: Iterable[tuple[SweepLine, str, str]]) -> Table:
    """Lines with their shapes, and why they hold."""
    rows = (
        (f"`{line.name} = {quoted_code(short(line.code).text)}`", f"`{unbroken(shape)}`", why)
        for line, shape, why in lines
    )
    return Table(("equation", "shape", "why"), tuple(rows), (0.55, 0.15, 0.3))


def reasons(line: SweepLine) -> str:
    rules = dict.fromkeys(equation.why for equation in line.through)
    values = dict.fromkeys(value.name for equation in line.through for value in equation.values)
    return f"{' and '.join(rules)}, through {', '.join(f'`{name}`' for name in values)}" if rules else ""


def ends(reading: Reading, sweep: Sweep) -> Table:
    """What each gradient is called."""
    wanted: list[Value] = [value for value in reading.tape.inputs if value.moves]
    rows = tuple((f"`{value.name}`", f"`{sweep.gradients[value].text}`") for value in wanted)
    return Table(("gradient in", "is"), rows, (0.5, 0.5))


def shown_shape(reading: Reading, value: Value) -> str:
    return unbroken(shape_text(reading.tape, value.shape))


def unbroken(shape: str) -> str:
    """A shape whose parts stay on one line."""
    return shape.replace(" ", "\u00a0")
