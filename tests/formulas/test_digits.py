"""Each row of the tables and formulas that people type, from 0 to 2^100: value, slope and curvature keep their digits.

The judge is the definition at as many digits as it takes, and SymPy's derivatives of the definition there. A result may
be off by some eps times the condition of what it is, |x f'(x) / f(x)| + 1, or by a few times what torch is off.
"""

import itertools
import math
from collections.abc import Callable

import mpmath
import pytest
import sympy
import torch
from torch.nn import functional

from derive.formulas import FUNCTIONS, LOSSES, opened, p, y, z
from derive.problems.network import Network
from tests.helpers.gate import Activation, criterion

SIZES = [2.0**-100, 2.0**-10, 1.0, 10.0, 15.0, 37.0, 90.0, 700.0, 1e4, 1e10, 2.0**100]  # exact in both dtypes
POINTS = [0.0, *(sign * size for size in SIZES for sign in (1, -1))]
TARGETS = [0.0, 0.25, 1.0]
EPS_TIMES, TORCH_TIMES = 32, 4
TYPED: dict[str, Callable] = {
    "log(1 + z**2)": lambda z: torch.log(1 + z**2),
    "log(2 + z**4)": lambda z: torch.log(2 + z**4),
    "sqrt(1 + z**2)": lambda z: torch.sqrt(1 + z**2),
    "sqrt(1 + z**2) - 1": lambda z: torch.sqrt(1 + z**2) - 1,
    "3 - sqrt(9 + 2*z**4)": lambda z: -2 * z**4 / (3 + torch.sqrt(9 + 2 * z**4)),
    "sqrt(exp(z) + exp(-z))": lambda z: torch.exp(torch.logaddexp(z, -z) / 2),
    "(exp(z) + 3*exp(-2*z))**0.3": lambda z: torch.exp(0.3 * torch.logaddexp(z, math.log(3) - 2 * z)),
    "z*sqrt(z**2 + 4)": lambda z: z * torch.sqrt(z**2 + 4),
    "z/sqrt(1 + z**2)": lambda z: z / torch.sqrt(1 + z**2),
    "z**2/(1 + z**2)": lambda z: z**2 / (1 + z**2),
    "z/(1 + z**2)": lambda z: z / (1 + z**2),
    "1/(1 + z**2)": lambda z: 1 / (1 + z**2),
    "z/(1 + abs(z))": functional.softsign,
    "sin(z)/(1 + z**2)": lambda z: torch.sin(z) / (1 + z**2),
    "exp(-z**2)": lambda z: torch.exp(-(z**2)),
    "z*exp(-z**2)": lambda z: z * torch.exp(-(z**2)),
    "z*erf(z/sqrt(2))": lambda z: z * torch.erf(z / math.sqrt(2)),
    "log(1 + exp(z))": functional.softplus,
    "z - log(1 + exp(z))": lambda z: z - functional.softplus(z),
    "1/(1 + exp(-z))": torch.sigmoid,
    "exp(z)/(1 + exp(z))": torch.sigmoid,
    "(exp(z) - exp(-z))/(exp(z) + exp(-z))": torch.tanh,
    "sigmoid(z)*(1 - sigmoid(z))": lambda z: torch.sigmoid(z) * (1 - torch.sigmoid(z)),
    "tanh(z)**2": lambda z: torch.tanh(z) ** 2,
    "z*tanh(log(1 + exp(z)))": functional.mish,
    "softplus(z)*sigmoid(z)": lambda z: functional.softplus(z) * torch.sigmoid(z),
    "z**3": lambda z: z**3,
    "z*exp(-z)/(1 + exp(-z))**2": lambda z: z * torch.sigmoid(z) * torch.sigmoid(-z),
    "1/(exp(z) + exp(-z))": lambda z: torch.exp(-z.abs()) * torch.sigmoid(2 * z.abs()),
    "exp(z)/(exp(2*z) + 2*exp(z) + 1)": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "exp(z**2)/(1 + exp(z**2))": lambda z: torch.sigmoid(z**2),
    "exp(2*z)/(exp(2*z) + exp(z) + 1)": lambda z: 1 / (1 + torch.exp(-z) + torch.exp(-2 * z)),
    "log(1 + exp(z) + exp(2*z))": lambda z: torch.logsumexp(torch.stack([0 * z, z, 2 * z]), 0),
    "log((1 + exp(z))/(2 + exp(z)))": lambda z: functional.softplus(z) - functional.softplus(z - math.log(2)),
    "sqrt(1 + exp(z))": lambda z: torch.sqrt(1 + torch.exp(z)),
    "exp(z) - exp(z - 1)": lambda z: torch.exp(z) - torch.exp(z - 1),
    "1 - tanh(z)**2": lambda z: 1 - torch.tanh(z) ** 2,
    "1 - cos(z)": lambda z: 1 - torch.cos(z),
    "z*(1 + erf(z/sqrt(2)))/2": functional.gelu,
    "max(z, 0)**2": lambda z: torch.relu(z) ** 2,
    "tanh(tanh(z))": lambda z: torch.tanh(torch.tanh(z)),
    "sigmoid(z*tanh(z))": lambda z: torch.sigmoid(z * torch.tanh(z)),
    "log(1 + exp(z)) - z": lambda z: functional.softplus(z) - z,
    "silu(z) - z": lambda z: -z * torch.sigmoid(-z),
    "gelu(2*z) - 2*z": lambda z: -z * torch.special.erfc(math.sqrt(2) * z),
    "mish(z) - z": lambda z: -2 * z / (1 + (1 + torch.exp(z)) ** 2),
    "sqrt(exp(z) + 1)": lambda z: torch.exp(functional.softplus(z) / 2),
    "1/(1 + exp(z))**0.3": lambda z: torch.exp(-0.3 * functional.softplus(z)),
    "sqrt(softplus(z))": lambda z: torch.where(z < -80, torch.exp(z / 2), torch.sqrt(functional.softplus(z))),
    "log(softplus(z))": lambda z: torch.where(z < -80, z, torch.log(functional.softplus(z))),
    "softplus(z)*exp(-z/2)": lambda z: functional.softplus(z) * torch.exp(-z / 2),
    "erfc(log1p(sigmoid(z)))": lambda z: torch.erfc(torch.log1p(torch.sigmoid(z))),
    "cosh(gelu(z))": lambda z: torch.cosh(functional.gelu(z)),
    "1/(1.7 + z**2) - z**2": lambda z: 1 / (1.7 + z**2) - z**2,
    "1/(exp(2*z) - 3)": lambda z: 1 / (torch.exp(2 * z) - 3),
}
REMOVABLE: dict[str, Callable] = {  # 0/0 at 0, and so near it that nothing of the second derivative is left
    "z/(exp(z) - 1)": lambda z: z / torch.expm1(z),
    "z*exp(z)/(exp(z) - 1)": lambda z: -z / torch.expm1(-z),
    "(1 - exp(-z))/z": lambda z: -torch.expm1(-z) / z,
    "exp(-z)*erf(z)/(3 + sin(z))**2": lambda z: torch.exp(-z) * torch.erf(z) / (3 + torch.sin(z)) ** 2,
}
TYPED_LOSSES: dict[str, Callable] = {
    "log(1 + (p - y)**2)": lambda p, y: torch.log(1 + (p - y) ** 2),
    "sqrt(1 + (p - y)**2) - 1": lambda p, y: torch.sqrt(1 + (p - y) ** 2) - 1,
    "(p - y)**2/(1 + (p - y)**2)": lambda p, y: (p - y) ** 2 / (1 + (p - y) ** 2),
    "log(1 + exp(-y*p))": lambda p, y: functional.softplus(-y * p),
    "log(1 + exp(-2*y*p))": lambda p, y: functional.softplus(-2 * y * p),
    "log(1 + exp(-y*(p - 1)))": lambda p, y: functional.softplus(-y * (p - 1)),
    "1/(1 + exp(p - y))": lambda p, y: 1 / (1 + torch.exp(p - y)),
    "sigmoid(-y*p)": lambda p, y: torch.sigmoid(-y * p),
    "tanh(y*p - 1)": lambda p, y: torch.tanh(y * p - 1),
    "(1 - tanh(y*p))**2": lambda p, y: (1 - torch.tanh(y * p)) ** 2,
    "1 - exp(-(p - y)**2)": lambda p, y: 1 - torch.exp(-((p - y) ** 2)),
    "exp(p)/(exp(p) + exp(y))": lambda p, y: torch.sigmoid(p - y),
    "log(exp(p - y) + exp(y - p))": lambda p, y: torch.logaddexp(p - y, y - p),
    "log(1 + exp(p)) - p": lambda p, y: functional.softplus(p) - p,
    "log(exp(p) + exp(-p))": lambda p, y: functional.softplus(-2 * p.abs()) + p.abs(),
    "log(1 + exp(-2*p))*y": lambda p, y: functional.softplus(-2 * p) * y,
    "y*softplus(-p) + (1 - y)*softplus(p)": lambda p, y: functional.binary_cross_entropy_with_logits(
        p, y, reduction="none"
    ),
}

