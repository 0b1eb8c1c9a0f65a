"""Other sizes for the arguments of a module: small and pairwise different, where the module allows it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, count, permutations

from derive.modules.graph import Axis, Module

PRIMES = (3, 5, 7, 11, 13), (17, 7, 13, 5, 11)
LARGE_SIZES = 1031, 131  # of which the first is taken with which the arguments have no more entries than these
MOST_AT_LARGE = 10_000


def runs(module: Module, sizes: Mapping[Axis, int]) -> bool:
    try:
        module.resized(sizes).outputs()
    except Exception:  # whatever a module says of sizes that it does not take
        return False
    return True


def axes_of(module: Module) -> list[Axis]:
    axes = {(axis == 0, size) for tensor in module.example.values() for axis, size in enumerate(tensor.shape) if size}
    return sorted(axes, key=lambda axis: (axis[1], not axis[0]))


def least_sizes(module: Module) -> dict[Axis, int]:
    """2 in the place of each size that is larger and may be another; empty where none is."""
    large = [group for group in groups(module, axes_of(module)) if group[0][1] > 2]
    chosen = dict.fromkeys((axis for group in large for axis in group), 2)
    return chosen if runs(module, chosen) else {}


def one_row(module: Module) -> dict[Axis, int]:
    """1 in the place of the sizes of first axes that may be another with no other size, as batches are."""
    chosen: dict[Axis, int] = {}
    for axis in axes_of(module):
        if axis[0] and axis[1] > 1 and runs(module, {axis: axis[1] + 1}) and runs(module, chosen | {axis: 1}):
            chosen[axis] = 1
    return chosen


def own_sizes(module: Module) -> dict[Axis, int]:
    """Other sizes for axes of arguments that may have one alone, though others have the same in the example."""
    axes = {(name, axis): n for name, one in module.example.items() for axis, n in enumerate(one.shape) if n > 1}
    chosen: dict[Axis, int] = {}
    for axis, size in axes.items():
        new = next(n for n in count(2) if n not in (*axes.values(), *chosen.values()))
        if [*axes.values()].count(size) > 1 and runs(module, chosen | {axis: new}):
            chosen[axis] = new
    return chosen


def different_sizes(module: Module) -> dict[Axis, int]:
    """What to put in the place of which size; empty where each is fixed.

    Axes of one size become different where they may: the first ones of tensors, which are batches, and all others.
    """
    axes = set(axes_of(module))
    free = list(groups(module, axes_of(module)))
    fixed = {size for _, size in axes.difference(*free)}
    chosen: dict[Axis, int] = {}
    for group in free:
        new = next(n for n in count(2) if n not in fixed and n != group[0][1] and n not in chosen.values())
        chosen |= dict.fromkeys(group, new)
    if runs(module, chosen):
        return chosen
    chosen, sizes = {}, {size for _, size in axes}
    for group in free:  # those that are not taken with the others stay as they are
        new = next(n for n in count(2) if n not in sizes and n not in chosen.values())
        if runs(module, more := chosen | dict.fromkeys(group, new)):
            chosen = more
    return chosen


def telling_sizes(module: Module) -> Iterator[dict[Axis, int]]:
    """Sizes like `different_sizes`, such that products of two tell as well which sizes they are of, where that runs.

    Others follow, as what is computed of one size may look like a product of others.
    """
    chosen = different_sizes(module)
    new = sorted(set(chosen.values()))
    old = [next(axis[1] for axis, size in chosen.items() if size == one) for one in new]
    for some in PRIMES if 0 < len(new) <= len(PRIMES[0]) else ():
        for primes in permutations(some, len(new)):
            products = zip(combinations(old, 2), combinations(primes, 2), strict=True)
            known = any(size in primes for size in {size for _, size in axes_of(module)})
            if not known and all(a * b != c * d for (a, b), (c, d) in products):
                other = {axis: primes[new.index(size)] for axis, size in chosen.items()}
                if runs(module, other):
                    yield other
                    break
    if chosen:
        yield chosen


def large_sizes(module: Module) -> Iterator[dict[Axis, int]]:
    """A large size in the place of one after the other: what takes the first 64 of fewer is recorded as taking all."""
    for group in groups(module, axes_of(module)):
        for chosen in (dict.fromkeys(group, size) for size in LARGE_SIZES):
            entries = sum(one.numel() for one in module.resized(chosen).example.values())
            if entries <= MOST_AT_LARGE and runs(module, chosen):
                yield chosen
                break


def groups(module: Module, axes: Sequence[Axis]) -> Iterator[list[Axis]]:
    """Axes that may have another size: one alone, else those of this size together."""
    for size in sorted({size for _, size in axes}):
        here = [axis for axis in axes if axis[1] == size]
        alone = [[axis] for axis in here if runs(module, {axis: size + 1})]
        if alone:
            yield from alone
        elif runs(module, dict.fromkeys(here, size + 1)):
            yield here
