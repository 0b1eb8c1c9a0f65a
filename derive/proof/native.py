"""The proof of network.c: run on symbols, with vectors of one row and of several, it computes what backward.py does.

The functions of numbers, as exp_of, are not run: they are what their names say, to the error that network.c states and
tests hold. Nor is what only other processors, widths or numbers of rows reach: `derive.prove` takes a network.c only
that is, word for word, what is emitted for its network. So it is for device.h, of which a step of SGD is run, and one
of Adam on any gradient.
"""

import re
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy
import sympy
from sympy import Add, Expr, Lambda, Piecewise, Rational, Symbol, sqrt, symbols, sympify

from derive.formulas import AUXILIARY, FUNCTIONS, NamedFunction, erfc, erfcx, opened, z
from derive.proof.c import CProgram
from derive.proof.c_memory import GivenArray, Pointer
from derive.proof.cases import Case
from derive.proof.certificate import NotProved
from derive.proof.judge import Claim
from derive.proof.stand_in import largest_of_row
from derive.proof.tensor import Tensor

C_CONSTANT = re.compile(r"^static const real (\w+) = ([\d.e+-]+)(f?); /\* (.*) \*/$", re.MULTILINE)
SAFE = re.compile(r"(?:sqrt|pi|exp|log|E|[\d+\-*/() .])+")
NAMED_FUNCTIONS = {name: row.func for name, row in FUNCTIONS.items() if isinstance(row, NamedFunction)}
KNOWN: dict[str, Callable[..., Any]] = {
    **{name: getattr(sympy, name) for name in ("Abs", "cos", "erf", "exp", "log", "sign", "sin", "sqrt", "tanh")},
    "near_sin": sympy.sin,
    "near_cos": sympy.cos,
    "larger": sympy.Max,
    "smaller": sympy.Min,
    "power": lambda x, exponent: x**exponent,
    **{part.__name__: Lambda(z, opened(part.definition)) for part in AUXILIARY},
    **NAMED_FUNCTIONS,
}


def erfc_by(x: Expr, fade: Expr) -> Expr:
    """erfc(x), and what C computes where `fade` is not exp(-x^2)."""
    return erfc(x) + (fade - sympy.exp(-(x**2))) * Piecewise((-erfcx(-x), x < 0), (erfcx(x), True))


WITH_TWO_ARGUMENTS = {"exp_of_square": lambda c, x: sympy.exp(c * x**2), "erfc_by": erfc_by}
# Rows, and lanes of a vector: two rows one by one, each a part; blocks of two vectors and of one, and a row.
RUNS = (2, 4), (7, 2)
LANE_COUNTS = 1, 2, 4, 8, 16
NATIVE = HEADER, C_SOURCE = "network.h", "network.c"
DEVICE = "device.h"
CALLING = ("gradient", "hvp", "per_sample")  # which call the others


def row_amax(features: int, rows: int, stride: int, entries: Pointer, to: Pointer) -> None:
    for r in range(rows):
        to.moved(r).store(largest_of_row(*(entries.moved(i * stride + r).load() for i in range(features))))


def constants_of(source: str) -> dict[str, Expr]:
    """The constants that no decimal is, as the formulas beside them, which they are to the last digit."""
    found = {}
    for name, value, single, formula in C_CONSTANT.findall(source):
        if not SAFE.fullmatch(formula):
            raise NotProved(f"{C_SOURCE}: {name}: {formula} is no number")
        found[name] = sympify(formula)
        if abs(found[name].evalf(40) / sympy.Rational(value) - 1) > sympy.Rational(1, 10 ** (8 if single else 16)):
            raise NotProved(f"{C_SOURCE}: {name} is {value}, and not {formula}")
    return found


def program(folder: dict[str, str], lanes: int, **given: str) -> CProgram:
    return of_texts(folder[HEADER], folder[C_SOURCE], lanes, **given)


def of_texts(header: str, source: str, lanes: int, **given: str) -> CProgram:
    known = {f"{name}_of": function for name, function in KNOWN.items()} | WITH_TWO_ARGUMENTS | {"row_amax": row_amax}
    known["far_of"] = lambda x: int(lanes % 4 == 0)  # so that both ways are run
    ahead = cycle((1, 2 * lanes + 1))  # so that what lies before and behind the vectors is run, or nothing else
    known["ahead_of"] = lambda to: next(ahead)
    return CProgram(header, source, given, lanes, known, constants_of(header + source))


def lane_claims(folder: dict[str, str]) -> Iterator[Claim]:
    """The sum of as many lanes as a vector may have."""
    run = program(folder, 1)
    for lanes in LANE_COUNTS:
        entries = [Symbol(f"s{lane}") for lane in range(lanes)]
        yield f"sum_of {lanes} lanes", run.call("sum_of", lanes, memory(entries, "lanes")), Add(*entries)


def function_claims(run: CProgram) -> Iterator[Claim]:
    """Each named function in C, against its definition."""
    for name, function in NAMED_FUNCTIONS.items():
        if f"{name}_of" in run.functions and name not in ("sigmoid", "logsigmoid"):
            del run.known[f"{name}_of"]
            yield f"{name}_of", run.call(f"{name}_of", z), function.definition
            run.known[f"{name}_of"] = function


def memory(entries: list[Expr], name: str) -> Pointer:
    return Pointer(GivenArray(name, list(entries)), 0)


