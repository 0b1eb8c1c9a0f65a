"""The stand-in against torch: whatever it computes, torch computes; what torch refuses, it refuses."""

import ast
import re
from fractions import Fraction
from pathlib import Path

import numpy
import pytest
import sympy
import torch

from derive.backends import WORDS, Name
from derive.proof import stand_in
from derive.proof.grammar import ALLOWED_METHODS
from derive.proof.source import Exact, as_said
from derive.proof.stand_in import MATRICES, TORCH_BY_PATH, torch_stand_in
from derive.proof.tensor import BOOL, RefusedByTorch, Tensor, read_only, symbols

KINKS = (-3, -1, 0, 1, 3, 6, 20, 21, Fraction(-1, 2), Fraction(1, 4), Fraction(5, 2), -21)
MATRIX = numpy.array([[-1, 0, Fraction(3, 2)], [2, 0, Fraction(-1, 2)]], dtype=object)
VALUES = {  # ties and kinks among them
    "a": MATRIX,
    "b": numpy.array([[-1, 2, Fraction(1, 2)], [2, 0, 3]], dtype=object),
    "s": numpy.array([[2, 1], [Fraction(1, 2), 3]], dtype=object),
    "u": numpy.array([[1, 0], [-2, 5]], dtype=object),
    "v": numpy.array([3, 0, -2], dtype=object),
    "n": numpy.array(Fraction(1, 2), dtype=object),
    "p": numpy.array([Fraction(1, 3), 2, 5], dtype=object),
    "k": numpy.array(KINKS, dtype=object),
    "big": numpy.arange(24).astype(object).reshape(4, 6),
}
LAYOUTS = {  # how a tensor with these values may lie in memory
    "dense": lambda array, make: make(array),
    "turned": lambda array, make: make(array.T.copy()).T if array.ndim == 2 else make(array),
    "strided": lambda array, make: make(numpy.repeat(array, 2, 0))[::2] if array.ndim else make(array),
    "repeated": lambda array, make: make(array[:1].copy()).expand(*array.shape) if array.ndim == 2 else make(array),
    "none": lambda array, make: make(array[:0].copy()) if array.ndim else make(array),
}
USED = """
r = a + b; r = a - v; r = a * n; r = a / p; r = 2 * a; r = a - 1; r = 1 / p; r = 1 - a; r = -a; r = a / 4; r = a**2
r = p ** (1 / 2); r = 2**a; r = p**-1; r = a @ b.T; r = s @ u; r = a @ v; r = v @ v; r = a.T; r = a.mT; r = a[0]
r = a[1, 2]; r = a[:, 1:3]; r = a[::2]; r = a[-1:]; r = a[:, None]; r = a[0:1, 0]; r = v[:-1]; r = a[:1, 1]
r = a.sum(); r = a.sum(0); r = a.sum(1, keepdim=True); r = a.sum(0, keepdim=True); r = n.sum(); r = a.sum(-1)
r = a.unsqueeze(2) * b.unsqueeze(1).sum(); r = n.expand(2, 3); r = v.expand(2, 3); r = v.expand((2, 3))
r = a[:1].expand(2, 3); r = big.reshape(2, 2, 3, 2); r = big.view(-1); r = big.view(2, -1); r = big.view((8, 3))
r = n.view(1, 1); r = a.new_ones((2, 2)); r = a.new_zeros(2, 3); r = a.new_ones(())
r = a.new_ones(3) * 2; r = a.new_tensor([[1, 2.5]]); r = a.new_tensor(0.1); r = a.new_tensor([[n, 2]]); r = a.numel()
r = len(a); r = a.shape; r = a.ndim; r = a.element_size(); r = big.split(3); r = big.split(2, 1)
r = big.split_with_sizes([1, 3]); r = big.split_with_sizes((2, 4), -1); r = a.stride(); r = a.clone(); r.zero_()
r = a.detach(); r.mul_(b); r = a; r += b; r = a
r -= 1; r = a.T; r *= 2; r = a[0]; r /= 4; r = big[1:3]; r.copy_(big[0]); r = a; r += r; r = a.clone().fill_(2)
a.fill_(n); v.copy_(n); a.zero_(); a[1].copy_(v); a.add_(v); a.sub_(v); a.div_(2); a.mul_(n); a.addmm_(s, b.clone())
a.addmm_(s, b.clone(), beta=0); a.addmm_(s, b.clone(), beta=2, alpha=1 / 4)
a.addcmul_(b, b); a.addcmul_(b, a, value=-2); a.relu_(); a.sigmoid_()
a.tanh_(); a.sin_(); r = a.clone(); t.mm(s, b, out=r); r = a.clone()
t.addmm(v, s, b, out=r); r = a.clone(); t.addmm(a, s, b, beta=-2, alpha=2, out=r); r = a.clone()
t.addmm(a, s, b, beta=0, out=r); t.sub(a, b, out=a); r = a.clone(); t.mul(a, v, out=r).mul_(2); t.mul(a, 2, out=a)
t.mul(p[:2, None], v, out=a); t.addcmul(a, a, b, value=-2, out=a); r = a.clone()
t.addcmul(n, b, b, value=1 / 4, out=r); r = v.clone()
r = a.new_empty(2).copy_(v[:2]); r = t.where(a <= b, a, 0)
r = t.where(a > 0, b, a); r = t.where(a == b, 1, b); r = t.where(a != b, a, n); r = t.where((a < 1) & (b > 0), a, b)
r = t.where(~(a < 1) | (b >= 2), a, b); r = t.where(n < 1, n, 2); r = t.where(a > 0, t.where(a > 1, a, 2), b)
r = t.where(v > 0, 1, a); r = a == b; r = a != b; r = a < v; r = a >= 0; r = a <= n; r = t.zeros_like(a)
r = t.square(a); r = t.sqrt(p); r = one - a; r = one + a; r = t.clamp(k, 0, 5); r = t.clamp(k, min=0, max=5)
r = t.clamp(k, max=5, min=0); r = t.clamp(k, min=1); r = t.clamp(k, max=1); r = t.clamp(k, 5, 0); r = t.maximum(a, b)
r = t.minimum(a, b); r = t.atan2(a, b); r = t.atan2(a, v); r = t.trace(s); r = t.trace(a @ b.T)
r = t.einsum("ij,kl->ikjl", s, a.T).reshape(6, 4); r = t.cat((a, b), 1); r = t.cat((a, b), 0)
r = t.logsumexp(a, 1, keepdim=True)
r = t.logsumexp(a, (0, 1)); r = t.amax(a, 1, keepdim=True); r = t.amax(a, (0, 1)); r = t.amax(b, 0)
r = t.logsumexp(a, 0); r = t.einsum("ikjl,kl->ij", big.reshape(2, 2, 3, 2), s)
r = t.einsum("kilj,kl->ij", big.reshape(2, 2, 2, 3), s); r = t.eye(3, dtype=a.dtype, device=a.device)
r = t.nn.functional.pad(a, (1, 0, 2, 1)); r = t.nn.functional.linear(b, a, p[:2]); r = t.linalg.inv(s)
r = t.linalg.det(s); r = t.linalg.solve(s, a); r = t.linalg.solve(s, a.T, left=False); r = t.logdet(s)
r = t.linalg.matrix_power(s, 3); r = t.linalg.matrix_power(s, -2); r = t.linalg.matrix_power(s, 0)
r = t.arange(3, dtype=a.dtype, device=device).unsqueeze(1); r = t.xlogy(a, p); r = t.special.xlog1py(a, p)
r = t.special.polygamma(2, a); r = t.special.zeta(2, p); r = t.special.zeta(3, p)
r = t.linalg.slogdet(s)[1]; r = t.linalg.slogdet(u.T)[0]
r = t.linalg.solve(s, p[:2]); r = t.nn.functional.gelu(k); r = t.nn.functional.gelu(k, approximate="tanh"); x, y = a
r = x * y; r = a[0] * 2
"""
OTHER = """
r = bool(n > 0); r = 1 if a.sum() > 0 else 2; r = a[::-1]; r = a[a > 0]; r = a[[0, 1]]; r = a[0.5]; r = a["x"]
r = a[5]; r = a[True]; r = v.T; r = n.T; r = v.mT; r = n @ v; r = n @ n; r = a @ n; r = a + "x"; r = a + True
r = a + None; r = (a > 0) + 1; r = (a > 0).sum(); r = (a > 0) * a; r = t.where(a, a, b)
r = t.where(a > 0, 1, 1 / 100); r = t.where(a > 0, 1, 2); r = t.where(True, a, b); r = a & b; r = ~a; r = a > (b > 0)
r = one / 3 * a; r = one * 3; r = one + one; r = -one; r = one.sum() / 3 * a; r = one**2; r = t.exp(one); r = one / 3
a.copy_(one); r = one.expand(3) / 3; r = t.maximum(a, 0); r = t.minimum(1, a); r = t.atan2(a, 1)
r = t.mm(a, v, out=v); r = t.trace(v); r = t.einsum("ij,kl->ijkl", s, u); r = t.mm(s, b, out=b)
r = t.mm(s, u); r = t.mul(a, b); a.addmm_(s, a); s.addmm_(s, s); t.mm(s, u, out=p); v.copy_(a)
v.add_(a); r = v; r += a; r = n; r += v; r = big[:3]; r.copy_(big[1:]); r = big.view(-1)[1:]
r.add_(big.view(-1)[:-1]); r = v.expand(2, 3); r += 1; r = a.T.view(-1); r = a.T.reshape(6); r = a.view(4)
r = a.view(-1, -1); r = a.view(2, -3)
r = a.expand(3); r = v.expand(-1, 3); r = v.expand(2, -1); r = big.split(0); r = big.split(9)
r = big.split(4, 7); r = big.split_with_sizes([1, 2]); r = a.unsqueeze(9); r = a.unsqueeze(-1); r = a.sum(2)
r = a[0.0]; r = a[:1.0]; r = a[-1.0]; r = a.unsqueeze(0.0); r = a.sum(1.0); r = t.cat((a, b), 0.0)
r = a.reshape(3.0, 2); r = t.amax(a, 1.0); r = t.logsumexp(a, 1.0); r = a.new_ones((2.0, 2)); r = big.split(2.0)
r = t.linalg.matrix_power(s, 2.0); r = a.expand(2.0, 3); r = a.sum(dim=0.0); r = a.sum(dim=1.0)
r = t.eye(2.0, dtype=a.dtype, device=device)
r = a.sum((0, 1)); r = a.sum(1, 1); r = t.logdet(n); r = t.linalg.det(n); r = t.linalg.det(v); r = t.linalg.inv(a)
r = t.linalg.solve(s, v); r = t.linalg.matrix_power(a, 2); r = t.trace(big); r = t.linalg.inv(s - s)
r = t.linalg.det(s - s); r = t.logdet(s - s); r = t.logdet(-s[:1, :1]); r = t.eye(2)
r = t.eye(2, 3, dtype=a.dtype, device=device); r = t.cat((a, v), 0); r = t.cat((n, n), 0); r = t.cat((a, b))
r = t.cat((a, b), 2); r = t.nn.functional.pad(a, (1, 1)); r = t.nn.functional.pad(v, (1, 1, 0, 0))
r = t.nn.functional.pad(a, (-1, 0, 0, 0)); r = t.einsum("ij->ji", a); r = t.einsum("ik,kj->ij", a, b); r = t.clamp(a)
r = t.clamp(a, v, v); r = t.clamp(a, n); r = t.clamp(k, 0, 5, 6); r = t.clamp(0, 1, 2); r = t.square(2); r = t.exp(2)
r = t.where(a > 0); r = t.logsumexp(a, 5); r = t.logsumexp(n, 0); r = t.logsumexp(a); r = t.amax(a); r = a.new_tensor(a)
r = a.new_tensor([a, b]); r = a.new_tensor("1"); r = a.new_tensor([True]); r = a.new_ones(-1); r = a.new_ones(2.5)
r = a.new_ones([2, 3]); r = t.arange(3, device=device) + 1; r = t.arange(3, device=device) * a[0]
a[0].copy_(t.arange(3, device=device)); r = v.clone(); r = a.new_empty(2); r = a.new_empty(2) * 0
r = a.new_empty(2) - a.new_empty(2); r = a.new_empty(60).sum() - a.new_empty(2, 30).sum(); r = a.new_empty(2)**0
r = a / a; r = a / 0; r = 0 / a; r = 1 / a; r = a**-1; r = a ** (1 / 2); r = 0**a; r = a**a; r = (-1) ** p
r = t.log(a); r = t.sqrt(a); r = t.exp(t.log(a)); r = t.sqrt(a) ** 2; r = t.acos(k); r = t.acosh(k); r = t.asin(k)
r = t.atanh(k) if hasattr(t, "atanh") else 0; r = t.erfinv(k); r = t.lgamma(k); r = t.exp(t.log(t.exp(k)))
r = a.relu(); r = a.exp(); r = a.item(); r = a.tolist(); r = a.data; r = a.abs_(); r = a.to(t.float32); r = a.float()
r = a.numpy(); r = t.tensor(1); r = a.mean(); r = t.nn.functional.gelu(k, "tanh")
r = t.nn.functional.gelu(k, approximate="other"); r = t.nn.functional.linear(a, b); r = t.softmax(a, 1); r = t.sum(a)
r = a.max(); r = t.addmm(v, s, b, 1, 2, out=a); r = t.addmm(v, s, b); r = t.addcmul(n, a, b)
r = t.addcmul(n, a, b, 2, out=a); t.sub(a, b, alpha=2, out=a); t.sub(1, b, out=a); a.addmm_(s, b.clone(), 2)
a.addcmul_(2, b); a.add_(b, alpha=2); a.div_(b, rounding_mode="floor"); a.fill_(v); a.copy_(2); a.mul_("x")
a.sub_(None); a[0] = 1; r = {a: 1}[a]; r = a in [a]; r = a is a; r = not n; r = n and a; r = n or a; r = a < b < v
r = float(n); r = int(n); r = round(n); r = abs(a); r = divmod(a, 2); r = a // 2; r = a % 2; r = [*a]
r = list(zip(a, b)); r = max(v); r = sorted(v); r = len(n); r = f"{n}" == f"{a}"; r = a.shape == b.shape
r = a.shape[0] / 4 * a; r = a.__class__ is t; r = t.where(a=1); r = t.xlogy(p, -p); r = t.special.xlog1py(p, -3 - p)
"""


