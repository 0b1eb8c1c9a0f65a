"""From the equations of a derivation to operations on buffers that are made once: what fast.py does, and when.

The operations are those of the equations. What is decided here is the layout: features by batch where layers are
narrow, so that rows are long; batch by features where they are wide.
"""

from dataclasses import dataclass

from derive.backends.fast.columns import Columns, EachOfColumns
from derive.backends.fast.curvature import Hessian, HessianOfColumns
from derive.backends.fast.rows import EachOfRows, Rows
from derive.backends.fast.steps import FastStep, FlatBlock
from derive.operations import is_plain
from derive.programs import Derivation

WIDE, VECTOR = 64, 16  # batch by features where hidden layers are as wide and fill a processor's vectors


@dataclass(frozen=True)
class Schedule:
    """How a flat vector is cut, and the steps."""

    layout: str
    blocks_meaning: str
    blocks: list[FlatBlock]
    steps: list[FastStep]

    def entries(self, maker: str) -> int:
        """How many entries of buffers a row takes in a step."""
        return next(max(1, step.entries) for step in self.steps if step.maker == maker)


def schedule(derivation: Derivation) -> Schedule:
    """The steps of a derivation, in the layout that suits its widths."""
    program = derivation.program
    inputs, *widths = (
        program.sizes[size] for size in (program.data[0].shape[1], *(W.shape[0] for W in program.weights))
    )
    wide = all(width >= WIDE and width % VECTOR == 0 for width in widths[:-1] or [inputs])
    if wide or not all(map(is_plain, derivation.equations)):
        made = [kind(derivation) for kind in (Rows, EachOfRows, Hessian)]
        layout, meaning = "batch by features", "W and b of each layer"
    else:
        made = [kind(derivation) for kind in (Columns, EachOfColumns, HessianOfColumns)]
        layout, meaning = "features by batch, a row of ones at the end", "[W b]^T of each layer"
        if len(program.biases) < len(program.weights):
            layout, meaning = f"{layout} for biases", f"{meaning}, W^T where it has no biases"
    return Schedule(layout, meaning, made[0].blocks(), [one.step() for one in made])
