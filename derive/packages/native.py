"""What goes into the holes of network.c and network.h: three sweeps of a derivation as C."""

from collections.abc import Iterator
from math import prod
from typing import Any

from sympy import MatrixSymbol

from derive.backends.c import CSweep, Place, device_holes, each_value_once, network_holes
from derive.backends.fast import FlatBlock
from derive.calculus import hvp
from derive.problems import Network
from derive.programs import Derivation, Equation, all_in_parts, needed

FEW, MANY, MANY_A_CALL, FEW_INPUTS = 3000, 80_000, 512, 48
FASTER = (
    f"up to {FEW} weights and biases, or up to {MANY} and {MANY_A_CALL} rows a call; "
    f"not for one layer of more than {FEW_INPUTS} inputs"
)


def faster_from(network: Network) -> int | None:
    """The rows of a call from which on network.c is faster than fast.py; None where it never is.

    As measured of relu, where it gains least, with 15 rows behind the last vector.
    """
    if network.entries > MANY or (len(network.layers) == 2 and network.layers[0] > FEW_INPUTS):
        return None
    return 1 if network.entries <= FEW else MANY_A_CALL


def native_holes(
    network: Network, derived: Derivation, each: Derivation, penalty: Derivation | None, blocks: list[FlatBlock]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of network.c, and those of network.h.

    `each` is the derivation of the rows' own losses, `penalty` that of what no row has, `blocks` what a flat vector is
    cut into.
    """
    laid = list(laid_places(blocks))
    sweeps = {
        "gradient": gradient_sweep(derived),
        "hvp": hvp_sweep(derived),
        "per_sample": sweep(each, each.equations, gradients_of(each)),
    }
    of_penalty = (gradient_sweep(penalty), hvp_sweep(penalty)) if penalty else (None, None)
    source, header = network_holes(sweeps, dict(laid), *of_penalty)
    return source, {**header, **header_holes(network, laid)}


def holes_of_device(
    network: Network, derived: Derivation, penalty: Derivation | None, blocks: list[FlatBlock]
) -> dict[str, Any]:
    """The holes of device.h."""
    laid = list(laid_places(blocks))
    holes = device_holes(gradient_sweep(derived), dict(laid), gradient_sweep(penalty) if penalty else None)
    return {**holes, **header_holes(network, laid)}


def header_holes(network: Network, laid: list[tuple[str, Place]]) -> dict[str, Any]:
    """What a header says of the data and of the parameters."""
    layout = [f"{name}{'^T' if place.column > 1 else ''} from {place.start} on" for name, place in laid]
    return {"inputs": network.layers[0], "outputs": network.layers[-1], "layout": layout}


def gradient_sweep(derived: Derivation) -> CSweep:
    return sweep(derived, derived.equations, gradients_of(derived), derived.program.output)


def hvp_sweep(derived: Derivation) -> CSweep:
    product = hvp(derived)
    moved = {name: symbol for name, symbol in product.results.items() if symbol is not None}
    products = {moved[symbol.name]: symbol for symbol in derived.program.parameters if symbol.name in moved}
    return sweep(derived, product.equations, products)


def gradients_of(derived: Derivation) -> dict[MatrixSymbol, MatrixSymbol]:
    return {gradient: symbol for symbol, gradient in derived.gradients.items()}


def sweep(
    derived: Derivation,
    equations: tuple[Equation, ...],
    results: dict[MatrixSymbol, MatrixSymbol],
    *others: MatrixSymbol,
) -> CSweep:
    """The equations that the results and others need, with their long formulas in parts."""
    parts = all_in_parts(each_value_once(needed(equations, (*results, *others))))
    return CSweep(derived.program, parts, results)


def laid_places(blocks: list[FlatBlock]) -> Iterator[tuple[str, Place]]:
    """Where each parameter lies in a flat vector, by its name."""
    start = 0
    for part in (part for block in blocks for part in block.parts):
        row = 1 if part.transposed else part.shape[-1]
        yield part.name, Place(start, row, part.shape[0]) if part.transposed else Place(start, row, 1)
        start += prod(part.shape)