def rows(text: str) -> list[str]:
    """A row is a piece up to the next that begins anew with `r =`, or with what was given."""
    found: list[str] = []
    for piece in re.split(r"; |\n", text.strip()):
        begins = re.match(r"(r|x, y) = |(a|v|s|k|t)\b[.\[]", piece)
        follows = found and (
            piece.startswith(("r.", "r +", "r -", "r *", "r /")) or "out=r)" in piece or "r = x" in piece
        )
        if begins and not follows:
            found.append(piece)
        else:
            found[-1] += f"; {piece}"
    return found


def kernel_rows() -> list[str]:
    """Each form of call of the tables, and the same with what it says in another order or left out."""
    found = []
    for kernels in ([word.into for word in WORDS], [word.pullback for word in WORDS]):
        for kernel in filter(None, kernels):
            plain = kernel.code(Name("r"), g=Name("g"), z=Name("k"), a=Name("k")).text.replace("torch.", "t.")
            found.append(f"r = k.clone(); {plain}")
            tree = ast.parse(plain, mode="eval").body
            inner = tree if "copy_" not in plain else tree.args[0]
            numbers = [index for index, part in enumerate(inner.args) if not isinstance(part, ast.Name)]
            for index in numbers:
                changed = ast.parse(plain, mode="eval").body
                changed.args[index] = ast.Constant(7)
                found.append(f"r = k.clone(); {ast.unparse(changed)}")
            if numbers:
                changed = ast.parse(plain, mode="eval").body
                values = [changed.args[index] for index in reversed(numbers)]
                for index, value in zip(numbers, values, strict=True):
                    changed.args[index] = value
                found.append(f"r = k.clone(); {ast.unparse(changed)}")
    for path in (word.path for word in WORDS if word.path and word.function):
        found += [f"r = {path.replace('torch.', 't.')}({of})" for of in ("k", "n", "a.T", "k / 30")]
    names = (("max_val=-1", "min_val=1"), ("min_val=-1", "max_val=1"))
    found += [
        f"r = k.clone(); t.ops.aten.hardtanh_backward.grad_input(g, k, {', '.join(n)}, grad_input=r)" for n in names
    ]
    names = (("threshold=1", "beta=20"), ("beta=1", "threshold=20"))
    found += [
        f"r = k.clone(); t.ops.aten.softplus_backward.grad_input(g, k, {', '.join(n)}, grad_input=r)" for n in names
    ]
    return [*found, "r = k.clone(); t.clamp(k, max=-1, min=1, out=r)", "r = k.clone(); t.clamp_min(k, 1, out=r)"]


