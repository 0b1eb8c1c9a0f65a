"""Whether each line of a layer's text computes what it must, with a symbol for each entry of each value.

A line of forward has to be what the module's operation is by definition. A line of backward has to be the sum, over
all operations that use the value, of SymPy's derivatives of their definitions times the symbols of the gradients there;
for each row of a batch, of its part of the loss. A tangent has to be the sum of these derivatives times the tangents of
what the value is made of. Each claim is one operation deep, so that the work grows with the lines. Neither what reads
modules nor the sweeps are trusted: they only say which line is about which value.
"""

from collections import Counter
from collections.abc import Mapping

import numpy
from sympy import Add, Expr, Symbol

from derive.backward.instrumented import BACK
from derive.backward.lines import ZERO, Lines, Text, in_place, same_arrays
from derive.modules import Array, Module, Refused, Wrong, each, exactly, lifted_by
from derive.proof import NotProved, Undecided
from derive.system import progress

NameMaps = Mapping[str, Mapping[str, str]]


class Back:
    """The gradients that a function of the text gives, or with `each` those of each row of the outputs.

    `names` says by which name it has the gradient of a value.
    """

    def __init__(self, lines: Lines, function: str, names: Mapping[str, str], each: bool) -> None:
        self.lines, self.function, self.names, self.each = lines, function, names, each
        self.local, self.returned = lines.text.local[function], lines.text.returned[function]
        self.without = [name for name in reversed(lines.truths) if names.get(name, "") not in self.local]
        self.gradients: dict[str, Array] = {}
        self.ends: dict[Symbol, list[tuple[int, Expr]]] = {}
        for output, cotangent in zip(lines.outputs, lines.cotangents, strict=True):
            for at in numpy.ndindex(*output.shape):
                self.ends.setdefault(output[at], []).append((at[0] if each else 0, cotangent[at]))
        self.rows: dict[Symbol, set[int]] = {}
        for name in reversed(lines.definitions):
            self.rows |= {symbol: self.rows_of(symbol) for symbol in lines.values[name].flat}

    def rows_of(self, symbol: Symbol) -> set[int]:
        """Of the outputs, those that it is in; one for all where there are no rows."""
        users = (self.lines.values[user][place] for user, place in self.lines.users.get(symbol, ()))
        return {row for row, _ in self.ends.get(symbol, ())}.union(*(self.rows.get(user, ()) for user in users))

    def prove(self) -> None:
        """From the last value to the first, and then what is given."""
        lines = self.lines
        names = reversed(lines.definitions)
        for name in progress(names, f"lines of {self.function}", len(lines.definitions)):
            value, place = lines.values[name], self.local.get(self.names.get(name, ""))
            if place is None:
                self.gradients[name] = self.wanted(value, None)
                continue
            got = lines.value(place)
            wanted = self.hold(self.names[name], value, got)
            if not lines.is_plain(got):
                lines.known[place] = in_place(self.names[name], got, wanted)
            self.gradients[name] = lines.known[place]
        for name, value in lines.given.items():
            if name in lines.tangents:
                if name not in self.returned:
                    raise Wrong(f"{self.function} gives no gradient for {name}")
                self.hold(f"the gradient for {name}", value, lines.value(self.returned[name]))

    def hold(self, what: str, value: Array, got: Array) -> Array:
        """Claims that it is the gradient of a value, and says what that is."""
        users = {user for entry in value.flat for user, _ in self.lines.users.get(entry, ())}
        wanted = self.wanted(value, got.shape)
        self.lines.compare(what, users, got, wanted, self.function)
        return wanted

    def wanted(self, value: Array, shape: tuple[int, ...] | None) -> Array:
        """What the gradient of a value is, in the form that the text gives it, if it does."""
        whole = all(len(self.rows_of(symbol)) < 2 for symbol in value.flat if isinstance(symbol, Symbol))
        if not self.each or (whole and shape in (None, value.shape)):
            return self.sent(value, None, shape is None)
        count = len(self.lines.outputs[0])
        return numpy.stack([self.sent(value, row, shape is None) for row in range(count)])

    def sent(self, value: Array, row: int | None, inside: bool) -> Array:
        """The cotangent of the outputs, and what each user sends back, of one row or of that which an entry is in.

        Of a value that is `inside` an operation, and has no line, slopes that are 0 by all definitions are left out.
        """
        lines, found = self.lines, numpy.full(value.shape, None, dtype=object)
        for index in numpy.ndindex(*value.shape):
            symbol = value[index]
            if not isinstance(symbol, Symbol):
                continue
            here = next(iter(self.rows_of(symbol)), 0) if row is None else row
            terms = [g for of, g in self.ends.get(symbol, ()) if here in (None, of)]
            for user, place in lines.users.get(symbol, ()):
                if cotangent := self.cotangent(user, place, here):
                    slope = lines.judge.sums.derivative(lines.definitions[user][place], symbol)
                    if not (inside and lines.vanishes(slope, self.without)):
                        terms.append(cotangent * slope)
            found[index] = Add(*terms)
        return found

    def cotangent(self, user: str, place: tuple[int, ...], row: int | None) -> Expr:
        value, known = self.lines.values[user], self.gradients[user]
        if known.ndim > value.ndim:
            return known[(row, *place)]
        return known[place] if row is None or row in self.rows.get(value[place], ()) else ZERO


