"""Exercises as Markdown: the forward pass as it is, and each line of the backward pass with a gap to fill."""

from derive.backends import Attribute, Infix, Literal, Source
from derive.backends.torch import Line
from derive.calculus import derive
from derive.paper import examples, goal, network_title, prose, step_lines, step_title
from derive.paper.formats import MarkdownPage
from derive.problems import Network
from derive.programs import readable
from derive.reading import forward

BLANK = "____"


def exercise_sheet(network: Network, solved: bool = False, place: str = "FOLDER") -> str:
    """The exercises of a network, `solved` with nothing left out; `place` is where the network is."""
    derived = derive(forward(network))
    page, rules = MarkdownPage(), list(examples(derived))
    program, code = derived.program, step_lines(derived, readable(derived))
    known = "\n".join(commented(line, line.value.text) for e in program.equations for line in code[e.target])
    parts = [
        f"# Exercises: {page.text(network_title(network)[:1].lower() + network_title(network)[1:])}",
        prose("exercises.solved") if solved else prose("exercises.fill", gap=f"`{BLANK}`", place=place),
        prose("exercises.known"),
        f"```python\n{known}\n```",
    ]
    for step in derived.backward:
        *before, line = code[step.target]
        given = [commented(part, part.value.text) for part in before]
        cotangents = {program.notation.torch(s.name) for s in step.uses if program.notation.is_cotangent(s.name)}
        text = (line.value if solved else gapped(line.value, cotangents)).text
        parts += [
            f"## {derived.labels[step.target]}. {page.text(step_title(program, step))}",
            page.text(goal(derived, step, rules)),
            "```python\n" + "\n".join([*given, commented(line, text)]) + "\n```",
        ]
    return "\n\n".join(parts) + "\n"


def commented(line: Line, text: str) -> str:
    return f"{line.target} = {text}  # {line.shape}"


def gapped(value: Source, cotangents: set[str]) -> Source:
    """The right side of a line without what has to be found: a factor of a product, a slope, or all of it."""
    blank, first = Literal(BLANK), value
    match value:
        case Infix(operator="@", left=Attribute(name="T"), right=right):
            return Infix("@", blank, right)
        case Infix(operator="@", left=left):
            return Infix("@", left, blank)
    while isinstance(first, Infix) and first.operator == "*":
        first = first.left
    return Infix("*", first, blank) if first != value and first.names & cotangents else blank
