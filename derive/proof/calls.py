"""The functions of a package, called at points with few rows and many, and compared with what is true there.

Each is called again and again with other data, and fast.py's buffers are unset in between: what a call leaves there is
no part of the next one's result. Chunks are set to so few rows that some calls take several and a rest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, pairwise, product
from math import prod
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy
from mpmath import fdot, fsum, mp, mpf
from sympy import Expr, nan

from derive.problems import ANEW, Network
from derive.proof.certificate import Evidence, NotProved
from derive.proof.contexts import naming, recording, uncut
from derive.proof.points import SHOWN, NetworkPoint, Vector, agree_to_digits, as_entries, as_mpf
from derive.proof.precision import differing_digits, settled
from derive.proof.source import run_source
from derive.proof.tensor import Cut, Tensor, read_only
from derive.system import OutOfTime

FAST_FORMS = tuple(
    f"FastGradient.{form}"
    for form in (
        *("__init__", "value_and_grad", "value_and_grad(copy=True)", "accumulate"),
        *("per_sample_grad", "per_sample_grad(out=)", "hvp", "hvp of a flat direction"),
    )
)
ARGUMENTS_OF = {  # of backward.py, and what they take after the parameters
    "forward": ("x",),
    "value_and_grad": ("x", "y"),
    "input_grad": ("x", "y"),
    "per_sample_grad": ("x", "y"),
    "jvp": ("x", "direction"),
    "hvp": ("x", "y", "direction"),
}
OF_PENALTY = {"penalty_and_grad": (), "penalty_hvp": ("direction",)}  # where there is one
CALLED_AT = 2
CALLED = (1, 2, 3, 5, 8)
LIMIT = 3  # rows at a time: 8 are two chunks and a rest
STEPS_KEPT = 100  # that are kept: those of all CALLED
UNCUT = (11, 13, 17, 19, 23)  # rows, of which none may be taken by its number; the first that no other axis has
BATCHES = (2, 5, 1)
AT_POINTS = f"to {SHOWN} digits the scalar loss, and quotients of its differences, at {CALLED_AT} random points"
AGAIN = (
    f"{LIMIT} rows at a time, again with other data and parameters after all that a call wrote was unset, and "
    f"{UNCUT[0]} rows or more at once, where no line takes some of them by their numbers"
)


def functions_of(network: Network) -> dict[str, tuple[str, ...]]:
    """The functions of backward.py that compute, and what they take after the parameters."""
    return ARGUMENTS_OF | OF_PENALTY if network.penalty else ARGUMENTS_OF


@contextmanager
def running(what: str) -> Iterator[None]:
    """Raises NotProved where the source that runs fails, or tries to end us."""
    try:
        yield
    except (KeyboardInterrupt, NotProved, OutOfTime):
        raise
    except BaseException as error:  # SystemExit, too, would look like a proof
        raise NotProved(f"{what} fails: {type(error).__name__}: {error}; {ANEW}") from error


def evaluated(entry: Expr) -> Expr:
    """A number with no constant of many digits, as pi, left in it."""
    return entry if entry.is_Float or entry.is_Rational or not entry.is_number else entry.evalf(mp.dps)


def divisor(network: Network, rows: int) -> int:
    """What the sum of the losses of so many rows is divided by."""
    if network.reduction == "sum":
        return 1
    by_rows = network.reduction == "batchmean" or network.criterion().per_row
    return rows if by_rows else rows * network.layers[-1]


class RowsOfPoint:
    """Some rows of a point as tensors, and what is true of them."""

    def __init__(self, network: Network, point: NetworkPoint, places: Sequence[int]) -> None:
        self.network, self.point, self.places, self.shapes = network, point, places, network.shapes
        self.parameters, self.direction = self.cut(point.parameters), self.cut(point.direction)
        self.x, self.y = (read_only([as_entries(data[n]) for n in places]) for data in (point.x, point.y))
        self.N = len(places)

    def cut(self, numbers: Vector) -> list[Tensor]:
        """A flat vector as parameters."""
        stops = list(accumulate(map(prod, self.shapes.values()), initial=0))
        parts = zip(pairwise(stops), self.shapes.values(), strict=True)
        return [
            read_only(numpy.array(as_entries(numbers[start:stop]), dtype=object).reshape(shape))
            for (start, stop), shape in parts
        ]

    def total(self, name: str, along: Vector | None = None) -> mpf:
        """The loss with its penalty, or how it or its slope moves with the parameters."""
        rows = fsum(self.point.true(name, n, along) for n in self.places) / divisor(self.network, self.N)
        return rows + self.point.true(name, None, along)

    # what each function must give

    def value_and_grad(self, what: str, result: Any) -> None:
        loss, gradient = results_of(result, 2, what)
        self.entry(f"{what}: the loss", tensor(loss, (), what).entries.item(), self.total("loss"))
        self.like_parameters(f"{what}: dL/d", gradient, partial(self.total, "slope"))

    def hvp(self, what: str, result: Any) -> None:
        self.like_parameters(f"{what}: entry ", result, partial(self.total, "curvature"))

    def penalty_and_grad(self, what: str, result: Any) -> None:
        penalty, gradient = results_of(result, 2, what)
        self.entry(f"{what}: the penalty", tensor(penalty, (), what).entries.item(), self.point.true("loss", None))
        self.like_parameters(f"{what}: d/d", gradient, partial(self.point.true, "slope", None))

    def penalty_hvp(self, what: str, result: Any) -> None:
        self.like_parameters(f"{what}: entry ", result, partial(self.point.true, "curvature", None))

    def per_sample_grad(self, what: str, result: Any) -> None:
        parts = results_of(result, len(self.shapes), what)
        shapes = [(self.N, *shape) for shape in self.shapes.values()]
        parts = [tensor(part, shape, what) for part, shape in zip(parts, shapes, strict=True)]
        for place, n in enumerate(self.places):

            def wanted(along: Vector | None = None, n: int = n) -> mpf:
                return self.point.true("slope", n, along) / divisor(self.network, 1)

            self.like_parameters(f"{what}: dL{place}/d", [Tensor(part.entries[place]) for part in parts], wanted)

    def input_grad(self, what: str, result: Any) -> None:
        got = tensor(result, self.x.shape, what)
        for place, n in enumerate(self.places):

            def wanted(along: Vector | None = None, n: int = n) -> mpf:
                return self.point.true("input_slope", n, along) / divisor(self.network, self.N)

            names = [f"{what}: dL/dx[{place}, {column}]" for column in range(self.x.shape[1])]
            self.along(names, list(got.entries[place]), self.point.row_weights[n], wanted)

    def forward(self, what: str, result: Any) -> None:
        self.outputs(f"{what}: the prediction", result, "prediction")

    def jvp(self, what: str, result: Any) -> None:
        value, moved = results_of(result, 2, what)
        self.outputs(f"{what}: the prediction", value, "prediction")
        self.outputs(f"{what}: the tangent", moved, "tangent")

    # how it is compared

    def outputs(self, what: str, result: Any, name: str) -> None:
        got = tensor(result, self.y.shape, what)
        for place, n in enumerate(self.places):
            for column, true in enumerate(self.point.true(name, n)):
                self.entry(f"{what}[{place}, {column}]", got.entries[place, column], true)

    def like_parameters(self, what: str, result: Any, wanted: Callable[..., mpf]) -> None:
        parts = results_of(result, len(self.shapes), what)
        names: list[str] = []
        entries: list[Expr] = []
        for part, (name, shape) in zip(parts, self.shapes.items(), strict=True):
            names += [f"{what}{name}[{', '.join(map(str, index))}]" for index in numpy.ndindex(*shape)]
            entries += tensor(part, shape, f"{what}{name}").entries.flat
        self.along(names, entries, self.point.weights, wanted)

    def along(self, names: list[str], entries: list[Expr], weights: Vector, wanted: Callable[..., mpf]) -> None:
        """Compares all entries along one direction; where that differs, one by one."""
        got = [as_mpf(entry, name) for entry, name in zip(entries, names, strict=True)]
        together = fdot(got, weights)
        if agree_to_digits(together, wanted()):
            return
        for place, name in enumerate(names):
            self.entry(name, entries[place], wanted([mpf(place == other) for other in range(len(names))]))
        here, there = differing_digits(together, wanted())
        raise NotProved(f"{names[0]} and the others are wrong together: {here} where it should be {there}")

    def entry(self, name: str, entry: Expr, wanted: mpf) -> None:
        got = as_mpf(entry, name)
        if not agree_to_digits(got, wanted):
            raise NotProved(f"{name} is wrong: {' at a point where it should be '.join(differing_digits(got, wanted))}")


def results_of(result: Any, count: int, what: str) -> list[Any]:
    if not isinstance(result, tuple | list) or len(result) != count:
        found = len(result) if isinstance(result, tuple | list) else type(result).__name__
        raise NotProved(f"{what}: returns {found}, not {count} results")
    return list(result)


def tensor(result: Any, shape: tuple[int, ...], what: str) -> Tensor:
    if type(result) is not Tensor:
        raise NotProved(f"{what} is no tensor of numbers")
    if result.entries.shape != shape:
        raise NotProved(f"{what} has the shape {result.entries.shape}, not {shape}")
    return result


class Calls:
    """Calls the functions of backward.py and of fast.py."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.points = [NetworkPoint(network, max(CALLED), seed) for seed in range(CALLED_AT)]
        self.random = Random(0)

    def rows(self, point: NetworkPoint, count: int) -> RowsOfPoint:
        """So many rows of a point, drawn at random."""
        return RowsOfPoint(self.network, point, self.random.choices(range(max(CALLED)), k=count))

    def backward(self, namespace: dict[str, Any], path: Path) -> None:
        """Raises NotProved where a function of backward.py is wrong, or changes what it was given."""
        make_decimal(namespace)
        for point, count in product(self.points, CALLED):
            rows = self.rows(point, count)
            given = {"x": rows.x, "y": rows.y, "direction": rows.direction}
            for function, arguments in functions_of(self.network).items():
                what = f"{path}: {function} with N = {count}"
                with running(what), naming(evaluated):
                    result = namespace[function](rows.parameters, *(given[name] for name in arguments))
                getattr(rows, function)(what, result)

    def fast(self, namespace: dict[str, Any], path: Path) -> None:
        """Raises NotProved where a method of FastGradient is wrong, or uses what an earlier call left."""
        first, second = self.points
        make_decimal(namespace)
        with running(f"{path}: FastGradient"):
            if "_CACHED" in namespace:
                namespace["_CACHED"] = STEPS_KEPT
            fast = namespace["FastGradient"](self.rows(first, 1).parameters)
            chunks = fast._chunk, fast._hvp_chunk, fast._each_chunk
            if not all(type(rows) is int and rows > 0 for rows in chunks):
                raise NotProved(f"{path}: chunks of {', '.join(map(str, chunks))} rows")
            fast._chunk = fast._hvp_chunk = fast._each_chunk = LIMIT
        for point, forms, leave in ((first, False, True), (first, True, False), (second, False, False)):
            one = self.rows(point, 1)
            with running(f"{path}: parameters"):
                copy_into(one.direction, fast.parameters)
                flat = read_only(fast.flat_parameters.entries)
                copy_into(one.parameters, fast.parameters)
            called = [self.rows(point, count) for count in CALLED]
            results = [self.called(fast, path, rows, flat if forms else None, leave) for rows in called]
            self.batches(fast, path, point, leave)
            for rows, result in zip(called, results, strict=True) if forms else ():
                rows.value_and_grad(f"{path}: value_and_grad with N = {rows.N}, copied,", result)
            pairs = zip(fast.parameters, one.parameters, strict=True)
            if any((mine.entries != given.entries).any() for mine, given in pairs):
                raise NotProved(f"{path}: the parameters are no longer what they were")
        self.all_rows(fast, path, point)

    def all_rows(self, fast: Any, path: Path, point: NetworkPoint) -> None:
        """Calls each step with so many rows that no other axis is as long, and refuses lines that take some of them."""
        for N in UNCUT:
            fast._chunk = fast._hvp_chunk = fast._each_chunk = N
            rows = self.rows(point, N)
            what = f"{path}: value_and_grad with N = {N}"
            try:
                with uncut(N):
                    self.called(fast, path, rows, None, True)
                    self.call(rows.value_and_grad, what, True, fast.accumulate, [(rows.x, rows.y)])
                return
            except NotProved as error:
                if UNCUT[-1] == N or not isinstance(error.__cause__, Cut):
                    raise

    def called(self, fast: Any, path: Path, rows: RowsOfPoint, flat: Tensor | None, leave: bool) -> Any:
        """Calls each method, with a flat direction in its other form, and gives what value_and_grad returns."""
        out = None if flat is None else Tensor(numpy.full((self.network.entries, rows.N), nan, dtype=object))
        calls = (
            ("value_and_grad", fast.value_and_grad, flat is not None),
            ("per_sample_grad", fast.per_sample_grad, out),
            ("hvp", fast.hvp, rows.direction if flat is None else flat),
        )
        words = f"with N = {rows.N}"
        value_and_grad, each, _ = [
            self.call(getattr(rows, name), f"{path}: {name} {words}", leave, method, rows.x, rows.y, given)
            for name, method, given in calls
        ]
        if out is not None and not all(numpy.shares_memory(part.entries, out.entries) for part in each):
            raise NotProved(f"{path}: per_sample_grad {words}: is no view of out")
        return value_and_grad

    def batches(self, fast: Any, path: Path, point: NetworkPoint, leave: bool) -> None:
        whole = self.rows(point, sum(BATCHES))
        stops = pairwise(accumulate(BATCHES, initial=0))
        batches = [RowsOfPoint(self.network, point, whole.places[start:stop]) for start, stop in stops]
        what = f"{path}: accumulate of {' and '.join(map(str, BATCHES))} rows"
        self.call(whole.value_and_grad, what, leave, fast.accumulate, ((rows.x, rows.y) for rows in batches))

    def call(
        self, hold: Callable[[str, Any], None], what: str, leave: bool, method: Callable[..., Any], *given: Any
    ) -> Any:
        """The result of a call, once it is held to be right; what the call writes is unset after, unless left."""
        with running(what), naming(evaluated), recording() as written:
            result = method(*given)
            hold(what, result)
        for memory in () if leave else written:
            memory[...] = nan
        return result


