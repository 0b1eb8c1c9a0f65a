"""Whoever follows a derivation as it is printed: every line computed, every gradient against differences of the loss.

All is read from the page: the equations, the shapes of a rule's matrices, which variable a step is about.
"""

import re
from collections.abc import Callable
from functools import partial

import numpy as np

from derive.paper import Boxed, Broken, Chain, Paragraph, Section
from derive.paper.latex import latex
from derive.programs import Program
from tests.helpers.read_tex import compute, name

STEP = 1e-4


class Reading:
    """The values of a page's symbols by name, sizes included, as far as it has been read."""

    def __init__(self, given: dict[str, object], seed: int = 1) -> None:
        self.values: dict[str, object] = dict(given)
        self.draw = np.random.default_rng(seed)
        self.forward: list[tuple[str, str]] = []
        self.lines = 0

    def of(self, sections: list[Section]) -> "Reading":
        """Reads all sections: forward pass, backward pass, then what sums them up, and the rules."""
        for section in sections:
            if re.fullmatch(r"F\d+", section.anchor):
                self.read_forward(section)
        for section in sections:
            if section.anchor == "backward":
                self.read_constants(section)
        for section in sections:
            if re.fullmatch(r"B\d+", section.anchor):
                self.read_step(section)
        for section in sections:
            if section.anchor in ("result", "softmax", "together", "closed-forms"):
                for left, right in equations_of(section, (Chain, Boxed, Broken), self.holds):
                    if left.startswith(r"\frac{\partial P"):
                        continue
                    if left.startswith(r"\boldsymbol{P}"):  # a name that only sums up
                        self.values.setdefault(name(left)[0], compute(right, self.values))
                    self.same(compute(left, self.values), compute(right, self.values), f"{left} = {right}")
            if re.fullmatch(r"R\d+", section.anchor):
                self.read_rule(section)
        return self

    def holds(self, reason: str) -> bool:
        """Whether what a line is said to hold for is so."""
        rows = re.match(r"if each row of \$\\boldsymbol\{(\w)\}\$ sums to 1", reason)
        return rows is None or np.allclose(np.sum(self.values[rows[1]], 1), 1)

    def read_forward(self, section: Section) -> None:
        for left, right in equations_of(section, (Chain,)):
            symbol, _ = name(left)
            self.values[symbol] = as_matrix(compute(right, self.values))
            self.forward.append((symbol, right))
        self.read_entries(section)

    def read_constants(self, section: Section) -> None:
        """What comes back first: numbers."""
        for left, right in equations_of(section, (Chain,)):
            self.values[name(left)[0]] = as_matrix(compute(right, self.values))

    def read_step(self, section: Section) -> None:
        lines, named = [], {}
        for left, right in equations_of(section, (Chain, Boxed)):
            if left == "dL":
                lines.append(right)
            else:
                gradient, _ = name(left)
                named[gradient] = self.values[gradient] = as_matrix(compute(right, self.values))
        variable = re.sub("^Delta", "Z", gradient).removeprefix("grad ")
        if lines:
            variable = name(re.search(r", (d[^,]*) \\rangle$", lines[-1])[1])[0].removeprefix("diff ")
        gain = self.move(variable, self.loss)
        along = np.sum(self.values[gradient] * self.values[f"diff {variable}"])
        self.same(along, gain, f"{section.anchor}: {gradient}")
        if lines:
            for change in re.findall(r", (d[^,]*?) \\rangle", lines[0]):
                through = name(change)[0].removeprefix("diff ")
                right = dict(self.forward)[through]
                self.values[f"diff {through}"] = self.slope(variable, partial(compute, right))
            self.read_proof(lines, variable, gain)
        self.read_entries(section)

    def read_rule(self, section: Section) -> None:
        """A rule, with matrices of the shapes that it names, of sizes that all differ."""
        rule = Reading({}, seed=3)
        text = next(block.text for block in section.blocks if isinstance(block, Paragraph))
        function = re.search(r"Let \$(?:\\boldsymbol\{F\}|F) = (.*?)\$; ", text)[1]
        for symbol, rows, columns in re.findall(r"\$(\\boldsymbol\{\w\}|\w)\$ is \$(.*?) \\times (.*?)\$", text):
            for size in re.findall(r"[a-z](?:_\{\d+\})?", f"{rows} {columns}"):
                rule.values.setdefault(re.sub(r"\W|_", "", size), 2 + len(rule.values))
            shape = [int(compute(size, rule.values)) for size in (rows, columns)]
            rule.values[name(symbol)[0]] = rule.random(shape)
        rule.values["F"] = as_matrix(compute(function, rule.values))
        rule.values["G"] = rule.random(rule.values["F"].shape)
        rule.values["diff F"] = rule.move("V", lambda values: compute(function, values))
        gain = np.sum(rule.values["G"] * rule.values["diff F"])
        lines = []
        for left, right in equations_of(section, (Chain,)):
            if left == "dL":
                lines.append(right)
            else:
                self.same(compute(right, rule.values), rule.values["diff F"], f"{section.anchor}: {left} = {right}")
        rule.read_proof(lines, "V", gain)
        ((_, gradient),) = equations_of(section, (Boxed,))
        self.same(np.sum(compute(gradient, rule.values) * rule.values["diff V"]), gain, f"{section.anchor}: {gradient}")
        self.lines += rule.lines

    def read_proof(self, lines: list[str], variable: str, gain: float) -> None:
        """All lines are the same number; behind the first, dV is in each."""
        for line in lines:
            self.same(compute(line, self.values), gain, line)
        for line in lines[1:]:
            changes = [found for found in self.values if found.startswith("diff ")]
            mentioned = {found for found in changes if appears(found, line, self.values)}
            assert mentioned == {f"diff {variable}"}, f"{mentioned} in {line}"

    def read_entries(self, section: Section) -> None:
        """Each entry that is written out, at the last place of the matrix."""
        for block in section.blocks:
            match = re.fullmatch(
                r"(?:One entry|In entries): \$\\displaystyle (.*?) = (.*)\$\.", getattr(block, "text", "")
            )
            if match:
                symbol, indices = name(match[1])
                sides = [side for side in self.values[symbol].shape if side > 1 or len(indices) > 1] or [1]
                at = {index: side - 1 for index, side in zip(indices, sides, strict=False)}
                one, other = (compute(side, self.values, at) for side in match.groups())
                self.same(one, other, match[0])

    def loss(self, values: dict[str, object]) -> np.ndarray:
        return values[self.forward[-1][0]]

    def move(self, variable: str, function: Callable[[dict], np.ndarray]) -> np.ndarray:
        """The change of a function of all values along a random change of the variable, which is then known."""
        self.values[f"diff {variable}"] = self.draw.normal(size=np.shape(self.values[variable]))
        return self.slope(variable, lambda values: function(self.moved(variable, values)))

    def moved(self, variable: str, values: dict[str, object]) -> dict[str, object]:
        """The values with those computed anew that come after the variable."""
        for symbol, right in self.forward:
            if symbol != variable:
                values[symbol] = as_matrix(compute(right, values))
        return values

    def slope(self, variable: str, function: Callable[[dict], np.ndarray]) -> np.ndarray:
        """By differences, at the change that is known."""

        def at(step: float) -> np.ndarray:
            change = step * STEP * self.values[f"diff {variable}"]
            return as_matrix(function({**self.values, variable: self.values[variable] + change}))

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        """Positive, and far from singular."""
        return self.draw.uniform(0.1, 0.9, size=shape) + (2 * np.eye(*shape) if min(shape) > 1 else 0)

    def same(self, one: object, other: object, what: str) -> None:
        one, other = as_matrix(one), as_matrix(other)
        scale = 1 + np.abs(other).max()
        assert one.shape == other.shape and np.abs(one - other).max() <= 1e-8 * scale, f"{what}: {one} is not {other}"
        self.lines += 1


