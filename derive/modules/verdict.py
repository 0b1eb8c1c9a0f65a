"""The audit of a backward, and what it says."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from derive.modules.graph import Module, rounding
from derive.modules.points import AGREEING, OPAQUE, Nowhere
from derive.modules.refusal import Failed, Refused
from derive.modules.sizes import different_sizes, least_sizes, one_row, own_sizes
from derive.modules.surroundings import check_surroundings
from derive.modules.trial import FAR_POINTS, FEW_TIMES, POINTS, Trial
from derive.modules.written import OpaqueKernel, WrittenBackward
from derive.proof import MOST_SYMBOLS


@dataclass(frozen=True)
class Verdict:
    """What was shown of a backward: of which values and gradients, and at which sizes.

    It is `exact` if each is identical to SymPy's derivative, with a symbol for each entry, at the sizes `exact_at`;
    else, and at all `sizes`, they are the same to 45 digits; of one with a `kernel` of its own to 8, of
    numbers in float64, or to what autograd loses to rounding, times 8, in another precision. `missing`
    names what it gives no gradient for, `untaken` operations of which no point took the other branch, nor symbols,
    `silent` what was 0 at each point, and `tied` what autograd has otherwise where branches meet.
    """

    name: str
    shown: tuple[str, ...]
    sizes: tuple[str, ...]
    exact_at: str
    missing: tuple[str, ...]
    kernel: OpaqueKernel | None
    least: str
    untaken: tuple[str, ...]
    silent: tuple[str, ...]
    tied: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return bool(self.exact_at)

    def __str__(self) -> str:
        shown = self.shown if self.exact else [one for one in self.shown if one not in self.silent]
        lines = [f"{'proved' if self.exact else 'checked numerically'}: {self.name}: {', '.join(shown)}"]
        if self.exact:
            lines.append(f"identical in every entry to SymPy's derivative, a symbol for each entry, at {self.exact_at}")
        count = f"{AGREEING} digits"
        if self.kernel is not None:
            fine = self.kernel.precision == "float64"
            count = f"{OPAQUE} digits" if fine else f"{FEW_TIMES} times what autograd loses to rounding"
            count += f", in {self.kernel.precision} on {self.kernel.device}"
        digits = f"to {count}, at {POINTS} random points and along random lines through them"
        lines += [f"{digits}, at {sizes}" for sizes in self.sizes]
        lines.append(f"and at up to {FAR_POINTS} points with numbers of many magnitudes and zeros, at {self.least}")
        if self.tied:
            lines.append(f"NOT as autograd has it where branches meet, at small whole numbers: {', '.join(self.tied)}")
        if self.untaken:
            lines.append(f"NOT shown, as no point took it: the other branch of {', '.join(self.untaken)}")
        if self.silent and not self.exact:
            lines.append(f"NOT shown, as it is 0 at each point: {', '.join(self.silent)}")
        if len(self.sizes) == 1:
            lines.append("at no other sizes")
        if self.missing:
            lines.append(f"NOT shown, as it gives none: the gradient for {', '.join(self.missing)}")
        return "\n".join(lines)


def audit(
    module: Any,
    example: Sequence[Any],
    backward: Any,
    *,
    other_sizes: bool = True,
    opaque: bool = False,
    precision: str = "float64",
    device: str = "cpu",
) -> Verdict:
    """Holds a backward against the module, or the function of tensors, that it is for.

    `example` has the module's arguments, of which the shapes count, and the entries where they are whole numbers, truth
    values or contain -inf. `backward` is a path, a function backward(G, ...) of a cotangent for each output and of any
    of the module's arguments, parameters and buffers by their names (with _ for dots), a pair of forward(...), which
    returns (output, saved), and backward(G, saved), or a torch.autograd.Function. A file defines backward, and forward
    where there is one, or one such Function. What comes back is a dict or a NamedTuple by these names, or a tuple in
    the order of the arguments; each gradient has the shape of what it is for. Without `other_sizes` it is held at those
    of the example alone. One that is `opaque`, as it calls kernels that are no operations of torch, is only called,
    with tensors of that precision on that device.

    Raises Wrong, a ValueError, with the first entry that is wrong, its values and its line; Refused, a ValueError,
    where nothing is said; OSError where a file cannot be read.
    """
    try:
        rounding(precision)
        if not opaque and (precision, device) != ("float64", "cpu"):
            raise Refused("a precision or a device, which only what is opaque has")
        kernel = OpaqueKernel(precision, device) if opaque else None
        return held(Module(module, example), backward, other_sizes, kernel)
    except SystemExit as error:
        raise Refused("the code that is audited ends the program") from error


def held(subject: Module, backward: Any, resize: bool, kernel: OpaqueKernel | None) -> Verdict:
    """The verdict on a backward.

    Raises Wrong and Refused.
    """
    written = WrittenBackward(backward, subject)
    trials = [Trial.of(subject, written, kernel)]
    trials[0].hold()
    check_surroundings(written, subject, kernel)
    for sizes in filter(None, (different_sizes(subject), least_sizes(subject)) if resize else ()):
        trials.append(Trial.of(subject.resized(sizes), written, kernel))
        trials[-1].hold()
    least = min(trials, key=lambda trial: trial.symbols)
    more = ((one_row(subject), (Nowhere,)), (own_sizes(subject), (Refused, Failed))) if resize else ()
    for sizes, passed_over in more:
        with suppress(*passed_over):
            if sizes:
                trial = Trial.of(subject.resized(sizes), written, kernel)
                trial.hold()
                trials.append(trial)
    least.hold_far()
    exact_at = least.sizes if least.symbols <= MOST_SYMBOLS and least.is_identical() else ""
    branches: dict[str, set[bool]] = {}
    for where, taken in (pair for trial in ([least] if exact_at else trials) for pair in trial.branches.items()):
        branches.setdefault(where, set()).update(taken)
    labels = {label: f"output {label[1]}" if label[0] == "output" else f"d{label[1]}" for label in written.labels}
    silent = tuple(said for label, said in labels.items() if not any(label in trial.told for trial in trials))
    if not exact_at and len(silent) == len(labels):
        raise Refused(f"nothing is shown, as it is 0 at each point: {', '.join(silent)}")
    return Verdict(
        written.name,
        tuple(labels.values()),
        tuple(dict.fromkeys(trial.sizes for trial in trials)),
        exact_at,
        tuple(written.missing),
        kernel,
        least.sizes,
        tuple(where for where, taken in branches.items() if len(taken) == 1),
        silent,
        tuple(labels[label] for label in (trials[0].tied() if kernel is None else ()) if label in labels),
    )