def run_native(
    folder: dict[str, str], lanes: int, rows: int, entries: dict[str, list[Expr]], size: int
) -> dict[str, Any]:
    """What the functions of network.c put into memory: loss and gradient, a product, and a gradient for each row."""
    parts = {"PART": "1"} if rows < lanes else {}
    sizes = {"BLOCK": str(2 * lanes), "LANES": str(lanes), "OFTEN": "2", "TILE": "3", "SQUARE": "3"}
    run = program(folder, lanes, **sizes, HELD="0", LINE="1", **parts)
    given = {name: memory(values, name) for name, values in entries.items()}
    parameters, x, y = (given[name] for name in ("parameters", "x", "y"))
    made = {
        name: memory([None] * n, name)
        for name, n in (("loss", 1), ("gradient", size), ("product", size), ("each", size * rows))
    }
    arguments = {**given, "N": rows, **{name: made[name] for name in ("loss", "gradient", "product")}}
    for name in ("gradient_by", "hvp_by"):
        run.call(name, {**arguments, "work": run.workspace()})
    run.call("per_sample", parameters, x, y, rows, made["each"], run.workspace())
    for name, values in entries.items():
        if given[name].array.entries != values:
            raise NotProved(f"{C_SOURCE}: writes into {name}")
    found = {name: pointer.array.entries for name, pointer in made.items()}
    for name, values in found.items():
        if any(value is None for value in values):
            raise NotProved(f"{C_SOURCE}: does not set all of {name}")
    return found


NamedPair = tuple[str, Tensor, Tensor]  # what C computes, and backward.py


def compared(
    folder: dict[str, str], lanes: int, case: Case, backward: dict[str, Any], fast: dict[str, Any]
) -> list[NamedPair]:
    """What network.c computes and what backward.py does; fast.py says what lies where in a flat vector."""
    parameters, x, y = case.parameters, case.x, case.y
    rows, point, along = len(x), list(parameters.values()), list(case.direction.values())
    module, views = fast["FastGradient"](point), fast["_views"]
    flat_point, flat_along = module.flat_parameters, module._flat(along)
    entries = {"parameters": flat_point, "direction": flat_along, "x": x, "y": y}
    given = {name: list(tensor.entries.flat) for name, tensor in entries.items()}
    got = run_native(folder, lanes, rows, given, flat_point.numel())
    loss, gradient = backward["value_and_grad"](point, x, y)
    product = backward["hvp"](point, x, y, along)
    words = f"with N = {rows}, {lanes} in a vector"
    found = [(f"the loss {words}", Tensor(got["loss"][0]), loss)]
    each = Tensor(numpy.array(got["each"], dtype=object).reshape(-1, rows).T)
    for name, flat, expected in (
        ("dL/d", Tensor(got["gradient"]), gradient),
        ("hvp ", Tensor(got["product"]), product),
        ("each row's dL/d", each, backward["per_sample_grad"](point, x, y)),
    ):
        parts = zip(parameters, views(flat), expected, strict=True)
        found += [(f"{name}{parameter} {words}", value, wanted) for parameter, value, wanted in parts]
    return found


def stepped(device: str, case: Case, backward: dict[str, Any], fast: dict[str, Any]) -> list[NamedPair]:
    """What a step of device.h computes, and what backward.py says that it is."""
    parameters, x, y = case.parameters, case.x, case.y
    run, point, rate = of_texts(device, "", 1), list(parameters.values()), Symbol("rate")
    module, views = fast["FastGradient"](point), fast["_views"]
    entries = list(module.flat_parameters.entries.flat)
    state, given = run.workspace(), [memory(list(data.entries.flat), name) for name, data in (("x", x), ("y", y))]
    state["parameters"].array.entries[:] = entries
    got = run.call("sgd_step", state, *given, len(x), rate)
    loss, gradient = backward["value_and_grad"](point, x, y)
    *flat, kept = state["gradient"].array.entries
    found = [("the loss of a step", Tensor(got), loss), ("the loss that the state keeps", Tensor(kept), loss)]
    moved = views(Tensor(state["parameters"].array.entries))
    parts = zip(parameters, point, views(Tensor(flat)), moved, gradient, strict=True)
    for name, weights, mine, new, wanted in parts:
        found += [(f"dL/d{name} of a step", mine, wanted), (f"{name} after a step", new, weights - wanted * rate)]
    return found


def adam_claims(device: str) -> Iterator[Claim]:
    """What a step of Adam makes of any gradient, as published: means over the steps, without what they lack at first.

    `fading` and `fading_square` are the beta to the power of the steps before.
    """
    run, (keep, keep_square, small) = of_texts(device, "", 1), (Rational("0.9"), Rational("0.999"), Rational("1e-8"))
    rate, loss, fading, fading_square = symbols("rate loss fading fading_square", positive=True)
    state: dict[str, Any] = {**run.workspace()}
    entries = range(len(state["means"].array.entries))
    w, g, m, v = ([Symbol(f"{name}{k}", positive=name == "v") for k in entries] for name in "wgmv")
    for name, values in (("parameters", w), ("gradient", [*g, loss]), ("means", m), ("squares", v)):
        state[name].array.entries[:] = values
    state |= {"sgd": state, "mean_weight": 1 - fading, "square_weight": 1 - fading_square}
    run.known["gradient_of_rows"] = lambda state, x, y, N: loss
    yield "the loss of a step of Adam", run.call("adam_step", state, None, None, 1, rate), loss
    for k in entries:
        mean, square = keep * m[k] + (1 - keep) * g[k], keep_square * v[k] + (1 - keep_square) * g[k] ** 2
        root = sqrt(square) / sqrt(1 - keep_square * fading_square)
        weight = w[k] - rate * mean / (1 - keep * fading) / (root + small)
        for name, value in (("parameters", weight), ("means", mean), ("squares", square)):
            yield f"{name}[{k}] after a step of Adam", state[name].array.entries[k], value
    yield "the weights of the means after a step of Adam", state["mean_weight"], 1 - keep * fading
    yield "the weights of the squares after a step of Adam", state["square_weight"], 1 - keep_square * fading_square
