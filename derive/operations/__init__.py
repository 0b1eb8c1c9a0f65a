"""What an equation computes, recognised once for the printers."""

from derive.operations.patterns import (
    Quadratic,
    activations,
    affine,
    backward_product,
    bias_gradient,
    difference,
    is_plain,
    one_plus,
    product,
    products,
    quadratic,
    two_products,
    weight_gradient,
)

__all__ = [
    "Quadratic",
    "activations",
    "affine",
    "backward_product",
    "bias_gradient",
    "difference",
    "is_plain",
    "one_plus",
    "product",
    "products",
    "quadratic",
    "two_products",
    "weight_gradient",
]
