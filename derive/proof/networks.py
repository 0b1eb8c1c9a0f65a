"""The proof of an emitted package: its source, run at numbers and on symbols, against the scalar loss.

For symbols, the loss is written out here by loops over entries: no matrices. Each pre-activation of each row has a name
in both; the derivative goes forwards through it, from a weight to the loss.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from sympy import Expr, Integer, Symbol, diff, exp, log, nan

from derive.formulas import NamedFunction, logsumexp, opened, p, slope, w, y, z
from derive.packages import lost_digits, render
from derive.problems import MOST_PROVED, Network, network_of, text_of
from derive.proof.as_written import as_the_template, check_imports, check_word_for_word
from derive.proof.calls import (
    at_points,
    functions_of,
    running,
    shapes_of,
    unpacked,
)
from derive.proof.certificate import Certificate, Shown, listed
from derive.proof.contexts import naming
from derive.proof.grammar import check
from derive.proof.intermediates import Intermediates
from derive.proof.judge import Claim, Judge, NotProved
from derive.proof.native import C_FUNCTIONS, NATIVE, RUNS, SOURCE, compared, definitions
from derive.proof.source import run_source
from derive.proof.tensor import Tensor, symbols
from derive.system import OutOfTime, limited

ROWS = (1, 2)
FAST_ROWS = (1, 2, 3)  # 3 as a chunk of 2 and one of 1
FAST_FUNCTIONS = ("value_and_grad", "per_sample_grad", "hvp")
IDENTICAL = "every entry is identical to the scalar loss, or to SymPy's derivative of it"
IN_C = "every entry is identical to what backward.py computes, with the functions of numbers as what their names say"
SAME = "every entry is identical to what backward.py computes"
AS_THE_TEMPLATE = "word for word as the template has them, whose words tests hold"


def prove(folder: Path, progress: bool = False, seconds: float | None = None) -> Certificate:
    """The certificate of the package in a folder.

    Raises NotProved with the first entry that fails, or with what is not shown after so many seconds of work, OSError
    or ValueError where there is no such package or where it is too large. Only the main thread can be given a limit.
    """
    path = Path(folder) / "backward.py"
    try:
        source = text_of(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; name the folder of a package that derive.build wrote") from None
    network = network_of(source, path)
    if network.entries > MOST_PROVED:
        raise ValueError(
            f"{path}: {network.entries} weights and biases are more than the {MOST_PROVED} that can be proved entry "
            "by entry; build and prove a narrower network, the derivation is the same for any widths"
        )
    beside = path.with_name("fast.py")
    sources = {path: source, beside: text_of(beside)} if beside.exists() else {path: source}
    native = {name: text_of(path.with_name(name)) for name in NATIVE if path.with_name(name).exists()}
    shown: list[Shown] = []
    left = steps(network, sources, native, progress)
    try:
        with limited(seconds):
            check_imports(path.parent)
            models = render(network, [*(file.name for file in sources), *native])
            for file, text in sources.items():
                check(text, models[file.name], str(file))
            for name, text in native.items():
                check_word_for_word(text, models[name], path.with_name(name))
            for what, step in list(left.items()):
                shown += step
                del left[what]
    except OutOfTime:
        raise NotProved(f"{path.parent}: not shown within {seconds} seconds of work: {listed(left)}") from None
    shown += [Shown(file.name, as_the_template(text), AS_THE_TEMPLATE) for file, text in sources.items()]
    package = path.parent.resolve().name
    return Certificate(
        subject=f"the package {package}, {network}",
        about={"package": package, "network": network.spec()},
        shown=tuple(shown),
        sha256={
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in {**{file.name: text for file, text in sources.items()}, **native}.items()
        },
        unproved=tuple(
            sorted(file.name for file in path.parent.glob("*.py") if file.name not in (*models, "__init__.py"))
        ),
        digits=tuple(lost_digits(network)),
    )


def steps(
    network: Network, sources: dict[Path, str], native: dict[str, str], progress: bool
) -> dict[str, Iterator[Shown]]:
    """What there is to show, at numbers first, where what is wrong is seen in seconds; each when it is asked for."""
    (path, source), *others = sources.items()
    judge = Judge()
    return {
        "every function at points": at_points(network, sources),
        f"value_and_grad of {path.name} on symbols": of_gradient(network, path, source, judge, progress),
        f"the other functions of {path.name} on symbols": of_others(network, path, source, progress),
        **{f"{b.name} on symbols": of_fast(network, path, source, b, fast, judge, progress) for b, fast in others},
        **{f"{SOURCE} on symbols": of_native(network, path, source, fast, native) for _, fast in others if native},
    }


def of_gradient(network: Network, path: Path, source: str, judge: Judge, progress: bool) -> Iterator[Shown]:
    decided = Counter({False: judge.establish(slopes(network), str(path))[False]})
    for rows in ROWS:
        claims = Case(network, source, path, rows, judge.sums).gradient()
        label = f"N = {rows}" if progress else ""
        decided += judge.establish(claims, f"{path} with N = {rows}", network.entries + 1, label)
    yield on_symbols(path, ("value_and_grad",), IDENTICAL, network, ROWS, decided)


def of_others(network: Network, path: Path, source: str, progress: bool) -> Iterator[Shown]:
    judge = Judge()
    narrow = Case(network.narrowed(), source, path, ROWS[-1], judge.sums)
    decided = judge.establish(narrow.others(), str(path), narrow.count, "others" if progress else "")
    functions = tuple(name for name in functions_of(network) if name != "value_and_grad")
    yield on_symbols(path, functions, IDENTICAL, narrow.network, ROWS[-1:], decided)


def of_fast(
    network: Network, path: Path, source: str, beside: Path, fast: str, judge: Judge, progress: bool
) -> Iterator[Shown]:
    cases = (Fast(network, source, path, rows, judge.sums, fast) for rows in FAST_ROWS)
    claims = (claim for case in cases for claim in case.claims())
    decided = judge.establish(claims, str(beside), Fast.entries(network), "fast" if progress else "")
    yield on_symbols(beside, FAST_FUNCTIONS, SAME, network, FAST_ROWS, decided)


def of_native(network: Network, path: Path, source: str, fast: str, native: dict[str, str]) -> Iterator[Shown]:
    """network.c, against backward.py beside it; fast.py says what lies where in a flat vector."""
    judge, where = Judge(), path.with_name(SOURCE)
    with running(str(where)):
        decided = judge.establish(definitions(native), str(where))
    for rows, lanes in RUNS:
        case = Case(network, source, path, rows, judge.sums)
        case.where, losses = where, case.row_losses(case.x, case.y)
        case.name_slopes([*losses, *map(case.along, losses)])
        with running(str(where)), naming(judge.sums.recognised):
            backward = run_source(source, str(path))
            beside = run_source(fast, str(path), {"backward": backward})
            pairs = compared(native, lanes, backward, beside, case.parameters, case.direction, case.x, case.y)
        decided += judge.establish((claim for pair in pairs for claim in case.each(*pair)), str(where))
    yield on_symbols(where, C_FUNCTIONS, IN_C, network, tuple(rows for rows, _ in RUNS), decided)


def on_symbols(
    path: Path, functions: tuple[str, ...], how: str, network: Network, rows: tuple[int, ...], decided: Counter[bool]
) -> Shown:
    """What the judge has decided, and of how many entries not to the end."""
    if decided[False]:
        how += f", but for {decided[False]} that agree at random points and are not decided"
    return Shown(path.name, functions, how, network.layers, rows, decided[True], decided[False])


def slopes(network: Network) -> Iterator[Claim]:
    """The slope of each named function that the network uses, against the derivative of its definition."""
    used = {part.func for layer in range(1, network.depth + 1) for part in network.function(layer).atoms(NamedFunction)}
    used |= {part.func for part in network.criterion().formula.atoms(NamedFunction)}
    for function in sorted(used, key=str):
        yield f"the slope of {function}", slope(function), diff(opened(function.definition), z)


class Case:
    """The emitted source on symbols, and SymPy's derivatives of the loss by its definition: what is to be identical.

    Each method yields the name of an entry, what the source computes and what SymPy derives.
    """

    def __init__(self, network: Network, source: str, path: Path, rows: int, sums: Intermediates) -> None:
        self.network, self.path, self.rows, self.sums = network, path, rows, sums
        self.where = path
        shapes = shapes_of(network)
        self.parameters = {name: symbols(name, shape) for name, shape in shapes.items()}
        self.direction = {name: symbols(f"dot_{name}", shape) for name, shape in shapes.items()}
        self.x, self.y = symbols("x", (rows, network.layers[0])), symbols("y", (rows, network.layers[-1]))
        self.source, self.shapes = source, shapes
        weights = (W for name, W in self.parameters.items() if name.startswith("W"))
        penalty = network.weight_penalty()
        self.penalties = {entry: penalty.xreplace({w: entry}) for W in weights for entry in W.entries.flat}

    @property
    def count(self) -> int:
        """How many claims `others` makes."""
        rows, n, outputs = self.rows, self.network.entries, self.network.layers[-1]
        of_penalty = 1 + 2 * n if self.network.penalty else 0
        return rows * self.network.layers[0] + rows * n + 3 * rows * outputs + n + of_penalty

    def run(self, function: str, *data: Tensor, direction: bool = False) -> Any:
        """What a function of the source returns; the widths of hidden layers are this case's."""
        along = [list(self.direction.values())] if direction else []
        with running(f"{self.path}: {function}"):
            namespace = run_source(self.source, str(self.path))
            namespace["SHAPES"].update(self.shapes)
            with naming(self.sums.recognised):
                return namespace[function](list(self.parameters.values()), *data, *along)

    def gradient(self) -> Iterator[Claim]:
        rows, divisor, penalty = self.row_losses(self.x, self.y), self.divisor(self.y), self.penalty()
        self.name_slopes(rows)
        loss, gradients = unpacked(self.run("value_and_grad", self.x, self.y), 2, str(self.path))
        yield from self.each("the loss", loss, Tensor(sum(rows, Integer(0)) / divisor + penalty))

        def expected(entry: Symbol) -> Expr:
            of_rows = sum((self.sums.derivative(row, entry) for row in rows), Integer(0)) / divisor
            return of_rows + self.penalty_slope(entry)

        for (name, parameter), gradient in zip(self.parameters.items(), gradients, strict=True):
            yield from self.each(f"dL/d{name}", gradient, parameter.map(expected))

    def others(self) -> Iterator[Claim]:
        rows, divisor = self.row_losses(self.x, self.y), self.divisor(self.y)
        moved = [self.along(row) for row in rows]
        self.name_slopes([*rows, *moved])

        def mean(scalars: list[Expr], entry: Symbol) -> Expr:
            return sum((self.sums.derivative(scalar, entry) for scalar in scalars), Integer(0)) / divisor

        yield from self.each("dL/dx", self.run("input_grad", self.x, self.y), self.x.map(partial(mean, rows)))

        samples = self.run("per_sample_grad", self.x, self.y)
        for n, row in enumerate(rows):
            for (name, parameter), gradient in zip(self.parameters.items(), samples, strict=True):
                expected = parameter.map(partial(self.sums.derivative, row))
                yield from self.each(f"dL{n}/d{name}", gradient[n], expected / self.divisor(self.y[n : n + 1]))

        predicted = Tensor([self.prediction(row) for row in self.x.entries])
        derivative = predicted.map(self.along)
        yield from self.each("the prediction", self.run("forward", self.x), predicted)
        value, tangent = unpacked(self.run("jvp", self.x, direction=True), 2, str(self.path))
        yield from self.each("the prediction", value, predicted)
        yield from self.each("jvp", tangent, derivative)

        curved, curved_penalty = self.run("hvp", self.x, self.y, direction=True), self.along(self.penalty())
        for (name, parameter), product in zip(self.parameters.items(), curved, strict=True):
            bent = parameter.map(partial(self.sums.derivative, curved_penalty))
            yield from self.each(f"hvp {name}", product, parameter.map(partial(mean, moved)) + bent)
        if self.network.penalty:
            yield from self.of_penalty()

    def of_penalty(self) -> Iterator[Claim]:
        penalty, gradient = unpacked(self.run("penalty_and_grad"), 2, str(self.path))
        yield from self.each("the penalty", penalty, Tensor(self.penalty()))
        curved = self.run("penalty_hvp", direction=True)
        parts = zip(self.parameters.items(), self.direction.values(), gradient, curved, strict=True)
        for (name, parameter), along, moved, product in parts:
            slopes = parameter.map(self.penalty_slope)
            yield from self.each(f"the penalty's slope in {name}", moved, slopes)
            expected = parameter.map(lambda entry: diff(self.penalty_slope(entry), entry)) * along
            yield from self.each(f"penalty_hvp {name}", product, expected)

    def name_slopes(self, scalars: list[Expr]) -> None:
        """Gives names to the derivatives by what has a name, which the source computes on its way."""
        for scalar in scalars:
            self.sums.backwards(scalar)

    def along(self, scalar: Expr) -> Expr:
        """The directional derivative of a scalar."""
        pairs = zip(self.parameters.values(), self.direction.values(), strict=True)
        moves = {entry: dot for p, d in pairs for entry, dot in zip(p.entries.flat, d.entries.flat, strict=True)}
        return self.sums.along(scalar, moves)

    def each(self, name: str, got: Tensor, expected: Tensor) -> Iterator[Claim]:
        """Entry by entry, once the shapes are known to be equal, and the entries to be SymPy's and not the source's."""
        if type(got) is not Tensor or not all(isinstance(entry, Expr) for entry in got.entries.flat):
            raise NotProved(f"{self.where}: {name} is no tensor of numbers")
        if got.entries.shape != expected.entries.shape:
            raise NotProved(f"{self.where}: {name} has the shape {got.entries.shape}, not {expected.entries.shape}")
        for index, entry in numpy.ndenumerate(got.entries):
            if entry.has(nan):
                raise NotProved(f"{self.where}: {name} has an entry that nothing has set, or that is no number")
            yield (
                f"{name}[{', '.join(map(str, index))}]" if index else name,
                entry,
                expected.entries[index],
            )

    def prediction(self, row: list[Expr]) -> list[Expr]:
        """The network's output for a row of inputs, by its definition."""
        handed_on = [list(row)]
        for layer in range(1, self.network.depth + 1):
            W, b = self.parameters[f"W{layer}"].entries, self.parameters.get(f"b{layer}")
            activation, a = self.network.function(layer), handed_on[-1]
            z_of = [sum((W[i, j] * a[j] for j in range(len(a))), Integer(0)) for i in range(len(W))]
            z_of = z_of if b is None else [total + bias for total, bias in zip(z_of, b.entries, strict=True)]
            for start in self.network.skipped_to(layer):
                z_of = [one + other for one, other in zip(z_of, handed_on[start], strict=True)]
            handed_on.append([activation.xreplace({z: self.sums.name(total)}) for total in z_of])
        return handed_on[-1]

    def penalty(self) -> Expr:
        return sum(self.penalties.values(), Integer(0))

    def penalty_slope(self, entry: Symbol) -> Expr:
        return diff(self.penalties.get(entry, Integer(0)), entry)

    def row_losses(self, x: Tensor, y: Tensor) -> list[Expr]:
        """What each row adds to the loss, before a mean divides."""
        formula = self.network.criterion().formula
        return [row_loss(formula, self.prediction(a), list(b)) for a, b in zip(x.entries, y.entries, strict=True)]

    def divisor(self, y: Tensor) -> Integer:
        if self.network.reduction == "sum":
            return Integer(1)
        by_rows = self.network.reduction == "batchmean" or self.network.criterion().per_row
        return Integer(y.entries.shape[0] if by_rows else y.entries.size)


