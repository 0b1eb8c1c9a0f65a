"""Elementwise functions as scalar SymPy formulas, named as in torch.nn.functional; SymPy gives each its slope.

To add one, add a row to DEFINITIONS where torch has a function for it, which lines then call, else to FUNCTIONS, and
lines have its formula. A kink is policy: the condition of the branch says which slope holds there, and it
is torch's; where the slope has the kink, which curvature, and it is torch's, too.
"""

from sympy import Abs, Expr, Piecewise, Rational, erf, exp, pi, sin, sqrt, tanh

from derive.formulas.stable import logsigmoid, named_function, sigmoid, z


def clipped(value: Expr, least: Expr | int, most: Expr | int) -> Expr:
    return Piecewise((least, value <= least), (most, value >= most), (value, True))


_SELU_SCALE, _SELU_BELOW = Rational("1.0507009873554805"), Rational("1.7580993408473766")  # scale, scale * alpha

DEFINITIONS: dict[str, Expr] = {
    "relu": Piecewise((0, z <= 0), (z, True)),
    "leaky_relu": Piecewise((z, z > 0), (z / 100, True)),
    "elu": Piecewise((z, z >= 0), (exp(z) - 1, True)),
    "selu": Piecewise((_SELU_SCALE * z, z > 0), (_SELU_BELOW * (exp(z) - 1), True)),
    "celu": Piecewise((z, z >= 0), (exp(z) - 1, True)),
    "softplus": Piecewise((z, z > 20), (-logsigmoid(-z), True)),  # linear above 20, as torch has it
    "silu": z * sigmoid(z),
    "gelu": z * (1 + erf(z / sqrt(2))) / 2,
    "gelu_tanh": z * (1 + tanh(sqrt(2 / pi) * (z + Rational("0.044715") * z**3))) / 2,
    "mish": z * tanh(-logsigmoid(-z)),
    "softsign": z / (1 + Abs(z)),
    "tanhshrink": z - tanh(z),
    "relu6": clipped(z, 0, 6),
    "hardtanh": clipped(z, -1, 1),
    "hardsigmoid": Piecewise((0, z <= -3), (1, z >= 3), (z / 6 + Rational(1, 2), True)),
    "hardswish": Piecewise((0, z <= -3), (z, z >= 3), (z * (z + 3) / 6, True)),
}

FUNCTIONS: dict[str, Expr] = {
    "identity": z,
    "sigmoid": sigmoid(z),
    "tanh": tanh(z),
    "logsigmoid": logsigmoid(z),
    "sin": sin(z),
    **{name: named_function(name, definition)(z) for name, definition in DEFINITIONS.items()},
}