def reading_of(program: Program) -> Reading:
    """Random inputs of sizes that differ, by the names that the page has."""
    reading = Reading({})
    sizes = {size for symbol in program.inputs for side in symbol.shape for size in side.free_symbols}
    numbers = {size: program.sizes.get(size, 8 - place) for place, size in enumerate(sorted(sizes, key=str))}
    numbers.update({size: 8 for size in sizes if str(size) == "m"})
    reading.values.update({str(size): int(number) for size, number in numbers.items()})
    for symbol in program.inputs:
        shape = [int(side.xreplace(numbers)) for side in symbol.shape]
        reading.values[name(latex(program, symbol))[0]] = reading.random(shape)
    return reading


def appears(symbol: str, line: str, values: dict[str, object]) -> bool:
    """Whether a formula has another value with another value of the symbol."""
    return not np.allclose(compute(line, values), compute(line, {**values, symbol: 2 * values[symbol] + 1}), atol=0)


def as_matrix(value: object) -> np.ndarray:
    return np.atleast_2d(np.asarray(value, dtype=float))


def equations_of(
    section: Section, kinds: tuple[type, ...], holds: Callable[[str], bool] = lambda _: True
) -> list[tuple[str, str]]:
    return [equation for block in section.blocks if isinstance(block, kinds) for equation in equations_in(block, holds)]


def equations_in(block: Boxed | Broken | Chain, holds: Callable[[str], bool] = lambda _: True) -> list[tuple[str, str]]:
    """Left and right sides; lines without a sign go on with the formula above, lines without a left repeat it."""
    if isinstance(block, Boxed):
        return [tuple(equation.strip().split(" = ")) for equation in block.tex.split(r"\qquad")]
    if isinstance(block, Broken):
        return [(block.left, "".join(line.replace("{} ", " ") for _, line in block.lines))]
    found: list[tuple[str, str]] = []
    for row in block.rows:
        if not holds(row.reason):
            continue
        if row.sign:
            found.append((row.left or found[-1][0], row.right))
        else:
            left, right = found[-1]
            found[-1] = (left, right + " " + row.right.replace(r"\quad ", "").replace("{} ", " "))
    return found