class Fast(Case):
    """What fast.py computes on symbols, in buffers that it uses again, and what backward.py beside it computes."""

    def __init__(self, network: Network, source: str, path: Path, rows: int, sums: Intermediates, fast: str) -> None:
        super().__init__(network, source, path, rows, sums)
        self.fast, self.where = fast, path.with_name("fast.py")

    @staticmethod
    def entries(network: Network) -> int:
        """How many claims there are for all FAST_ROWS."""
        return (len(FAST_ROWS) + 2) * (network.entries + 1) + 5 * network.entries

    def claims(self) -> Iterator[Claim]:
        rows = self.row_losses(self.x, self.y)
        self.name_slopes([*rows, *map(self.along, rows[: ROWS[-1]])])
        parameters, direction = list(self.parameters.values()), list(self.direction.values())
        backward = run_source(self.source, str(self.path))
        with running(f"{self.where}: FastGradient"):
            namespace = run_source(self.fast, str(self.where), {"backward": backward})
            namespace["_EACH"] = 1
            module = namespace["FastGradient"](parameters)
            module._chunk, module._hvp_chunk = 2, 1
            with naming(self.sums.recognised):
                results = self.results(module, direction)
        for name, function, got in results:
            along = [direction] if function == "hvp" else []
            with naming(self.sums.recognised):
                expected = backward[function](parameters, self.x, self.y, *along)
            if function == "value_and_grad":
                expected = [expected[0], *expected[1]]
            for part, value, wanted in zip(("loss", *self.parameters)[-len(got) :], got, expected, strict=True):
                yield from self.each(f"{name} {part} with N = {self.rows}", value, wanted)

    def results(self, module: Any, direction: list[Tensor]) -> list[tuple[str, str, list[Tensor]]]:
        """The name of a call, the function of backward.py that it is to equal, and copies of what it returns."""
        found = []

        def keep(name: str, function: str, *tensors: Tensor) -> None:
            found.append((name, function, [tensor.clone() for tensor in tensors]))

        if self.rows <= ROWS[-1]:
            loss, gradient = module.value_and_grad(self.x, self.y)
            keep("value_and_grad", "value_and_grad", loss, *gradient)
            keep("per_sample_grad", "per_sample_grad", *module.per_sample_grad(self.x, self.y))
            keep("hvp", "hvp", *module.hvp(self.x, self.y, direction))
        module._add(self.x, self.y, Integer(self.rows), 0)
        if self.network.penalty:
            module._add_penalty()
        keep("chunks", "value_and_grad", module._loss, *module.gradient)
        return found


def row_loss(formula: Expr, prediction: list[Expr], target: list[Expr]) -> Expr:
    """The losses of a row's entries, added; logsumexp runs over the row."""
    entries = [{p: a, y: b} for a, b in zip(prediction, target, strict=True)]
    for coupled in formula.atoms(logsumexp):
        formula = formula.xreplace({coupled: log(sum(exp(coupled.args[0].xreplace(at)) for at in entries))})
    return sum((formula.xreplace(at) for at in entries), Integer(0))