def run(text: str, layout: str, exactly: bool):
    """What a row leaves: its result and all that was given, or None where it is refused."""
    if exactly:
        module, device = torch_stand_in(), "cpu"

        def make(array):
            return Tensor(numpy.vectorize(sympy.Rational, otypes=[object])(array) if array.size else array)
    else:
        module, device = torch, torch.device("cpu")

        def make(array):
            return torch.tensor(array.astype(float))

    tree = ast.parse(text)
    tree = ast.fix_missing_locations(Exact().visit(tree)) if exactly else tree
    names = {name: LAYOUTS[layout](array, make) for name, array in VALUES.items()}
    names["g"] = make(numpy.array([Fraction(index, 4) - 1 for index in range(len(KINKS))], dtype=object))
    names["one"] = module.ones((), device="cpu")
    try:
        exec(compile(tree, text, "exec"), {"t": module, "device": device, "_exact": as_said}, names)
    except Exception:
        return None
    return names


def plain(value):
    """A tensor as its dtype and numbers; nan where the stand-in has no number."""
    if isinstance(value, list) or type(value) is tuple:
        return [plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype).removeprefix("torch."), value.to(torch.float64).numpy()
    if isinstance(value, Tensor):
        kind = float if value.dtype != BOOL else bool
        numbers = [kind(entry if value.dtype == BOOL else sympy.N(entry, 30)) for entry in value.entries.flat]
        return value.dtype, numpy.array(numbers, dtype=float).reshape(value.shape)
    return [*map(plain, value)] if isinstance(value, torch.Size) else ("plain", value)


