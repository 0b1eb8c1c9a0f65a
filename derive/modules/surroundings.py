"""Calls of a written backward that differ in what no recording shows, and that no gradient may depend on."""

from collections.abc import Mapping, Sequence
from typing import Any

from derive.modules.agreement import COARSE_TOLERANCE, close
from derive.modules.graph import Module, in_float64, tensor_of
from derive.modules.refusal import Wrong
from derive.modules.written import CPU, OpaqueKernel, WrittenBackward, said_of

ByLabel = dict[tuple[str, str], Any]  # of each label what torch computes


def check_surroundings(written: WrittenBackward, module: Module, kernel: OpaqueKernel | None) -> None:
    """Raises Wrong where memory, a second call, float32, or what else is needed changes a number."""
    of = kernel or CPU
    tensors = {name: tensor_of(one.numpy(), of.precision, of.device) for name, one in written.example(module).items()}
    cotangents = {name: one for name, one in tensors.items() if name not in written.known}
    ones = tensors | {name: one.new_ones(one.shape) for name, one in cotangents.items()}
    spread = ones | {name: one.new_ones(()).expand(one.shape) for name, one in cotangents.items()}
    wanted, none = by_label(written, tensors), set(written.none)
    names = [name for kind, name in wanted if kind == "gradient"]
    check_call(written, "where the cotangent is one number, expanded", spread, names, by_label(written, ones))
    otherwise, followed = lying_otherwise(tensors), ""
    if kernel is None:
        in_float32 = {name: one.float() if one.is_floating_point() else one for name, one in tensors.items()}
        check_call(written, "in float32", in_float32, names, wanted)
        otherwise = {name: one.requires_grad_(one.is_floating_point()) for name, one in otherwise.items()}
        followed = " and autograd follows them"
    check_call(written, f"where tensors are not contiguous{followed}", otherwise, names, wanted)
    if written.function:
        check_call(written, "when it is called again", tensors, names, wanted, times=2)
        for place, (name, one) in enumerate(cotangents.items()):
            silent = tensors | {name: one.new_zeros(one.shape)}
            check_call(written, f"where {name} is None", silent, names, by_label(written, silent), without=place)
        for name in names:
            others = [other for other in names if other != name]
            check_call(written, f"where only that for {name} is needed", tensors, [name], wanted)
            check_call(written, f"where that for {name} is not needed", tensors, others, wanted)
    written.none = none


def by_label(written: WrittenBackward, tensors: Mapping[str, Any]) -> ByLabel:
    found = written.values(tensors)
    return dict(zip(written.labels, found, strict=True))


def check_call(
    written: WrittenBackward,
    where: str,
    tensors: Mapping[str, Any],
    needed: Sequence[str],
    wanted: ByLabel,
    times: int = 1,
    without: int | None = None,
) -> None:
    """Raises Wrong where a call gives something else than is wanted; one that fails gives no number."""
    try:
        with in_float64():
            found = written.called(tensors, needed, times, without)
    except Exception:
        return
    sizes = (one.abs().nan_to_num(0, 0, 0).max() for one in wanted.values() if one.numel())
    largest = max(1.0, *map(float, sizes))
    for (kind, name), value in zip(written.labels, found, strict=True):
        here, other = (one.detach().double().cpu().numpy() for one in (value, wanted[kind, name]))
        told = kind == "output" or name in needed
        if told and (here.shape != other.shape or not close(here, other, COARSE_TOLERANCE, largest)):
            raise Wrong(f"{written.name}: {said_of(kind, name)} is another {where}")


def lying_otherwise(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers with the first axis as the innermost."""
    return {name: one.clone().mT.contiguous().mT if one.ndim > 1 else one.clone() for name, one in tensors.items()}
