"""Exercises as Markdown: the forward pass as it is, and each line of the backward pass with a gap to fill."""

import ast

from derive.backends.torch import ONE, Line, lines
from derive.calculus import derive
from derive.paper import examples, goal, network_title, prose, step_title
from derive.paper.formats import MarkdownPage
from derive.problems import Network
from derive.programs import readable
from derive.reading import forward

BLANK = "____"


def exercise_sheet(network: Network, solved: bool = False) -> str:
    """The exercises of a network, `solved` with nothing left out."""
    derived = derive(forward(network))
    derivation, page, rules = readable(derived), MarkdownPage(), list(examples(derived))
    program = derivation.program
    code = dict(zip((e.target for e in derivation.equations), lines(program, derivation.equations, ONE), strict=True))
    known = "\n".join(commented(code[e.target], code[e.target].value.text) for e in program.equations)
    parts = [
        f"# Exercises: {page.text(network_title(network)[:1].lower() + network_title(network)[1:])}",
        prose("exercises.solved" if solved else "exercises.fill", gap=f"`{BLANK}`"),
        prose("exercises.known"),
        f"```python\n{known}\n```",
    ]
    numbers = {e.target: (number, e) for number, e in enumerate(derived.backward, 1)}
    given: list[str] = []
    for equation in derivation.backward:
        line = code[equation.target]
        if equation.target not in numbers:
            given.append(commented(line, line.value.text))
            continue
        number, step = numbers[equation.target]
        text = line.value.text if solved else gapped(line.value.text)
        parts += [
            f"## B{number}. {page.text(step_title(derived.program, step))}",
            page.text(goal(derived, step, rules)),
            "```python\n" + "\n".join([*given, commented(line, text)]) + "\n```",
        ]
        given = []
    return "\n\n".join(parts) + "\n"


def commented(line: Line, text: str) -> str:
    return f"{line.target} = {text}  # {line.shape}"


def gapped(text: str) -> str:
    """The right side of a line without what has to be found: a factor of a product, a slope, or all of it."""
    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.MatMult):
        whole = tree.left if "T" in attributes(tree.left) else tree.right
        return text.replace(ast.get_source_segment(text, whole) or text, BLANK, 1)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult) and text.startswith("grad_"):
        first = text.partition(" * ")[0]
        return f"{first} * {BLANK}"
    return BLANK


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
