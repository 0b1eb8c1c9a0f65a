"""What the two passes cost: multiplications in products of matrices, and what is kept in between."""

from collections.abc import Iterable
from itertools import pairwise

from sympy import Expr, Integer, expand

from derive.operations import Affine, Operation, Product, Scaled, Sum, lower
from derive.paper.blocks import Paragraph, Section, Table
from derive.paper.latex import scalar_latex, symbol_in_line
from derive.paper.prose import prose
from derive.problems import N
from derive.programs import Derivation, Equation

BYTES = 4  # of a float32


def cost_section(derivation: Derivation) -> Section:
    """A table for any number of points N, with the sizes of the layers as they are."""
    program = derivation.program
    forward, back = (multiplications(derivation, of) for of in (program.equations, derivation.backward))
    made = {e.target for e in program.equations}
    kept = {use for e in derivation.backward for use in e.uses if use in made}
    which = ", ".join(f"${symbol_in_line(program, e.target)}$" for e in program.equations if e.target in kept)
    numbers = sum((entry_count(derivation, symbol.shape) for symbol in kept), Integer(0))
    weights = sum((entry_count(derivation, symbol.shape) for symbol in program.parameters), Integer(0))
    rows = (
        (prose("cost.forward"), f"${scalar_latex(forward)}$"),
        (prose("cost.backward"), f"${scalar_latex(back)}$"),
        (prose("cost.ratio"), f"{float((back / forward).limit(N, 'oo') if back.has(N) else back / forward):.2f}"),
        (prose("cost.kept", which=which), f"${scalar_latex(expand(BYTES * numbers))}$"),
        (prose("cost.gradients"), f"${scalar_latex(expand(BYTES * weights))}$"),
    )
    table = Table((prose("cost.what"), prose("cost.number")), rows, (0.6, 0.4))
    return Section("What it costs", "cost", (Paragraph(prose("cost.note")), table))


def multiplications(derivation: Derivation, equations: Iterable[Equation]) -> Expr:
    counts = (products_in(lower(equation.value)) for equation in equations)
    return expand(sum(counts, Integer(0)).xreplace(derivation.program.sizes))


def products_in(operation: Operation) -> Expr:
    """The multiplications in the matrix products of an operation, each from left to right."""
    match operation:
        case Affine(input=x, weight=w):
            return x.shape[0] * x.shape[1] * w.shape[0]
        case Product(factors=factors):
            rows = factors[0].shape[0]
            return sum((rows * one.shape[1] * other.shape[1] for one, other in pairwise(factors)), Integer(0))
        case Sum(terms=terms):
            return sum(map(products_in, terms), Integer(0))
        case Scaled(of=of):
            return products_in(of)
    return Integer(0)


def entry_count(derivation: Derivation, shape: tuple[Expr, Expr]) -> Expr:
    return (shape[0] * shape[1]).xreplace(derivation.program.sizes)