def make_decimal(namespace: dict[str, Any]) -> None:
    """Lets a source compute with decimals of its constants, which are exact else."""
    constants = vars(namespace.get("math", SimpleNamespace()))
    for name, exact in list(constants.items()):
        constants[name] = exact.evalf(mp.dps) if isinstance(exact, Expr) else giving_decimals(exact)


def giving_decimals(function: Callable[..., Expr]) -> Callable[..., Expr]:
    return lambda *numbers: evaluated(function(*numbers))


def copy_into(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    for value, place in zip(values, into, strict=True):
        place.copy_(value)


def at_points(network: Network, sources: dict[Path, str]) -> Iterator[Evidence]:
    """All functions, at points of as many digits as it takes."""
    yield from settled(partial(called_at_points, network, sources))


def called_at_points(network: Network, sources: dict[Path, str]) -> list[Evidence]:
    (path, source), *others = sources.items()
    shown = [Evidence(path.name, tuple(functions_of(network)), AT_POINTS, network.layers, CALLED)]
    calls = Calls(network)
    with running(str(path)):
        backward = run_source(source, str(path))
    calls.backward(backward, path)
    for beside, fast in others:
        with running(str(beside)):
            namespace = run_source(fast, str(beside), {"backward": backward})
        calls.fast(namespace, beside)
        shown.append(Evidence(beside.name, FAST_FORMS, f"{AT_POINTS}, {AGAIN}", network.layers, CALLED))
    return shown
