"""What is to be differentiated: a feed-forward network and its loss, in the words of torch.nn.functional."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

from derive.functions import FUNCTIONS
from derive.losses import LOSSES, REDUCTIONS

MOST_LAYERS = 100
WIDEST_LAYER = 1_000_000


@dataclass(frozen=True)
class Network:
    """A fully connected network: sizes of its layers, activations, loss and reduction.

    `layers` runs from the number of inputs to the number of outputs, as (2, 10, 10, 1).
    Raises ValueError or TypeError that names the field, what was given and what would be right.
    """

    layers: tuple[int, ...] = (2, 10, 10, 1)
    activation: str = "sigmoid"
    output_activation: str = "identity"
    loss: str = "mse_loss"
    reduction: str = "sum"

    def __post_init__(self) -> None:
        if isinstance(self.layers, str) or not isinstance(self.layers, Iterable):
            raise TypeError(f"layers: expected a list of whole numbers, got {self.layers!r}")
        object.__setattr__(self, "layers", tuple(self.layers))
        for index, size in enumerate(self.layers):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"layers[{index}]: must be a whole number, got {size!r}")
            if not 1 <= size <= WIDEST_LAYER:
                raise ValueError(f"layers[{index}]: must be from 1 to {WIDEST_LAYER}, got {size}")
        if not 2 <= len(self.layers) <= MOST_LAYERS + 1:
            most = MOST_LAYERS + 1
            raise ValueError(f"layers: needs an input and an output size, at most {most} sizes; got {len(self.layers)}")
        one_of("activation", self.activation, FUNCTIONS)
        one_of("output_activation", self.output_activation, FUNCTIONS)
        one_of("loss", self.loss, LOSSES)
        one_of("reduction", self.reduction, REDUCTIONS)

    @property
    def depth(self) -> int:
        return len(self.layers) - 1

    @property
    def entries(self) -> int:
        """How many weights and biases there are."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.layers))

    def spec(self) -> dict[str, object]:
        """The fields by name, as they are written into an emitted package and read from it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.layers))
        if self.depth > 12:
            first, last = ("-".join(map(str, part)) for part in (self.layers[:4], self.layers[-3:]))
            sizes = f"{first}-...-{last} ({self.depth} layers)"
        return f"{sizes}, {self.activation}, output {self.output_activation}, {self.loss}, {self.reduction}"


def one_of(field: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known.

    Raises ValueError with the nearest known name and the list of all.
    """
    if not isinstance(name, str):
        raise TypeError(f"{field}: expected a name, got {name!r}")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{field}: no {name!r}; {hint}known: {', '.join(known)}")
    return name


def parse_layers(text: str) -> tuple[int, ...]:
    """The sizes in a text like 2-10-10-1.

    Raises ValueError that shows the text and the form that is expected.
    """
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise ValueError(f"layers: expected whole numbers joined by '-', as 2-10-10-1, got {text!r}")
    return tuple(map(int, parts))
