"""What the lines of a text compute, with a symbol for each entry of each value, and the lines of forward.

What a line of forward computes of symbols for its operands has to be what the module's operation is by definition.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy
from sympy import Add, Expr, Integer, Pow, Symbol

from derive.backward.instrumented import BACK, Named, instrumented, parameter_names
from derive.modules import (
    COTANGENT_NAME,
    Array,
    Graph,
    Module,
    Refused,
    Wrong,
    detaches,
    each,
    has_largest,
    is_float,
    known_at_first,
    recorded,
    results,
    steps_evaluated,
    symbols_of,
)
from derive.proof import Intermediates, Judge, symbol_entries

ZERO = Integer(0)
MOST_VALUES = 6_000  # of all values of the module


@dataclass
class Text:
    """What the functions of a text compute of a module's tensors and cotangents, as one graph.

    `local` says where each name of a function is in it, and `returned` where what it returns is.
    """

    graph: Graph
    local: dict[str, dict[str, str]]
    returned: dict[str, dict[str, str]]

    def order(self, function: str) -> list[tuple[str, str]]:
        """The names of a function that its lines compute, in their order, and where they are."""
        steps = {step.name: number for number, step in enumerate(self.graph.steps)}
        found = [(name, place) for name, place in self.local[function].items() if place in steps]
        return sorted(found, key=lambda one: steps[one[1]])


def of_text(text: str, name: str, module: Module) -> Text:
    """Raises Wrong where it fails, and Refused where it cannot be recorded."""
    seen: dict[str, Named] = {}
    namespace = instrumented(text, name, seen.__setitem__)
    takes, known = parameter_names(namespace["forward"]), module.tensors()
    tangents = parameter_names(namespace["jvp"])[len(takes) :] if "jvp" in namespace else ()
    if missing := [one for one in (*takes, *(one[2:] for one in tangents)) if one not in known]:
        raise Refused(f"{name}: forward takes {missing[0]}, which the module has not")
    tensors = {f"{COTANGENT_NAME}{place}": output for place, output in enumerate(module.outputs())}
    count = len(tensors)
    tensors |= {one: known[one] for one in takes} | {one: known[one[2:]].clone() for one in tangents}
    labels: list[tuple[str, str, str]] = []

    def call(*given: Any) -> tuple[Any, ...]:
        cotangents, values = given[:count], given[count:]
        output, saved = namespace["forward"](*values[: len(takes)])
        named = {("returned", "forward", str(i)): one for i, one in enumerate(results(output))}
        for function in BACK:
            gradients = namespace[function](*cotangents, saved) if function in namespace else {}
            named |= {("returned", function, key): one for key, one in gradients.items()}
        if "jvp" in namespace:
            pair = namespace["jvp"](*values)
            found = enumerate(one for part in pair for one in results(part))
            named |= {("returned", "jvp", str(i)): one for i, one in found}
        for function, local in seen.items():
            named |= {("local", function, key): one for key, one in local.items() if hasattr(one, "dtype")}
        labels[:] = named
        return tuple(named.values())

    graph = recorded(call, tensors, detached=True)
    found: dict[str, dict[str, dict[str, str]]] = {"local": {}, "returned": {}}
    for (kind, function, key), output in zip(labels, graph.outputs, strict=True):
        found[kind].setdefault(function, {})[key] = output.name
    return Text(graph, found["local"], found["returned"])


class Lines:
    """The claims of a text about a module.

    `forward` says by which name the text has a value of the module's graph. Each value of the text has symbols, and its
    definition is what its line computes of those before. `known` are the values of its graph, as far as it has run.
    """

    def __init__(self, module: Module, text: Text, forward: Mapping[str, str]) -> None:
        self.text, self.forward = text, forward
        self.judge, self.shown, self.entries = Judge(), Counter[bool](), 0
        inputs = module.inputs()
        self.given = symbols_of(inputs)
        self.cotangents = [symbol_entries(f"G{i}", tuple(one.shape)) for i, one in enumerate(module.outputs())]
        moving = [one for one in inputs.values() if one.wanted and one.data is None]
        self.tangents = {one.name: symbol_entries(f"d {one.name}", one.shape) for one in moving}
        named = {f"{COTANGENT_NAME}{i}": one for i, one in enumerate(self.cotangents)}
        named |= {f"d_{name}": one for name, one in self.tangents.items()}
        self.known = known_at_first(text.graph, {**self.given, **named})
        self.left = steps_evaluated(text.graph, self.known)
        self.graph = module.graph()
        self.detached = {forward.get(step.name, "") for step in self.graph.steps if detaches(step)}
        self.held: set[str] = set()
        self.values: dict[str, Array] = {}
        self.definitions: dict[str, Array] = {}
        self.users: dict[Symbol, list[tuple[str, tuple[int, ...]]]] = {}
        self.truths: dict[str, Replacement] = {}
        self.outputs: list[Array] = []
        self.alike: set[tuple[Any, ...]] = set()

    def value(self, wanted: str) -> Any:
        """What the text computes there, step by step up to it."""
        while wanted not in self.known:
            step, value = next(self.left)
            self.known[step.name] = self.named(value)
        return self.known[wanted]

    def named(self, value: Any) -> Any:
        if isinstance(value, numpy.ndarray) and is_float(value):
            return each(self.name, value)
        return value

    def name(self, entry: Expr) -> Expr:
        """The name of an expression; what a root is taken of has a name of its own."""
        sums = self.judge.sums
        bases = {part.base for part in entry.atoms(Pow) if not part.exp.is_Integer and isinstance(part.base, Add)}
        return sums.name(entry.xreplace({base: sums.name(base) for base in bases}))

    def is_plain(self, value: Array) -> bool:
        """Whether each entry is a symbol that stands for itself, and none is twice."""
        entries = list(value.flat)
        names = self.judge.sums.definitions
        return all(isinstance(one, Symbol) and one not in names for one in entries) and len({*entries}) == len(entries)

    def claim(self, what: str, got: Any, wanted: Any, where: str) -> None:
        got, wanted = numpy.asarray(got, dtype=object), numpy.asarray(wanted, dtype=object)
        if got.shape != wanted.shape:
            raise Wrong(f"{what} has the shape {got.shape}, expected {wanted.shape}")
        for index in numpy.ndindex(*got.shape):
            place = f"{what}{list(index)}" if index else what
            self.shown[self.judge.show(place, got[index], wanted[index], where)] += 1

    def of_text(self) -> None:
        """Symbols for each value that a line of forward computes, and what they are by the values before."""
        steps = {step.name: step for step in self.text.graph.steps}
        for name, place in self.text.order("forward"):
            value = self.value(place)
            if not isinstance(value, numpy.ndarray) or not is_float(value):
                continue
            if has_largest(self.judge.sums, value):
                raise Refused("the largest of the module's own numbers moves with them")
            held = name in self.detached and detaches(steps[place])
            if self.is_plain(value) and not held:
                self.values[name] = value  # the entries of another one in another order
                continue
            self.entries += value.size
            if self.entries > MOST_VALUES:
                raise Refused(f"more than {MOST_VALUES} entries; smaller sizes say as much")
            fresh = in_place(name, value, value)
            self.known[place] = self.values[name] = fresh
            self.definitions[name] = value
            self.held |= {name} if held else set()
            pairs = zip(fresh.flat, value.flat, strict=True)
            truths = {symbol: entry for symbol, entry in pairs if isinstance(symbol, Symbol)}
            self.truths[name] = Replacement(self.judge.sums, truths)
            for index in numpy.ndindex(*value.shape) if not held else ():
                for symbol in self.judge.sums.variables(value[index]):
                    self.users.setdefault(symbol, []).append((name, index))

    def of_module(self) -> None:
        """Each value of the module, by its definition, against what the text has by its name."""
        graph = self.graph
        known = known_at_first(graph, self.given)
        left = {*self.definitions}  # those that are not shown to be values of the module
        for step, computed in steps_evaluated(graph, known):
            value, name = self.named(computed), self.forward.get(step.name, "")
            if detaches(step) and name not in self.held:
                raise Refused("what the module detaches has no line of its own")
            floats = isinstance(value, numpy.ndarray) and is_float(value)
            if floats and name in self.values and not same_arrays(value, self.values[name]):
                left -= {name}
                self.compare(name, left, self.definitions.get(name, self.values[name]), value, "forward")
                value = self.values[name]
            known[step.name] = value
        returned = self.text.returned["forward"].values()
        for place, (output, name) in enumerate(zip(graph.outputs, returned, strict=True)):
            self.claim(f"output {place}", self.value(name), known[output.name], "forward")
        self.outputs = [known[output.name] for output in graph.outputs]

    def compare(self, what: str, names: Collection[str], got: Array, wanted: Array, where: str) -> None:
        """Claims that both are the same, with as few values of these names written out as it takes.

        Where a value is a number, such as -inf or 0 for what a mask hides, nothing that moves is in it.
        """
        if got.shape == wanted.shape:
            wanted = each(lambda one, other: one if other is None else other, got, wanted)
        key = (got.shape, *got.flat, wanted.shape, *wanted.flat)
        if key in self.alike:  # a line that another function has, too
            self.shown[True] += got.size
            return
        for name in (name for name in reversed(self.truths) if name in names):
            if got.shape != wanted.shape or all(map(self.judge.sums.alike, got.flat, wanted.flat)):
                break
            got, wanted = each(self.truths[name].of, got), each(self.truths[name].of, wanted)
        before = self.shown[False]
        self.claim(what, got, wanted, where)
        self.alike |= {key} if before == self.shown[False] else set()

    def vanishes(self, slope: Expr, names: Sequence[str]) -> bool:
        """Whether it is 0 once these values are written out."""
        for written in accumulate(names, lambda entry, name: self.truths[name].of(entry), initial=slope):
            if self.judge.sums.alike(written, ZERO):
                return self.judge.decided(written, ZERO)
        return False


class Replacement:
    """Definitions in the place of symbols; a name in which they are becomes that of what it is then."""

    def __init__(self, sums: Intermediates, truths: Mapping[Symbol, Expr]) -> None:
        self.sums, self.truths = sums, truths
        self.parts: dict[Symbol, Expr] = {}

    def of(self, entry: Expr) -> Expr:
        parts = (part for part in self.sums.inside(entry) if self.sums.variables(part) & self.truths.keys())
        return entry.xreplace({**self.truths, **{part: self.part(part) for part in parts}})

    def part(self, name: Symbol) -> Expr:
        if name not in self.parts:
            self.parts[name] = self.sums.name(self.of(self.sums.definitions[name]))
        return self.parts[name]


def in_place(name: str, value: Array, claimed: Array) -> Array:
    """Symbols for a value, but its entries where they are numbers, and where nothing was claimed of them."""
    fresh = symbol_entries(f"{name}@", value.shape)
    keep = each(lambda entry, one: entry.is_number or one is None, value, claimed)
    return each(lambda symbol, entry, kept: entry if kept else symbol, fresh, value, keep)


def same_arrays(one: Array, other: Array) -> bool:
    return one.shape == other.shape and list(one.flat) == list(other.flat)