class Ahead:
    """The tangents that the text computes beside each value; `names` says by which name it has that of a value."""

    def __init__(self, lines: Lines, names: Mapping[str, str]) -> None:
        self.lines, self.values = lines, {tangent: name for name, tangent in names.items()}
        self.tangents: dict[Symbol, Expr] = {}
        for name, value in lines.given.items():
            moved = lines.tangents[name].flat if name in lines.tangents else value.size * [ZERO]
            self.tangents |= zip(value.flat, moved, strict=True)
        self.without = [name for name in reversed(lines.truths) if names.get(name, "") not in lines.text.local["jvp"]]

    def prove(self) -> None:
        lines = self.lines
        order = [*lines.text.order("jvp")]
        for name, place in progress(order, "lines of jvp", len(order)):
            if name in lines.values:
                self.again(name, place)
            elif (of := self.values.get(name)) in lines.values:
                got, value = lines.value(place), lines.values[of]
                wanted = each(lambda entry: None if entry.is_number else self.along(entry), value)
                lines.compare(name, {of, *self.without}, got, wanted, "jvp")
                if not lines.is_plain(got):
                    lines.known[place] = in_place(name, got, wanted)
                self.tangents |= zip(value.flat, lines.known[place].flat, strict=True)
        ends = [*lines.outputs, *(each(self.along, output) for output in lines.outputs)]
        for number, (place, end) in enumerate(zip(lines.text.returned["jvp"].values(), ends, strict=True)):
            lines.claim(f"part {number} of what it returns", lines.value(place), end, "jvp")

    def again(self, name: str, place: str) -> None:
        """A value of forward, which has to be the same."""
        lines = self.lines
        got, wanted = lines.value(place), lines.definitions.get(name, lines.values[name])
        if not same_arrays(got, wanted):
            lines.claim(name, got, wanted, "jvp")
        lines.known[place] = lines.values[name]

    def along(self, entry: Expr) -> Expr:
        """How an entry moves with what it is made of."""
        sums = self.lines.judge.sums
        slopes = ((symbol, sums.derivative(entry, symbol)) for symbol in sums.variables(entry))
        return Add(
            *(slope * self.of(symbol) for symbol, slope in slopes if not self.lines.vanishes(slope, self.without))
        )

    def of(self, symbol: Symbol) -> Expr:
        if symbol not in self.tangents:
            name, truths = next((name, one.truths) for name, one in self.lines.truths.items() if symbol in one.truths)
            self.tangents[symbol] = ZERO if name in self.lines.held else self.along(truths[symbol])
        return self.tangents[symbol]


def prove_lines(module: Module, text: Text, forward: Mapping[str, str], names: NameMaps) -> Counter[bool]:
    """How many entries of the lines of a text are identities, and how many only agree at points.

    `forward` names what the text has for the values of the module's graph, and `names` what each of its other functions
    has for the gradients, or tangents, of its values.

    Raises Wrong with the first entry that is wrong, and Refused where nothing can be said.
    """
    with lifted_by(exactly):
        lines = Lines(module, text, forward)
        try:
            lines.of_text()
            lines.of_module()
            for function in (one for one in BACK if one in text.returned):  # in the order of the graph
                Back(lines, function, names[function], function != "backward").prove()
            if "jvp" in text.returned:
                Ahead(lines, names["jvp"]).prove()
        except Undecided as error:
            raise Refused(str(error)) from error
        except NotProved as error:
            raise Wrong(str(error)) from error
        except StopIteration:
            raise Wrong("the text does not compute what it says") from None
        except (TypeError, ArithmeticError, ValueError) as error:
            if isinstance(error, Refused | Wrong):
                raise
            raise Refused(f"cannot be decided with symbols: {error}") from error
        return lines.shown
