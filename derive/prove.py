"""python -m derive.prove: shows that an emitted package computes the gradient, exactly.

Its source is run as it lies on disk, on symbols in place of numbers. Each entry of each result must be identical to
SymPy's derivative of the scalar loss, which is written out here by loops over entries: no matrices, no chain rule.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import sympy
from sympy import Expr, Integer, Rational, diff, exp, log

from derive.algebra import Algebra
from derive.command import Parser
from derive.functions import z
from derive.losses import logsumexp, p, y
from derive.network import Network
from derive.symbolic import Tensor, run_source, symbols

ROWS = (1, 2)


class NotProved(Exception):
    """An entry of which it is not shown that it is the derivative."""


@dataclass(frozen=True)
class Certificate:
    """What was shown of the source with this hash: the loss and `entries` derivatives, for each number of `rows`."""

    network: Network
    entries: int
    rows: tuple[int, ...]
    sha256: str

    def __str__(self) -> str:
        sizes = " and ".join(f"N = {rows}" for rows in self.rows)
        return (
            f"proved: the loss and all {self.entries} entries of its gradient, for {sizes}, are identically\n"
            f"the scalar loss of {self.network}, and SymPy's derivatives of it\n"
            f"backward.py sha256 {self.sha256}\n"
            f"SymPy {sympy.__version__}, Python {sys.version.split()[0]}"
        )


def prove(folder: Path, progress: bool = False) -> Certificate:
    """The certificate of the package in a folder.

    Raises NotProved with the first entry that fails, OSError or ValueError where there is no such package.
    """
    path = Path(folder) / "backward.py"
    source = path.read_text(encoding="utf-8")
    network = network_of(source, path)
    total = network.entries + 1
    for rows in ROWS:
        for done, (name, emitted, derivative) in enumerate(obligations(network, source, path, rows), 1):
            show(name, emitted, derivative, f"{path} with N = {rows}")
            if progress:
                bar = "#" * (done * 30 // total)
                print(f"\rN = {rows} [{bar:30}] {done}/{total}", end="", file=sys.stderr, flush=True)
        if progress:
            print(file=sys.stderr)
    return Certificate(network, network.entries, ROWS, hashlib.sha256(source.encode()).hexdigest())


def show(name: str, emitted: Expr, derivative: Expr, where: str) -> None:
    """Passes where the two are identical: with functions such as sigmoid kept whole, else opened into exp.

    Raises NotProved otherwise, with their values at a random point where these differ.
    """
    if Algebra().identical(emitted, derivative):
        return
    random = Random(0)
    unknown = sorted(emitted.free_symbols | derivative.free_symbols, key=lambda symbol: symbol.name)
    point = {symbol: Rational(random.randint(-200, 200), 100) for symbol in unknown}
    values = [expr.xreplace(point).evalf(30) for expr in (emitted, derivative)]
    if abs(values[0] - values[1]) > 1e-20:
        raise NotProved(f"{where}: {name} is wrong: {values[0]:.6g} at a point where it should be {values[1]:.6g}")
    if not Algebra(open_functions=True).identical(emitted, derivative):
        raise NotProved(f"{where}: {name} could not be proved, although it is right at one point to 20 digits")


def network_of(source: str, path: Path) -> Network:
    """The network that the package says it is for."""
    for node in ast.parse(source, str(path)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NETWORK":
            return Network(**ast.literal_eval(node.value))
    raise ValueError(f"{path}: no NETWORK; written by another version? python -m derive.build writes it anew")


def obligations(network: Network, source: str, path: Path, rows: int) -> Iterator[tuple[str, Expr, Expr]]:
    """What is to be shown identical: the entry's name, what the source computes, what SymPy derives."""
    shapes = {}
    for layer in range(1, network.depth + 1):
        shapes[f"W{layer}"] = (network.layers[layer], network.layers[layer - 1])
        shapes[f"b{layer}"] = (network.layers[layer],)
    parameters = {name: symbols(name, shape) for name, shape in shapes.items()}
    x, y = symbols("x", (rows, network.layers[0])), symbols("y", (rows, network.layers[-1]))
    try:
        loss, gradients = run_source(source, str(path))["value_and_grad"](list(parameters.values()), x, y)
        results = {name: getattr(gradients, name).entries for name in parameters}
    except Exception as error:
        raise NotProved(f"{path} with N = {rows} fails on symbols: {type(error).__name__}: {error}") from error
    scalar = scalar_loss(network, parameters, x, y)
    yield "the loss", loss.entries.item(), scalar
    for name, parameter in parameters.items():
        if results[name].shape != parameter.entries.shape:
            raise NotProved(f"{path}: dL/d{name} has the shape {results[name].shape}, not {parameter.entries.shape}")
        for entry, emitted in zip(parameter.entries.flat, results[name].flat, strict=True):
            yield f"dL/d{entry}", emitted, diff(scalar, entry)


def scalar_loss(network: Network, parameters: dict[str, Tensor], x: Tensor, y_: Tensor) -> Expr:
    """The loss by its definition, entry by entry."""
    loss, total = network.criterion(), Integer(0)
    for n in range(x.entries.shape[0]):
        a = list(x.entries[n])
        for layer in range(1, network.depth + 1):
            W, b = parameters[f"W{layer}"].entries, parameters[f"b{layer}"].entries
            activation = network.function(layer)
            a = [
                activation.xreplace({z: sum((W[i, j] * a[j] for j in range(len(a))), b[i])})
                for i in range(network.layers[layer])
            ]
        total += row_loss(loss.formula, a, list(y_.entries[n]))
    if network.reduction == "sum":
        return total
    return total / (y_.entries.shape[0] if loss.per_row else y_.entries.size)


def row_loss(formula: Expr, prediction: list[Expr], target: list[Expr]) -> Expr:
    """The losses of a row's entries, added; logsumexp runs over the row."""
    entries = [{p: a, y: b} for a, b in zip(prediction, target, strict=True)]
    for coupled in formula.atoms(logsumexp):
        formula = formula.xreplace({coupled: log(sum(exp(coupled.args[0].xreplace(at)) for at in entries))})
    return sum((formula.xreplace(at) for at in entries), Integer(0))


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m derive.prove", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("generated"), help="of the package (generated)")
    options = parser.parse_args(argv)
    try:
        print(prove(options.folder, progress=True))
    except NotProved as error:
        print(f"\nNOT proved: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        print(f"python -m derive.prove: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
