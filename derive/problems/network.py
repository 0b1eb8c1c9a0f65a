"""What is to be differentiated: a feed-forward network and its loss, in the words of torch.nn.functional."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from sympy import Expr

from derive.formulas import FUNCTIONS, LOSSES, REDUCTIONS, Loss, logsumexp, p, parse, shown, y, z

MOST_LAYERS = 100
WIDEST_LAYER = 1_000_000
MOST_PROVED = 2000  # weights and biases that can be proved entry by entry
PROBABILITIES = ("sigmoid", "hardsigmoid")


@dataclass(frozen=True)
class Network:
    """A fully connected network: sizes of its layers, activations, loss and reduction.

    `layers` runs from the number of inputs to the number of outputs, as (2, 10, 10, 1). `activation` is a row of
    FUNCTIONS or a formula in z, for all hidden layers or one a layer; `loss` a row of LOSSES or a formula in p and y.
    Raises ValueError or TypeError that names the field, what was given and what would be right.
    """

    layers: tuple[int, ...] = (2, 10, 10, 1)
    activation: str | tuple[str, ...] = "sigmoid"
    output_activation: str = "identity"
    loss: str = "mse_loss"
    reduction: str = "sum"

    def __post_init__(self) -> None:
        self._check_layers()
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(listed("activation", self.activation)))
            hidden = self.depth - 1
            if len(self.activation) == 1:
                object.__setattr__(self, "activation", self.activation[0])
            elif len(self.activation) != hidden:
                layers = f"{hidden} hidden layer{'s' * (hidden != 1)}"
                raise ValueError(f"activation: {layers} but {len(self.activation)} activations")
        one_of("reduction", self.reduction, REDUCTIONS)
        for layer in range(1, self.depth + 1):
            self.function(layer)
        if isinstance(self.activation, str):
            function("activation", self.activation)
        self.criterion()
        if self.loss == "binary_cross_entropy" and self.output_activation not in PROBABILITIES:
            raise ValueError(
                f"loss: binary_cross_entropy takes probabilities: output_activation must be one of "
                f"{', '.join(PROBABILITIES)}, got {shown(self.output_activation)}; "
                "or use binary_cross_entropy_with_logits"
            )

    def _check_layers(self) -> None:
        object.__setattr__(self, "layers", tuple(listed("layers", self.layers, "whole numbers")))
        for index, size in enumerate(self.layers):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"layers[{index}]: must be a whole number, got {shown(size)}")
            if not 1 <= size <= WIDEST_LAYER:
                raise ValueError(f"layers[{index}]: must be from 1 to {WIDEST_LAYER}, got {shown(size)}")
        if not 2 <= len(self.layers) <= MOST_LAYERS + 1:
            most = MOST_LAYERS + 1
            raise ValueError(f"layers: needs an input and an output size, at most {most} sizes; got {len(self.layers)}")

    @property
    def depth(self) -> int:
        return len(self.layers) - 1

    @property
    def entries(self) -> int:
        """How many weights and biases there are."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.layers))

    @property
    def has_formulas(self) -> bool:
        """Whether an activation or the loss is a formula, and not a name of the tables."""
        activations = {self.activation_of(layer) for layer in range(1, self.depth + 1)}
        return not (activations <= FUNCTIONS.keys() and self.loss in LOSSES)

    def narrowed(self) -> "Network":
        """The same network with hidden layers of at most 2 neurons."""
        first, *hidden, last = self.layers
        return replace(self, layers=(first, *(min(width, 2) for width in hidden), last))

    def activation_of(self, layer: int) -> str:
        """The name or formula of a layer's activation; layers count from 1."""
        if layer == self.depth:
            return self.output_activation
        return self.activation if isinstance(self.activation, str) else self.activation[layer - 1]

    def function(self, layer: int) -> Expr:
        """The activation of a layer as a formula in z."""
        field = "output_activation" if layer == self.depth else "activation"
        return function(field, self.activation_of(layer))

    def criterion(self) -> Loss:
        """The loss as a formula in p and y."""
        if not isinstance(self.loss, str):
            raise TypeError(f"loss: expected a name or a formula, got {shown(self.loss)}")
        if self.loss.isidentifier() and self.loss not in ("p", "y"):
            return LOSSES[one_of("loss", self.loss, LOSSES)]
        formula = parse("loss", self.loss, (p, y), coupled=True)
        return Loss(formula, distribution=formula.has(logsumexp))

    def spec(self) -> dict[str, str | tuple[str | int, ...]]:
        """The fields by name, as they are written into an emitted package and read from it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.layers))
        if self.depth > 12:
            first, last = ("-".join(map(str, part)) for part in (self.layers[:4], self.layers[-3:]))
            sizes = f"{first}-...-{last} ({self.depth} layers)"
        hidden = self.activation if isinstance(self.activation, str) else " then ".join(self.activation)
        return f"{sizes}, {hidden}, output {self.output_activation}, {self.loss}, {self.reduction}"


def function(field: str, text: str) -> Expr:
    """A row of FUNCTIONS or a formula in z."""
    if not isinstance(text, str):
        raise TypeError(f"{field}: expected a name or a formula, got {shown(text)}")
    if text.isidentifier() and text != "z":
        return FUNCTIONS[one_of(field, text, FUNCTIONS)]
    return parse(field, text, (z,))


def listed(field: str, values: Iterable[Any], of: str = "names") -> Iterable[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{field}: expected a list of {of}, got {shown(values)}")
    return values


def one_of(field: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known.

    Raises ValueError with the nearest known name and the list of all.
    """
    if not isinstance(name, str):
        raise TypeError(f"{field}: expected a name, got {shown(name)}")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{field}: no {shown(name)}; {hint}known: {', '.join(known)}")
    return name


def parse_layers(text: str) -> tuple[int, ...]:
    """The sizes in a text like 2-10-10-1.

    Raises ValueError that shows the text and the form that is expected.
    """
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise ValueError(f"layers: expected whole numbers joined by '-', as 2-10-10-1, got {shown(text)}")
    return tuple(map(int, parts))


def parse_activations(text: str) -> str | tuple[str, ...]:
    """The name or formula, or the several of them, in a text like tanh,max(z, 0)."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts[0] if len(parts) == 1 else tuple(part.strip() for part in parts)