def differs(mine, theirs) -> bool:
    """Where the stand-in has a number; nan is a number that it refuses to know."""
    if isinstance(mine, list):
        return not isinstance(theirs, list) or len(mine) != len(theirs) or any(map(differs, mine, theirs))
    if isinstance(theirs, list) or mine[0] != theirs[0]:
        return True
    if mine[0] == "plain":
        return mine[1] != theirs[1]
    if mine[1].shape != theirs[1].shape:
        return True
    known = ~numpy.isnan(mine[1])
    return not numpy.allclose(mine[1][known], theirs[1][known], rtol=1e-12, atol=1e-12)


def disagreement(text: str, layout: str) -> str:
    mine = run(text, layout, exactly=True)
    if mine is None:
        return ""
    theirs = run(text, layout, exactly=False)
    if theirs is None:
        return "torch refuses it"
    names = [name for name in mine if name in theirs and not name.startswith("_") and name != "t"]
    wrong = [name for name in names if differs(plain(mine[name]), plain(theirs[name]))]
    return ", ".join(f"{name}: {plain(mine[name])} is {plain(theirs[name])}" for name in wrong)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_stand_in_computes_torch_computes(layout):
    cases = [*rows(USED), *rows(OTHER), *(kernel_rows() if layout in ("dense", "strided") else ())]
    wrong = [f"{text}: {found}" for text in cases if (found := disagreement(text, layout))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", rows(USED))
def test_what_emitted_code_says_is_known(text):
    assert run(text, "dense", exactly=True) is not None


def test_each_row_of_words_is_known_to_the_proof():
    """A row that only one of them has is named here."""
    paths = {word.path for word in WORDS if "." in word.path}
    kernels = {kernel.path for word in WORDS for kernel in (word.into, word.pullback) if kernel}
    assert paths | kernels == TORCH_BY_PATH.keys() | MATRICES.keys()
    assert not [name for name in set().union(*ALLOWED_METHODS.values()) if not hasattr(Tensor, name)]


def test_each_word_that_a_printer_writes_has_a_row_and_each_row_a_word():
    backends = Path(stand_in.__file__).parent.parent / "backends"
    sources = "".join(path.read_text(encoding="utf-8") for path in backends.rglob("*.py"))
    written = set(re.findall(r"[\"{ ](torch(?:\.[a-z]\w*)+)[(\"]", sources)) - {"torch.ops.aten"}
    assert written - TORCH_BY_PATH.keys() - MATRICES.keys() == set()
    tree = ast.parse(Path(stand_in.__file__).read_text(encoding="utf-8"))
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    rows = {name for name, value in vars(stand_in).items() if getattr(value, "__module__", "") == stand_in.__name__}
    assert rows - read - {path.rpartition(".")[2] for path in TORCH_BY_PATH | MATRICES} == {"torch_stand_in"}


def test_each_function_and_method_has_a_row():
    text = " ".join([*rows(USED), *kernel_rows()])
    missing = [
        path
        for path in [*TORCH_BY_PATH, *MATRICES]
        if not re.search(rf"\bt{re.escape(path.removeprefix('torch'))}\(", text)
    ]
    assert not missing + [
        name for name in set().union(*ALLOWED_METHODS.values()) if not re.search(rf"\.{name}\(", text)
    ]


def test_what_is_lent_is_not_written_into():
    for given in (symbols("x", (2, 3)), read_only(MATRIX)):
        for write in (
            "given.zero_()",
            "given.T.mul_(2)",
            "given[0].copy_(given[1])",
            "given += 1",
            "given.detach().relu_()",
        ):
            with pytest.raises(RefusedByTorch, match="writes into what it was given"):
                exec(write, {"given": given})


@pytest.mark.parametrize("name", ["dtype", "shape"])
def test_numbers_of_a_tensor_are_pythons_own(name):
    value = getattr(symbols("x", (2, 3)), name)
    assert all(type(part) in (int, str) for part in (value if isinstance(value, tuple) else [value]))


@pytest.mark.parametrize("name", ["det", "inv", "slogdet"])
def test_of_whole_numbers_all_is_exact(name):
    found = MATRICES[f"torch.linalg.{name}"](Tensor([[sympy.Integer(3), sympy.Integer(1)], [sympy.Integer(1)] * 2]))
    for tensor in found if isinstance(found, tuple) else [found]:
        assert not any(entry.has(sympy.Float) for entry in tensor.entries.flat)
