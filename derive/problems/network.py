"""What is to be differentiated: a feed-forward network and its loss, in the words of torch.nn.functional."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from math import prod
from typing import Any

from sympy import Expr, Integer

from derive.formulas import FUNCTIONS, LOSSES, REDUCTIONS, Loss, OfRow, p, parse, shortened, w, y, z
from derive.problems.names import canonical, known_name

MOST_LAYERS = 100
WIDEST_LAYER = 1_000_000
MOST_PROVED = 2000  # weights and biases that can be proved entry by entry
PROBABILITIES = ("sigmoid", "hardsigmoid")
BIASED = ("all", "hidden", "none")  # layers that have biases


@dataclass(frozen=True)
class Network:
    """A fully connected network: sizes of its layers, activations, loss and reduction.

    `layers` runs from the number of inputs to the number of outputs, as (2, 10, 10, 1). `activation` is a row of
    FUNCTIONS or a formula in z, for all hidden layers or one a layer; `loss` a row of LOSSES or a formula in p and y.
    `penalty`, a formula in w, is added to the loss after the reduction, for each weight and for no bias. Each pair
    (from, to) of `skip` adds the activation of a layer, 0 for the inputs, to the pre-activation of a later one.
    `bias` says which layers have biases: all, those that are hidden, or none.
    Raises ValueError or TypeError that names the field, what was given and what would be right.
    """

    layers: tuple[int, ...] = (2, 10, 10, 1)
    activation: str | tuple[str, ...] = "sigmoid"
    output_activation: str = "identity"
    loss: str = "mse_loss"
    reduction: str = "sum"
    penalty: str = ""
    skip: tuple[tuple[int, int], ...] = ()
    bias: str = "all"

    def __post_init__(self) -> None:
        self._check_layers()
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(as_list("activation", self.activation)))
            hidden = self.depth - 1
            if len(self.activation) == 1:
                object.__setattr__(self, "activation", self.activation[0])
            elif len(self.activation) != hidden:
                layers = f"{hidden} hidden layer{'s' * (hidden != 1)}"
                raise ValueError(f"activation: {layers} but {len(self.activation)} activations")
        self._name_as_known()
        known_name("reduction", self.reduction, REDUCTIONS)
        known_name("bias", self.bias, BIASED)
        for layer in range(1, self.depth + 1):
            self.function(layer)
        if isinstance(self.activation, str):
            activation_formula("activation", self.activation)
        self.criterion()
        self.weight_penalty()
        object.__setattr__(self, "skip", tuple(sorted(checked_skips(self.layers, as_list("skip", self.skip, "pairs")))))
        if self.loss == "binary_cross_entropy" and self.output_activation not in PROBABILITIES:
            raise ValueError(
                f"loss: binary_cross_entropy takes probabilities: output_activation must be one of "
                f"{', '.join(PROBABILITIES)}, got {shortened(self.output_activation)}; "
                "or use binary_cross_entropy_with_logits"
            )

    def _name_as_known(self) -> None:
        """Puts the names of the tables in the place of those that mean the same."""
        for field, known in CHOICES.items():
            given = getattr(self, field)
            if isinstance(given, str):
                object.__setattr__(self, field, canonical(given, known))
            elif isinstance(given, tuple):
                names = tuple(canonical(name, known) if isinstance(name, str) else name for name in given)
                object.__setattr__(self, field, names)

    def _check_layers(self) -> None:
        object.__setattr__(self, "layers", tuple(as_list("layers", self.layers, "whole numbers")))
        for index, size in enumerate(self.layers):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"layers[{index}]: must be a whole number, got {shortened(size)}")
            if not 1 <= size <= WIDEST_LAYER:
                raise ValueError(f"layers[{index}]: must be from 1 to {WIDEST_LAYER}, got {shortened(size)}")
        if not 2 <= len(self.layers) <= MOST_LAYERS + 1:
            most = MOST_LAYERS + 1
            raise ValueError(f"layers: needs an input and an output size, at most {most} sizes; got {len(self.layers)}")

    @property
    def depth(self) -> int:
        return len(self.layers) - 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight and bias by name: W1 (out, in), b1 (out,), ..."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (inputs, outputs) in enumerate(pairwise(self.layers), 1):
            found[f"W{layer}"] = (outputs, inputs)
            if self.has_biases(layer):
                found[f"b{layer}"] = (outputs,)
        return found

    def has_biases(self, layer: int) -> bool:
        """Whether a layer adds biases; layers count from 1."""
        return self.bias == "all" or (self.bias == "hidden" and layer < self.depth)

    @property
    def divided_by(self) -> str:
        """What number the sum of the losses is divided by, that of the points or of the entries; empty for a sum."""
        if self.reduction == "sum":
            return ""
        return "points" if self.reduction == "batchmean" or self.criterion().per_row else "entries"

    @property
    def takes_classes(self) -> bool:
        """Whether the number of a class may stand for a row of targets: the loss couples a row of several."""
        return self.layers[-1] > 1 and self.criterion().distribution

    @property
    def entries(self) -> int:
        """How many weights and biases there are."""
        return sum(map(prod, self.shapes.values()))

    @property
    def has_formulas(self) -> bool:
        """Whether an activation, the loss or the penalty is a formula, and not a name of the tables."""
        activations = {self.activation_of(layer) for layer in range(1, self.depth + 1)}
        return bool(self.penalty) or not (activations <= FUNCTIONS.keys() and self.loss in LOSSES)

    def as_wide(self) -> list[int]:
        """For each layer, the first that is as wide because of what skips."""
        first = list(range(self.depth + 1))
        for start, end in self.skip:
            one, other = sorted((first[start], first[end]))
            first = [one if layer == other else layer for layer in first]
        return first

    def narrowed(self) -> "Network":
        """The same network with hidden layers of at most 2 neurons, but those that are as wide as inputs or outputs."""
        return self._with_widths_to(2, 0, self.depth)

    def with_widths_to(self, most: int) -> "Network":
        """With so many neurons in a layer at most; as many outputs as it has where a mean divides by them."""
        return self._with_widths_to(most, *([self.depth] if self.divided_by == "entries" else []))

    def _with_widths_to(self, most: int, *kept: int) -> "Network":
        first = self.as_wide()
        of_kept = {first[layer] for layer in kept}
        widths = zip(self.layers, first, strict=True)
        return replace(self, layers=tuple(width if layer in of_kept else min(width, most) for width, layer in widths))

    def activation_of(self, layer: int) -> str:
        """The name or formula of a layer's activation; layers count from 1."""
        if layer == self.depth:
            return self.output_activation
        return self.activation if isinstance(self.activation, str) else self.activation[layer - 1]

    def function(self, layer: int) -> Expr:
        """The activation of a layer as a formula in z."""
        field = "output_activation" if layer == self.depth else "activation"
        return activation_formula(field, self.activation_of(layer))

    def criterion(self) -> Loss:
        """The loss as a formula in p and y."""
        if not isinstance(self.loss, str):
            raise TypeError(f"loss: expected a name or a formula, got {shortened(self.loss)}")
        if self.loss.isidentifier() and self.loss not in ("p", "y"):
            return LOSSES[known_name("loss", self.loss, LOSSES)]
        formula = parse("loss", self.loss, (p, y), coupled=True)
        return Loss(formula, distribution=formula.has(OfRow))

    def weight_penalty(self) -> Expr:
        """What each weight adds to the loss, as a formula in w; 0 where there is no penalty."""
        if not isinstance(self.penalty, str):
            raise TypeError(f"penalty: expected a formula in w, got {shortened(self.penalty)}")
        return parse("penalty", self.penalty, (w,)) if self.penalty else Integer(0)

    def skipped_to(self, layer: int) -> list[int]:
        """The layers whose activation is added to this one's pre-activation; 0 for the inputs."""
        return [start for start, end in self.skip if end == layer]

    def of_rows(self) -> "Network":
        """The same network without its penalty, which belongs to no row."""
        return replace(self, penalty="")

    def spec(self) -> dict[str, Any]:
        """The fields by name, as they are written into an emitted package and read from it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != LATER.get(name)}

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.layers))
        if self.depth > 12:
            first, last = ("-".join(map(str, part)) for part in (self.layers[:4], self.layers[-3:]))
            sizes = f"{first}-...-{last} ({self.depth} layers)"
        hidden = self.activation if isinstance(self.activation, str) else " then ".join(self.activation)
        text = f"{sizes}, {hidden}, output {self.output_activation}, {self.loss}, {self.reduction}"
        text += f", penalty {self.penalty}" if self.penalty else ""
        text += f", skip {as_flag('skip', self.skip)}" if self.skip else ""
        return text + {"all": "", "hidden": ", biases in hidden layers only", "none": ", no biases"}[self.bias]


SETTING_NAMES = tuple(field.name for field in fields(Network))  # of the settings
CHOICES = {
    "activation": FUNCTIONS,
    "output_activation": FUNCTIONS,
    "loss": LOSSES,
    "reduction": REDUCTIONS,
    "bias": BIASED,
}
LATER = {"penalty": "", "skip": (), "bias": "all"}  # what a package that is so does not mention


def activation_formula(field: str, text: str) -> Expr:
    """A row of FUNCTIONS or a formula in z."""
    if not isinstance(text, str):
        raise TypeError(f"{field}: expected a name or a formula, got {shortened(text)}")
    if text.isidentifier() and text != "z":
        return FUNCTIONS[known_name(field, text, FUNCTIONS)]
    return parse(field, text, (z,))


def as_list(field: str, values: Iterable[Any], of: str = "names") -> Iterable[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{field}: expected a list of {of}, got {shortened(values)}")
    return values


def checked_skips(layers: tuple[int, ...], pairs: Iterable[Any]) -> Iterable[tuple[int, int]]:
    """The pairs of layers, each known to be one: from an earlier to a later layer, as wide, and not twice."""
    seen, depth = set(), len(layers) - 1
    for index, pair in enumerate(pairs):
        pair = tuple(as_list(f"skip[{index}]", pair, "two layers"))
        if len(pair) != 2 or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in pair):
            raise TypeError(f"skip[{index}]: expected two layers, as (1, 3), got {shortened(pair)}")
        start, end = pair
        if not 0 <= start < end <= depth:
            expected = f"an earlier layer and a later one, from 0, the inputs, to {depth}"
            raise ValueError(f"skip[{index}]: {start}-{end}: expected {expected}")
        if layers[start] != layers[end]:
            widths = f"{layers[start]} and {layers[end]}"
            raise ValueError(f"skip[{index}]: {start}-{end}: of {widths} units; only equal widths can be added")
        if pair in seen:
            raise ValueError(f"skip[{index}]: {start}-{end} stands twice")
        seen.add(pair)
        yield pair


def parse_skip(text: str) -> tuple[tuple[int, ...], ...]:
    """The pairs in a text like 1-3,3-5.

    Raises ValueError that shows the text and the form that is expected.
    """
    pairs = [part.strip().split("-") for part in text.split(",")]
    if not all(len(pair) == 2 and all(n.isascii() and n.isdigit() and len(n) <= 9 for n in pair) for pair in pairs):
        raise ValueError(f"skip: expected pairs of layers, as 1-3 or 1-3,3-5, got {shortened(text)}")
    return tuple(tuple(map(int, pair)) for pair in pairs)


def as_flag(field: str, value: Any) -> str:
    """A field's value as the text that a flag of the command takes."""
    if field == "skip":
        return ",".join(f"{start}-{end}" for start, end in value)
    return {"layers": "-", "activation": ","}[field].join(map(str, value)) if isinstance(value, tuple) else str(value)


def parse_layers(text: str) -> tuple[int, ...]:
    """The sizes in a text like 2-10-10-1.

    Raises ValueError that shows the text and the form that is expected.
    """
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise ValueError(f"layers: expected whole numbers joined by '-', as 2-10-10-1, got {shortened(text)}")
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
