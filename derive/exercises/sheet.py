"""Exercises as Markdown: the forward pass as it is, and each line of the backward pass with a gap to fill."""

from derive.backends import Attribute, Infix, Literal, Source
from derive.backends.torch import ONE, Line, lines
from derive.calculus import derive
from derive.paper import examples, goal, network_title, prose, step_title
from derive.paper.formats import MarkdownPage
from derive.problems import Network
from derive.programs import readable
from derive.reading import forward

BLANK = "____"


def exercise_sheet(network: Network, solved: bool = False, place: str = "FOLDER") -> str:
    """The exercises of a network, `solved` with nothing left out; `place` is where the network is."""
    derived = derive(forward(network))
    derivation, page, rules = readable(derived), MarkdownPage(), list(examples(derived))
    program = derivation.program
    code = dict(zip((e.target for e in derivation.equations), lines(program, derivation.equations, ONE), strict=True))
    known = "\n".join(commented(code[e.target], code[e.target].value.text) for e in program.equations)
    parts = [
        f"# Exercises: {page.text(network_title(network)[:1].lower() + network_title(network)[1:])}",
        prose("exercises.solved") if solved else prose("exercises.fill", gap=f"`{BLANK}`", place=place),
        prose("exercises.known"),
        f"```python\n{known}\n```",
    ]
    steps = {e.target: e for e in derived.backward}
    given: list[str] = []
    for equation in derivation.backward:
        line = code[equation.target]
        if equation.target not in steps:
            given.append(commented(line, line.value.text))
            continue
        step = steps[equation.target]
        cotangents = {program.notation.torch(s.name) for s in equation.uses if program.notation.is_cotangent(s.name)}
        text = (line.value if solved else gapped(line.value, cotangents)).text
        parts += [
            f"## {derived.labels[step.target]}. {page.text(step_title(derived.program, step))}",
            page.text(goal(derived, step, rules)),
            "```python\n" + "\n".join([*given, commented(line, text)]) + "\n```",
        ]
        given = []
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
