"""Recurrent networks as their cells, one for each step of the sequence, so that only cells need a definition."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from derive.modules.refusal import DROPOUT, Refused
from derive.modules.steps import Ref, Step

CELLS = {
    "aten.gru.input": "gru_cell",
    "aten.lstm.input": "lstm_cell",
    "aten.rnn_relu.input": "rnn_relu_cell",
    "aten.rnn_tanh.input": "rnn_tanh_cell",
}
ArrayShape = tuple[int, ...]


def unrolled(steps: Sequence[Step], shapes: Mapping[str, ArrayShape]) -> Iterator[Step]:
    """The steps with cells in the place of recurrent networks; the shapes are those of all values by their names.

    Raises Refused, with the operation and its line, where one has more than cells.
    """
    networks = {step.name for step in steps if step.operation in CELLS}
    results: dict[tuple[str, int], Step] = {}
    for step in steps:
        if step.operation == "getitem" and step.arguments["x"].name in networks:
            results[step.arguments["x"].name, step.arguments["place"]] = step
    for step in steps:
        if step.name in networks:
            yield from RecurrentNetwork(step, shapes).steps([results.get((step.name, place)) for place in range(3)])
        elif step not in results.values():
            yield step


class RecurrentNetwork:
    """A step that is a recurrent network, and the steps that are made of it."""

    def __init__(self, step: Step, shapes: Mapping[str, ArrayShape]) -> None:
        self.step, self.arguments, self.shapes = step, step.arguments, shapes
        self.made: list[Step] = []

    def refuse(self, why: str) -> Refused:
        return Refused(f"{self.step.placed}: {why}")

    def add(self, operation: str, arguments: Mapping[str, Any], *shapes: ArrayShape) -> Ref:
        name = f"{self.step.name}_{len(self.made)}"
        kind = "float" if len(shapes) == 1 else ""
        self.made.append(Step(name, operation, arguments, frozenset(arguments), self.step.line, shapes, kind))
        return Ref(name)

    def one_of(self, x: Ref, place: int, shape: ArrayShape) -> Ref:
        return self.add("getitem", {"x": x, "place": place}, shape)

    def steps(self, results: Sequence[Step | None]) -> list[Step]:
        """With what the network gives under the names of these steps."""
        a = self.arguments
        count, ways, axis = (4 if a["has_biases"] else 2), 1 + a["bidirectional"], int(a["batch_first"])
        begin = a["hx"] if isinstance(a["hx"], tuple) else (a["hx"],)
        if len(a["params"]) != a["num_layers"] * ways * count:
            raise self.refuse("with projections of its state")
        if a["dropout"] and a["train"] and a["num_layers"] > 1:
            raise self.refuse(DROPOUT)
        length, batch = (self.shapes[a["input"].name][place] for place in (axis, 1 - axis))
        width = self.shapes[begin[0].name][-1]
        parts = [(batch, self.shapes[a["input"].name][-1])] * length
        cut = self.add("aten.unbind.int", {"x": a["input"], "dim": axis}, *parts)
        rows = [self.one_of(cut, place, part) for place, part in enumerate(parts)]
        ends: list[list[Ref]] = []
        for layer in range(a["num_layers"]):
            outputs = []
            for way in range(layer * ways, (layer + 1) * ways):
                first = [self.add("aten.select.int", {"x": h, "dim": 0, "index": way}, (batch, width)) for h in begin]
                order = rows if way == layer * ways else rows[::-1]
                states = self.along(order, first, a["params"][way * count : (way + 1) * count], (batch, width))
                ends.append(states[-1])
                outputs.append([state[0] for state in (states if order is rows else states[::-1])])
            whole = (batch, ways * width)
            rows = [
                one[0] if ways == 1 else self.add("aten.cat.default", {"tensors": one, "dim": 1}, whole)
                for one in zip(*outputs, strict=True)
            ]
        stacks = [(tuple(rows), axis), *((tuple(one), 0) for one in zip(*ends, strict=True))]
        for (tensors, dim), given in zip(stacks, results, strict=False):
            if given is not None:
                passed = {"tensors": tensors, "dim": dim}
                stack = "aten.stack.default", passed, frozenset(passed), given.line, given.shapes, given.kind
                self.made.append(Step(given.name, *stack))
        return self.made

    def along(
        self, rows: Sequence[Ref], state: list[Ref], weights: Sequence[Ref], shape: ArrayShape
    ) -> list[list[Ref]]:
        """The states after each row."""
        named = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh"), weights, strict=False))
        cell, found = f"aten.{CELLS[self.step.operation]}.default", []
        for row in rows:
            if len(state) == 1:
                state = [self.add(cell, {"input": row, "hx": state[0], **named}, shape)]
            else:
                pair = self.add(cell, {"input": row, "hx": tuple(state), **named}, shape, shape)
                state = [self.one_of(pair, place, shape) for place in range(2)]
            found.append(state)
        return found
