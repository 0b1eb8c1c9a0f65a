"""Writes cookbook.md: the published gradients that the tests hold, as they are printed, and ours beside them.

python -m tests.tools.cookbook
"""

from pathlib import Path

from derive import derivation
from derive.programs import as_text
from tests.helpers.cookbook import PROBLEMS

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Published gradients, and ours

Written by `python -m tests.tools.cookbook`. MC is Petersen & Pedersen, The Matrix Cookbook (2012), by equation; MN is
Magnus & Neudecker, Matrix Differential Calculus. Every entry of a matrix is a variable of its own, also where a book
has a symmetric matrix. The tests hold each row to autograd and to the printed answer, and prove or check its code; `.*`
and `.^` act entry by entry.

| source | function | in | as printed | ours |
|---|---|---|---|---|
"""


def row(problem, derived):
    """The line of a problem."""
    texts = (problem.loss, problem.variable, problem.answer, derived.gradients[problem.variable])
    return " | ".join([f"| {problem.source}", *(f"`{' '.join(as_text(text).split())}`" for text in texts)]) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(
        HEAD + "".join(row(p, derivation(p.loss, [p.variable], prove=False)) for p in PROBLEMS), encoding="utf-8"
    )