NESTED: dict[str, Callable] = {  # exp of exp, which no number of digits can say far from 0
    "exp(-exp(-z))": lambda z: torch.exp(-torch.exp(-z)),
    "sigmoid(exp(z))": lambda z: torch.sigmoid(torch.exp(z)),
    "tanh(exp(-z))": lambda z: torch.tanh(torch.exp(-z)),
}


def exact(formula: Callable, point: tuple[float, ...]) -> mpmath.mpf:
    """The number, once twice the digits do not change 30 of its own; what is below 1e-340 counts as 0."""
    before = None
    for digits in (60, 400, 800, 1600):
        with mpmath.workdps(digits):
            found = mpmath.re(formula(*map(mpmath.mpf, point)))
            small = abs(found) < mpmath.mpf(10) ** -340
            if before is not None and (abs(found - before) <= abs(found) * mpmath.mpf(10) ** -30 or small):
                return mpmath.mpf(0) if small else found
        before = found
    return found


def derivatives(definition: sympy.Expr, variable: sympy.Symbol, others: tuple = ()) -> list[Callable]:
    found = [definition]
    for _ in range(3):
        found.append(sympy.diff(found[-1], variable).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0)))
    return [sympy.lambdify((variable, *others), each, "mpmath") for each in found]


def check(got: float, theirs: float, truths: list, order: int, point: float, dtype: torch.dtype) -> str:
    """What is wrong, or nothing."""
    truth, info = truths[order], torch.finfo(dtype)
    if abs(truth) > info.max:
        return ""
    if math.isnan(got) and abs(point) <= 1e10 and abs(truth) < info.max**0.5:  # else parts of it may be infinite
        return f"nan for {mpmath.nstr(truth, 8)}"
    if not math.isfinite(got):
        return f"{got} for {mpmath.nstr(truth, 8)}" if math.isfinite(theirs) else ""
    condition = 1 + abs(point * truths[order + 1] / truth) if truth else 1
    underflow = 4 * info.tiny * min(1 + abs(point), 100)  # torch's sigmoid has no subnormal numbers
    rounding = EPS_TIMES * info.eps * condition * abs(truth) + underflow
    off = abs(got - truth)
    as_torch = TORCH_TIMES * abs(theirs - truth) if math.isfinite(theirs) else mpmath.inf
    if off <= rounding or (off <= as_torch and got * truth >= 0):
        return ""
    return f"{got:.9g} for {mpmath.nstr(truth, 9)}, torch {theirs:.9g}"


