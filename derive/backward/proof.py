"""Whether each line of a layer's text computes what it must, with a symbol for each entry of each value.

What a line of forward computes of symbols for its operands has to be what the module's operation is by definition; what
a line of backward computes has to be the sum, over all operations that use the value, of SymPy's derivatives of their
definitions times the symbols of the gradients there. Each claim is one operation deep, so that the work grows with the
lines. Neither what reads modules nor the sweep is trusted: they only say which line is about which value.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from sympy import Add, Expr, Integer, Symbol

from derive.modules import (
    COTANGENT,
    Array,
    Graph,
    Module,
    Refused,
    Step,
    Wrong,
    detaches,
    each,
    exact_numbers,
    is_extreme,
    is_float,
    is_passed_over,
    of_data,
    recorded,
    results,
    step_value,
    symbols,
)
from derive.proof import Judge, NotProved

RECORD = "__record__"
MOST_ENTRIES = 6_000  # of all values of the module
Named = dict[str, Any]


def instrumented(text: str, name: str, record: Callable[[str, Named], None]) -> Named:
    """The module that a text is, whose functions also tell what they have computed, by the names in them.

    Raises Refused where it is no Python, or not one function forward and one function backward that return at the end.
    """
    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{name}: no Python: {error}") from error
    for function in ("forward", "backward"):
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        if len(found) != 1 or not isinstance(found[0].body[-1], ast.Return):
            raise Refused(f"{name}: expected one function {function} that returns at its end")
        call = ast.parse(f"{RECORD}({function!r}, locals())").body[0]
        found[0].body.insert(-1, ast.copy_location(call, found[0].body[-1]))
    namespace: Named = {"__name__": "layer", RECORD: lambda function, local: record(function, dict(local))}
    exec(compile(ast.fix_missing_locations(tree), name, "exec"), namespace)
    return namespace


@dataclass
class Text:
    """What the text computes of a module's tensors and cotangents, as one graph; where each name is in it."""

    graph: Graph
    forward: dict[str, str]
    backward: dict[str, str]
    outputs: list[str]
    gradients: dict[str, str]


def of_text(text: str, name: str, module: Module) -> Text:
    """Raises Wrong where it fails, and Refused where it cannot be recorded."""
    seen: dict[str, Named] = {}
    namespace = instrumented(text, name, seen.__setitem__)
    takes = list(ast_arguments(namespace["forward"]))
    tensors = {f"{COTANGENT}{place}": output for place, output in enumerate(module.outputs())}
    count = len(tensors)
    known = module.tensors()
    if missing := [one for one in takes if one not in known]:
        raise Refused(f"{name}: forward takes {missing[0]}, which the module has not")
    tensors |= {one: known[one] for one in takes}
    labels: list[tuple[str, str]] = []

    def call(*given: Any) -> tuple[Any, ...]:
        cotangents, arguments = given[:count], given[count:]
        output, saved = namespace["forward"](*arguments)
        gradients = namespace["backward"](*cotangents, saved)
        labels.clear()
        found = []
        named = {("output", str(i)): one for i, one in enumerate(results(output))}
        named |= {("gradient", key): one for key, one in gradients.items()}
        for function, local in seen.items():
            named |= {(function, key): one for key, one in local.items() if hasattr(one, "dtype")}
        for label, one in named.items():
            labels.append(label)
            found.append(one)
        return tuple(found)

    graph = recorded(call, tensors, detached=True)
    places = dict(zip(labels, (output.name for output in graph.outputs), strict=True))

    def of(kind: str) -> dict[str, str]:
        return {key: place for (found, key), place in places.items() if found == kind}

    return Text(graph, of("forward"), of("backward"), list(of("output").values()), of("gradient"))


def ast_arguments(function: Any) -> tuple[str, ...]:
    code = function.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names


class Run:
    """A graph on symbols, step by step up to a value that is asked for, in the place of which symbols may be put."""

    def __init__(self, graph: Graph, given: Mapping[str, Any], name: Callable[[Any], Any]) -> None:
        self.known: Named = {step: given[called] for step, called in graph.inputs.items()}
        self.known |= {step: of_data(data) for step, data in graph.constants.items()}
        self.left: Iterator[Step] = (step for step in graph.steps if not is_passed_over(step))
        self.name = name

    def value(self, wanted: str) -> Any:
        while wanted not in self.known:
            step = next(self.left)
            self.known[step.name] = self.name(step_value(step, self.known))
        return self.known[wanted]


