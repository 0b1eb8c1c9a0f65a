"""What else is derived from a forward pass: gradients in the inputs and of single rows, tangents, curvature, parts of
the loss."""

from dataclasses import dataclass, replace

from sympy import MatAdd, MatrixSymbol

from derive.calculus.reverse import derive, reachable
from derive.calculus.tangent import tangents
from derive.programs import Derivation, Equation, Program, needed


@dataclass(frozen=True)
class Computed:
    """Equations, and by name the symbol of each result; None where it is zero, as nothing moves it."""

    program: Program
    equations: tuple[Equation, ...]
    results: dict[str, MatrixSymbol | None]


def input_grad(program: Program) -> Computed:
    """dL/dX by the same reverse sweep, carried on to the inputs; terms of the loss without X fall away."""
    X = program.data[0]
    derivation = derive(replace(program, parameters=(X,)))
    return Computed(program, derivation.equations, {"x": derivation.gradients[X]})


def jvp(program: Program) -> Computed:
    """The prediction and its tangent, by the forward sweep over the forward pass."""
    equations, _ = program.predicting()
    sweep, moved = tangents(equations, directions(program), program.notation)
    results = {"prediction": program.prediction, "dot": moved.get(program.prediction)}
    return Computed(program, equations + sweep, results)


def hvp(derivation: Derivation) -> Computed:
    """Hessian times direction, by the forward sweep over forward and reverse pass (Pearlmutter 1994)."""
    program = derivation.program
    sweep, moved = tangents(derivation.equations, directions(program), program.notation)
    results = {symbol.name: moved.get(gradient) for symbol, gradient in derivation.gradients.items()}
    return Computed(program, derivation.equations + sweep, results)


def per_sample_grad(derivation: Derivation) -> tuple[tuple[Equation, ...], tuple[Equation, ...]]:
    """Of the sum of the rows' own losses, what the gradients need, and the gradients themselves.

    Each of these is a sum over the rows, and what it adds for a row is the gradient of that row's own loss.
    """
    sums = set(derivation.gradients.values())
    equations = needed(derivation.equations, sums)
    return tuple(e for e in equations if e.target not in sums), tuple(e for e in equations if e.target in sums)


def directions(program: Program) -> dict[MatrixSymbol, MatrixSymbol]:
    return {symbol: program.notation.tangent(symbol) for symbol in program.parameters}


def of_parameters_alone(program: Program) -> Program | None:
    """The terms of the loss that no data enter, as a program of those parameters that they have; None without any."""
    *_, last = program.equations
    moving = reachable(program, program.data)
    terms = [term for term in MatAdd.make_args(last.value) if not moving & term.atoms(MatrixSymbol)]
    if not terms:
        return None
    loss = replace(last, value=MatAdd(*terms) if len(terms) > 1 else terms[0])
    equations = needed((*program.equations[:-1], loss), [loss.target])
    used = tuple(symbol for symbol in program.parameters if any(symbol in e.uses for e in equations))
    return replace(program, inputs=used, parameters=used, equations=equations, prediction=None)