def by_torch(function: Callable, leaf: torch.Tensor) -> list[float]:
    """Value, slope and curvature by autograd."""
    values = [function(leaf)]
    for _ in range(2):
        found = torch.zeros_like(leaf)
        if values[-1].requires_grad:
            (found,) = torch.autograd.grad(values[-1].sum(), leaf, create_graph=True, materialize_grads=True)
        values.append(found)
    return [value.item() for value in values]


def by_us(module, point: float, target: float, dtype: torch.dtype) -> list[float]:
    """The same by an emitted network of one unit, whose bias is the point."""
    x, W = torch.zeros(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    b, y, one = (torch.full(shape, value, dtype=dtype) for shape, value in (((1,), point), ((1, 1), target), ((1,), 1)))
    on_buffers = getattr(module, "FastGradient", None) or getattr(module, "NativeGradient", None)
    given, computes = ([], on_buffers([W, b])) if on_buffers else ([[W, b]], module)
    value, gradient = computes.value_and_grad(*given, x, y)
    numbers = [value.item(), gradient.b1.item()]
    return [*numbers, computes.hvp(*given, x, y, [W, one]).b1.item()]


@pytest.fixture(params=["torch", pytest.param("c", marks=pytest.mark.slow)])
def modules(request, emitted) -> Callable:
    """From a network to the readable module and the one on buffers with torch's own kernels, or to network.c's."""
    names = ("backward", "fast") if request.param == "torch" else ("native",)
    return lambda network: [emitted(network, name) for name in names]


def faults(
    modules: list, truths: list[Callable], theirs: Callable, targets: list[float | None], points: list[float] = POINTS
) -> list[str]:
    found = []
    for target in targets:
        for point in points:
            if target and 0 < abs(point) < 1e-20:
                continue  # p - y is -y
            numbers = [exact(each, (point,) if target is None else (point, target)) for each in truths]
            for dtype, module in itertools.product((torch.float32, torch.float64), modules):
                got = by_us(module, point, 1.0 if target is None else target, dtype)
                want = by_torch(
                    lambda leaf, y=target: theirs(leaf, y), torch.tensor([[point]], dtype=dtype).requires_grad_()
                )
                for order, (mine, other) in enumerate(zip(got, want, strict=True)):
                    wrong = check(mine, other, numbers, order, point, dtype)
                    if wrong:
                        at = f"{point:.4g}" if target is None else f"{point:.4g}, y = {target}"
                        where = f"{['value', 'slope', 'curvature'][order]} at {at}, {dtype}, {module.__name__}"
                        found.append(f"{where}: {wrong}")
    return found


@pytest.mark.parametrize("formula", [*FUNCTIONS, *TYPED])
def test_a_function_keeps_its_digits(formula, modules):
    network = Network((1, 1), output_activation=formula, loss="p*y")
    theirs = Activation(formula) if formula in FUNCTIONS else TYPED[formula]
    truths = derivatives(opened(network.function(1)), z)
    wrong = faults(modules(network), truths, lambda leaf, _: theirs(leaf), [None])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("formula", [*REMOVABLE, *NESTED])
def test_a_function_keeps_its_digits_where_it_has_some(formula, modules):
    network = Network((1, 1), output_activation=formula, loss="p*y")
    truths, theirs = derivatives(opened(network.function(1)), z), {**REMOVABLE, **NESTED}[formula]
    points = [point for point in POINTS if (abs(point) >= 1 if formula in REMOVABLE else abs(point) <= 700)]
    wrong = faults(modules(network), truths, lambda leaf, _: theirs(leaf), [None], points)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("loss", [name for name in (*LOSSES, *TYPED_LOSSES) if "cross_entropy" not in name[-13:]])
def test_a_loss_keeps_its_digits(loss, modules):
    """The cross entropies of distributions are in test_extremes."""
    network = Network((1, 1), loss=loss)
    theirs = TYPED_LOSSES.get(loss) or (lambda leaf, target: criterion(network, leaf, torch.full_like(leaf, target)))
    truths = derivatives(opened(network.criterion().formula), p, (y,))
    wrong = faults(
        modules(network),
        truths,
        lambda leaf, target: theirs(leaf, target if loss in LOSSES else torch.full_like(leaf, target)),
        TARGETS,
    )
    assert not wrong, "\n".join(wrong)