class Lines:
    """The claims of a text about a module.

    `forward` says by which name the text has a value of the module's graph, and `backward` by which the gradient of one
    of its own. Each value of the text has symbols, and its definition is what its line computes of those before.
    """

    def __init__(self, module: Module, text: Text, forward: Mapping[str, str], backward: Mapping[str, str]) -> None:
        self.module, self.text, self.forward, self.backward = module, text, forward, backward
        self.judge, self.shown, self.entries = Judge(), Counter[bool](), 0
        self.inputs = module.inputs()
        self.given = {
            name: symbols(name, one.shape) if one.data is None else of_data(one.data)
            for name, one in self.inputs.items()
        }
        self.cotangents = [symbols(f"G{i}", tuple(one.shape)) for i, one in enumerate(module.outputs())]
        named = {f"{COTANGENT}{i}": one for i, one in enumerate(self.cotangents)}
        self.run = Run(text.graph, {**self.given, **named}, self.named)
        self.graph = module.graph()
        self.detached = {forward.get(step.name, "") for step in self.graph.steps if detaches(step)}
        self.held: set[str] = set()
        self.values: dict[str, Array] = {}
        self.definitions: dict[str, Array] = {}
        self.users: dict[Symbol, list[tuple[str, tuple[int, ...]]]] = {}
        self.truths: dict[str, dict[Symbol, Expr]] = {}
        self.gradients: dict[str, Array] = {}

    def named(self, value: Any) -> Any:
        if isinstance(value, numpy.ndarray) and is_float(value):
            return each(self.judge.sums.name, value)
        return value

    def is_plain(self, value: Array) -> bool:
        """Whether each entry is a symbol that stands for itself, and none is twice."""
        entries = list(value.flat)
        names = self.judge.sums.definitions
        return all(isinstance(one, Symbol) and one not in names for one in entries) and len({*entries}) == len(entries)

    def prove(self) -> Counter[bool]:
        """How many entries of all lines are identities, and how many only agree at points.

        Raises Wrong with the first that is neither, and Refused where an operation cannot be computed with symbols.
        """
        try:
            self.of_text()
            outputs = self.of_module()
            self.of_backward(outputs)
        except NotProved as error:
            raise Wrong(str(error)) from error
        except StopIteration:
            raise Wrong("the text does not compute what it says") from None
        except (TypeError, ArithmeticError, ValueError) as error:
            if isinstance(error, Refused | Wrong):
                raise
            raise Refused(f"cannot be decided with symbols: {error}") from error
        return self.shown

    def claim(self, what: str, got: Any, wanted: Any, where: str) -> None:
        got, wanted = numpy.asarray(got, dtype=object), numpy.asarray(wanted, dtype=object)
        if got.shape != wanted.shape:
            raise Wrong(f"{what} has the shape {got.shape}, expected {wanted.shape}")
        for index in numpy.ndindex(*got.shape):
            place = f"{what}{list(index)}" if index else what
            self.shown[self.judge.show(place, got[index], wanted[index], where)] += 1

    def of_text(self) -> None:
        """Symbols for each value that a line of forward computes, and what they are by the values before."""
        steps = {step.name: number for number, step in enumerate(self.text.graph.steps)}
        found = {place: name for name, place in self.text.forward.items() if place in steps}
        for place in sorted(found, key=steps.__getitem__):
            value, name = self.run.value(place), found[place]
            if not isinstance(value, numpy.ndarray) or not is_float(value):
                continue
            held = name in self.detached and detaches(self.text.graph.steps[steps[place]])
            if self.is_plain(value) and not held:
                self.values[name] = value  # the entries of another one in another order
                continue
            self.entries += value.size
            if self.entries > MOST_ENTRIES:
                raise Refused(f"more than {MOST_ENTRIES} entries; smaller sizes say as much")
            if any(is_extreme(part) for entry in value.flat for part in self.judge.sums.variables(entry)):
                raise Refused("the largest of the module's own numbers moves with them")
            fresh = in_place(symbols(f"{name}@", value.shape), value)
            self.run.known[place] = self.values[name] = fresh
            self.definitions[name] = value
            self.held |= {name} if held else set()
            pairs = zip(fresh.flat, value.flat, strict=True)
            self.truths[name] = {symbol: entry for symbol, entry in pairs if isinstance(symbol, Symbol)}
            for index in numpy.ndindex(*value.shape) if not held else ():
                for symbol in self.judge.sums.variables(value[index]):
                    self.users.setdefault(symbol, []).append((name, index))

    def of_module(self) -> list[Array]:
        """Each value of the module, by its definition, against what the text has by its name; the outputs."""
        graph = self.graph
        known: Named = {step: self.given[called] for step, called in graph.inputs.items()}
        known |= {step: of_data(data) for step, data in graph.constants.items()}
        left = list(reversed(self.definitions))  # those that are not shown to be values of the module
        for step in graph.steps:
            if is_passed_over(step):
                continue
            value = self.named(step_value(step, known))
            name = self.forward.get(step.name, "")
            if detaches(step) and name not in self.held:
                raise Refused("what the module detaches has no line of its own")
            floats = isinstance(value, numpy.ndarray) and is_float(value)
            if floats and name in self.definitions and not same(value, self.values[name]):
                left.remove(name)
                self.claim(name, self.replaced(self.definitions[name], left), value, "forward")
                value = self.values[name]
            known[step.name] = value
        for place, (output, name) in enumerate(zip(graph.outputs, self.text.outputs, strict=True)):
            self.claim(f"output {place}", self.run.value(name), known[output.name], "forward")
        return [known[output.name] for output in graph.outputs]

    def of_backward(self, outputs: list[Array]) -> None:
        """Each gradient, from the last value to the first, against the derivatives of what uses the value."""
        for name in reversed(self.definitions):
            place = self.text.backward.get(self.backward.get(name, ""))
            wanted = self.wanted(self.values[name], outputs, place is None)
            if place is None:
                self.gradients[name] = wanted
                continue
            got = self.run.value(place)
            self.compare(self.backward[name], self.values[name], got, wanted)
            if not self.is_plain(got):
                self.run.known[place] = in_place(symbols(f"{self.backward[name]}@", got.shape), got)
            self.gradients[name] = self.run.known[place]
        for name, one in self.inputs.items():
            if one.wanted and one.data is None:
                if name not in self.text.gradients:
                    raise Wrong(f"backward gives no gradient for {name}")
                got = self.run.value(self.text.gradients[name])
                wanted = self.wanted(self.given[name], outputs, False)
                self.compare(f"the gradient for {name}", self.given[name], got, wanted)

    def wanted(self, value: Array, outputs: list[Array], inside: bool) -> Array:
        """What the gradient of a value is: the cotangent of an output, and what each user sends back.

        Of one that is `inside` an operation, and has no line, slopes that are 0 by all definitions are left out.
        """
        found = numpy.full(value.shape, None, dtype=object)
        for index in numpy.ndindex(*value.shape):
            symbol = value[index]
            if not isinstance(symbol, Symbol):
                continue
            terms: list[Expr] = []
            for user, place in self.users.get(symbol, ()):
                slope = self.judge.sums.derivative(self.definitions[user][place], symbol)
                if not (inside and self.vanishes(slope)):
                    terms.append(self.gradients[user][place] * slope)
            for output, cotangent in zip(outputs, self.cotangents, strict=True):
                terms += [cotangent[at] for at in numpy.ndindex(*output.shape) if output[at] == symbol]
            found[index] = Add(*terms)
        return found

    def vanishes(self, slope: Expr) -> bool:
        """Whether it is 0 once what has no gradient of its own is written out."""
        inside = [name for name in reversed(self.truths) if self.backward.get(name, "") not in self.text.backward]
        written, zero = numpy.asarray(slope, dtype=object), Integer(0)
        for name in ["", *inside]:
            written = self.replaced(written, [name] if name else [])
            if self.judge.sums.alike(written.item(), zero):
                return self.judge.decided(written.item(), zero)
        return False

    def compare(self, what: str, value: Array, got: Array, wanted: Array) -> None:
        """Claims that both are the same, with as few values that are made of this one written out as it takes.

        Where a value is a number, such as -inf or 0 for what a mask hides, nothing that moves is in it.
        """
        if got.shape == wanted.shape:
            wanted = each(lambda one, other: one if other is None else other, got, wanted)
        users = {user for entry in value.flat for user, _ in self.users.get(entry, ())}
        for name in (name for name in reversed(self.truths) if name in users):
            if got.shape != wanted.shape or all(map(self.judge.sums.alike, got.flat, wanted.flat)):
                break
            got, wanted = self.replaced(got, [name]), self.replaced(wanted, [name])
        self.claim(what, got, wanted, "backward")

    def replaced(self, value: Array, names: Iterable[str]) -> Array:
        """With definitions in the place of some values, from the last to the first."""
        sums = self.judge.sums
        for name in names:
            truths = self.truths[name]

            def of(entry: Expr, truths: dict[Symbol, Expr] = truths) -> Expr:
                if not sums.variables(entry) & truths.keys():
                    return entry
                while inside := [part for part in sums.inside(entry) if sums.variables(part) & truths.keys()]:
                    entry = entry.xreplace({inside[0]: sums.definitions[inside[0]]})
                return entry.xreplace(truths)

            value = each(of, value)
        return value


def in_place(fresh: Array, value: Array) -> Array:
    """The symbols, but numbers where the value has numbers."""
    return each(lambda symbol, entry: entry if entry.is_number else symbol, fresh, value)


def same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and list(one.flat) == list(other.flat)


def prove_lines(
    module: Module, text: str, name: str, forward: Mapping[str, str], backward: Mapping[str, str]
) -> Counter[bool]:
    """How many entries of the lines of a text are identities, and how many only agree at points.

    `forward` names what the text has for the values of the module's graph, `backward` the gradients of its values.

    Raises Wrong with the first entry that is wrong, and Refused where nothing can be said.
    """
    recorded_text = of_text(text, name, module)
    with exact_numbers():
        return Lines(module, recorded_text, forward, backward).prove()
