"""What edited lines lose to rounding, beside the lines that are derived.

Code that is identical to the gradient may still lose every digit of a float32, as (z + 1e10) - 1e10 does, or overflow
where exp is taken before the largest of a row is subtracted. So it is run with numbers of as many bits, each result
rounded, and with the same numbers exactly.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
from mpmath import mp, mpf
from sympy import Expr, Float, Integer, nan

from derive.problems import ANEW, Network
from derive.proof.calls import RowsOfPoint, functions_of, make_decimal, running
from derive.proof.certificate import Evidence, NotProved
from derive.proof.contexts import naming, taking
from derive.proof.points import NetworkPoint, Vector
from derive.proof.precision import PRECISIONS
from derive.proof.source import run_source
from derive.proof.tensor import Tensor

MANTISSA, OVERFLOW, UNDERFLOW, NORMAL = 24, mpf(2) ** 128, mpf(2) ** -150, mpf(2) ** -102  # of float32
ROUNDED_DIGITS = 7  # for which mpmath takes a few bits more
ROWS, SEEDS = 3, 3
ROUNDED_AT = (  # of weights, data and targets; at 0, and at whole numbers, is where a quotient may be of two zeros
    *((1, 1, 1), (2**10, 1, 1), (1, 2**10, 1), (1, mpf(2) ** -20, 1)),
    *((mpf(2) ** -20, 1, mpf(2) ** -20), (1, 1, mpf(2) ** 60)),
    *((0, 1, 1), (1, 0, 1), (0, 1, 0), (None, None, None)),
)
TIMES, LAST_PLACES = 16, 64  # what the derived lines lose, and in units of the last place, that edited ones may lose
NO_WORSE = (
    f"rounded to {MANTISSA} bits, edited lines lose {TIMES} times what derived ones do, or {LAST_PLACES} units of "
    "the last place, at most, at points of six magnitudes, with zeros, and with whole numbers"
)
OF_FAST = ("value_and_grad", "per_sample_grad", "hvp")
Results = dict[tuple[str, int], list[Expr]]


def rounded(entry: Expr) -> Expr:
    """A number as a float32 holds it; nan where it overflows."""
    if not entry.is_number or entry is nan:
        return entry
    number = Float(entry.evalf(mp.dps), precision=MANTISSA)
    if abs(number) >= OVERFLOW:
        return nan
    return number if abs(number) > UNDERFLOW else Float(0, precision=MANTISSA)


def with_digits(entry: Expr) -> Expr:
    return Float(entry.evalf(mp.dps), mp.dps) if entry.is_number and entry is not nan else entry


def in_bits(numbers: Vector, scale: mpf | None) -> Vector:
    with mp.workprec(MANTISSA):
        return [mp.nint(number) if scale is None else number * scale for number in numbers]


def scaled_point(network: Network, seed: int, scales: Sequence[mpf | None]) -> NetworkPoint:
    """A point with numbers of a float32, however large or small, or with whole ones."""
    point = NetworkPoint(network, ROWS, seed)
    of_weights, of_data, of_targets = scales
    point.parameters = in_bits(point.parameters, of_weights)
    point.direction = in_bits(point.direction, mpf(1))
    point.x, point.y = [in_bits(x, of_data) for x in point.x], [in_bits(y, of_targets) for y in point.y]
    return point


def results_at(network: Network, sources: dict[Path, str], point: NetworkPoint, exact: bool) -> Results:
    """What each function gives at a point, entry by entry, by the file, its name, and the place of each tensor."""
    found: Results = {}

    def keep(name: str, result: Any) -> None:
        found.update({(name, place): list(one.entries.flat) for place, one in enumerate(tensors_in(result))})

    (path, source), *others = sources.items()
    with mp.workdps(PRECISIONS[0] if exact else ROUNDED_DIGITS), running(str(path)):
        backward = run_source(source, str(path), rounds=not exact)
        rows = RowsOfPoint(network, point, range(ROWS))
        given = {"x": rows.x, "y": rows.y, "direction": rows.direction}
        held = with_digits if exact else rounded
        with naming(held), taking(held), numpy.errstate(all="ignore"):
            make_decimal(backward)
            for name, arguments in functions_of(network).items():
                result = backward[name](rows.parameters, *(given[argument] for argument in arguments))
                keep(f"{path}: {name}", result)
            for beside, text in others:
                namespace = run_source(text, str(beside), {"backward": backward}, rounds=not exact)
                make_decimal(namespace)
                fast = namespace["FastGradient"](rows.parameters)
                for name in OF_FAST:
                    direction = (rows.direction,) if name == "hvp" else ()
                    keep(f"{beside}: {name}", getattr(fast, name)(rows.x, rows.y, *direction))
    return found


def tensors_in(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [one for part in result for one in tensors_in(part)]


def loss_of_digits(got: list[Expr], true: list[Expr]) -> mpf | None:
    """The largest error beside the largest entry, if that has all bits; None where an entry is no number."""
    if any(entry is nan or not entry.is_number for entry in (*got, *true)):
        return None
    largest = max([Float(NORMAL), *map(abs, true)])
    worst = max((abs(one - other) / largest for one, other in zip(got, true, strict=True)), default=Integer(0))
    return mp.mpf(Float(worst, 20)._mpf_) if worst else mpf(0)


def check_rounding(network: Network, sources: dict[Path, str], derived: dict[Path, str]) -> Iterator[Evidence]:
    """Raises NotProved where sources lose more than what is derived in their place."""
    for scales in ROUNDED_AT:
        ours, theirs = dict[tuple[str, int], mpf](), dict[tuple[str, int], mpf]()
        for seed in range(SEEDS):
            point = scaled_point(network, seed, scales)
            true = results_at(network, derived, point, True)
            own, others = (results_at(network, texts, point, False) for texts in (sources, derived))
            for key, entries in true.items():
                allowed = loss_of_digits(others[key], entries)
                if allowed is None:
                    continue
                lost = loss_of_digits(own[key], entries)
                if lost is None:
                    raise NotProved(f"{key[0]}: is no number in float32 where the line that is derived is one; {ANEW}")
                ours[key], theirs[key] = max(lost, ours.get(key, lost)), max(allowed, theirs.get(key, allowed))
        for key, lost in ours.items():
            if lost > TIMES * theirs[key] + LAST_PLACES * mpf(2) ** -MANTISSA:
                shares = f"{mp.nstr(lost, 2)} of a tensor's largest entry, as derived {mp.nstr(theirs[key], 2)}"
                raise NotProved(f"{key[0]}: loses to rounding in float32 {shares}; {ANEW}")
    for path in sources:
        functions = functions_of(network) if path.name == "backward.py" else OF_FAST
        yield Evidence(path.name, tuple(functions), NO_WORSE, network.layers, (ROWS,))
