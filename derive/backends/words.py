"""What torch calls each function, and how it is called: as it stands, into given memory, and with its slope."""

from derive.backends.source import Literal

ELEMENTARY = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "erfinv", "exp", "expm1"),
    *("floor", "log", "log1p", "relu", "selu", "sigmoid", "sign", "sin", "sinh", "tan", "tanh"),
)
NUMBER_FUNCTIONS = {"cos", "cosh", "erf", "exp", "gamma", "log", "sin", "sinh", "tan", "tanh"}
KERNELS = {
    "Abs": "torch.abs",
    "atan2": "torch.atan2",
    "ceiling": "torch.ceil",
    "loggamma": "torch.lgamma",
    **{name: f"torch.{name}" for name in ELEMENTARY},
    **{
        name: f"torch.nn.functional.{name}"
        for name in (
            "celu",
            "elu",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "leaky_relu",
            "logsigmoid",
            "mish",
            "relu6",
            "silu",
            "softplus",
            "softsign",
            "tanhshrink",
        )
    },
}
CALLS = (  # by what stands behind torch., in the lines of networks, and besides in those of matrix expressions
    *("addcmul", "addmm", "amax", "arange", "clamp", "index_select", "logsumexp", "maximum", "minimum", "mm", "mul"),
    *("mv", "nn.functional.linear", "sqrt", "square", "sub", "where", "zeros_like"),
)
CALLS_OF_MATRICES = (
    *(
        "cat",
        "einsum",
        "eye",
        "kron",
        "linalg.det",
        "linalg.inv",
        "linalg.matrix_power",
        "linalg.slogdet",
        "linalg.solve",
        "logdet",
    ),
    *("nn.functional.pad", "trace"),
)
OPTIONS = {"gelu_tanh": ("torch.nn.functional.gelu", ("approximate", Literal('"tanh"')))}
IN_PLACE = ("relu", "sigmoid", "sin", "tanh")  # as methods with an underscore
INTO = {
    "celu": "torch.ops.aten.elu.out({z}, out={out})",
    "elu": "torch.ops.aten.elu.out({z}, out={out})",
    "gelu": "torch.ops.aten.gelu.out({z}, out={out})",
    "gelu_tanh": 'torch.ops.aten.gelu.out({z}, approximate="tanh", out={out})',
    "hardsigmoid": "torch.ops.aten.hardsigmoid.out({z}, out={out})",
    "hardswish": "torch.ops.aten.hardswish.out({z}, out={out})",
    "hardtanh": "torch.clamp({z}, -1, 1, out={out})",
    "leaky_relu": "torch.ops.aten.leaky_relu.out({z}, out={out})",
    "logsigmoid": "torch.ops.aten.log_sigmoid.out({z}, out={out})",
    "mish": "torch.ops.aten.mish.out({z}, out={out})",
    "relu": "torch.clamp_min({z}, 0, out={out})",
    "relu6": "torch.clamp({z}, 0, 6, out={out})",
    "selu": "torch.ops.aten.elu.out({z}, 1.6732632423543772, 1.0507009873554805, out={out})",
    "sigmoid": "torch.sigmoid({z}, out={out})",
    "silu": "torch.ops.aten.silu.out({z}, out={out})",
    "sin": "torch.sin({z}, out={out})",
    "softplus": "torch.ops.aten.softplus.out({z}, out={out})",
    "tanh": "torch.tanh({z}, out={out})",
}
PULLBACKS = {  # cotangent g times slope, where torch has a kernel for it, at z or at the output a
    "celu": "torch.ops.aten.elu_backward.grad_input({g}, 1, 1, 1, False, {z}, grad_input={out})",
    "elu": "torch.ops.aten.elu_backward.grad_input({g}, 1, 1, 1, False, {z}, grad_input={out})",
    "gelu": "torch.ops.aten.gelu_backward.grad_input({g}, {z}, grad_input={out})",
    "gelu_tanh": 'torch.ops.aten.gelu_backward.grad_input({g}, {z}, approximate="tanh", grad_input={out})',
    "hardswish": "torch.ops.aten.hardswish_backward.out({g}, {z}, out={out})",
    "hardtanh": "torch.ops.aten.hardtanh_backward.grad_input({g}, {z}, -1, 1, grad_input={out})",
    "leaky_relu": "torch.ops.aten.leaky_relu_backward.grad_input({g}, {z}, 0.01, False, grad_input={out})",
    "mish": "{out}.copy_(torch.ops.aten.mish_backward.default({g}, {z}))",
    "relu": "torch.ops.aten.threshold_backward.grad_input({g}, {a}, 0, grad_input={out})",
    "relu6": "torch.ops.aten.hardtanh_backward.grad_input({g}, {z}, 0, 6, grad_input={out})",
    "selu": (
        "torch.ops.aten.elu_backward.grad_input({g}, 1.6732632423543772, 1.0507009873554805, 1, False, {z}, "
        "grad_input={out})"
    ),
    "sigmoid": "torch.ops.aten.sigmoid_backward.grad_input({g}, {a}, grad_input={out})",
    "silu": "torch.ops.aten.silu_backward.grad_input({g}, {z}, grad_input={out})",
    "softplus": "torch.ops.aten.softplus_backward.grad_input({g}, {z}, 1, 20, grad_input={out})",
    "tanh": "torch.ops.aten.tanh_backward.grad_input({g}, {a}, grad_input={out})",
}
WHOLE = frozenset({"gelu"})  # pullbacks whose cotangent is not broadcast: oneDNN refuses that
