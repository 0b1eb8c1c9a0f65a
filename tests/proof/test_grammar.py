"""What emitted source may not say: each line is refused where it stands, and before any of it has run."""

import re
from functools import cache

import pytest
from sympy import MatrixSymbol, Trace

from derive import derivation
from derive.packages import render
from derive.problems import Network
from derive.proof import NotProved
from derive.proof.grammar import NEVER_ASSIGNED, check_grammar

HERE = "delta3 = 2 / N * (z3 - y)"  # is replaced by each of
IN_A_FUNCTION = r"""
delta3 = (d := 2 * (z3 - y))
delta3 = 2 * (z3 - y) if x.shape[0] < 9 else 7 * (z3 - y)
delta3 = 2 * (z3 - y) if N < 9 else 7
delta3 = z3 and 2 * (z3 - y)
delta3 = not z3
delta3 = 2 * (z3 - y) + (x.shape[0] > 9)
delta3 = 2 * (z3 - y) + (y == y)
delta3 = torch.where(x.shape[0] > 9, z3, y)
delta3 = torch.where(x[0, 0] > 9, z3, y)
delta3 = torch.where(torch.Tensor, z3, y)
delta3 = torch.where(0 < z3 < 1, z3, y)
delta3 = torch.where(z3 is y, z3, y)
delta3 = torch.where(z3 in y, z3, y)
delta3 = (lambda t: 2 * t)(z3 - y)
delta3 = [2 * (z3 - y) for _ in (0,)][0]
delta3 = {0: 2 * (z3 - y)}[0]
delta3 = {2 * (z3 - y)}
delta3 = next(2 * t for t in (z3 - y,))
delta3 = (2 * (z3 - y),)[0]
delta3 = torch.square(*(z3 - y,))
delta3 = torch.clamp(z3 - y, **{"min": 0})
delta3 = z3.__sub__(y) * 2
delta3 = z3.__class__.__mul__(z3 - y, 2)
delta3 = z3.entries
delta3 = z3._view(y)
delta3 = z3.map(open)
delta3 = z3.sum.__self__
delta3 = torch.square.__globals__["sympy"]
delta3 = torch.Tensor(2)
delta3 = torch.Tensor.T.fget(z3)
delta3 = torch.nn
delta3 = torch.square
delta3 = torch.nn.functional.__dict__
delta3 = torch.save(z3, "canary")
delta3 = torch.load("canary")
delta3 = z3.numpy()
delta3 = torch.linalg.det(a1.T @ a1) * z3
delta3 = torch.cat((z3, y), 0)
delta3 = z3.reshape(1, -1)
delta3 = z3.detach().data
delta3 = z3.apply_(open)
delta3 = z3.register_hook(open)
delta3 = z3.shape
delta3 = z3.dtype
delta3 = z3.shape[0].subs(1, "open('canary', 'w')")
delta3 = z3.shape[0]._sympy_()
delta3 = z3.shape.__class__
delta3 = x.shape[0] * (z3 - y)
delta3 = 2 * (z3 - y) * x.shape[0] / x.shape[0]
delta3 = 2 * (z3 - y) + (x.shape[0] - 1) * (x.shape[0] - 2)
delta3 = 2 * (z3 - y)[:64]
delta3 = 2 * (z3 - y)[0]
delta3 = 2 * (z3 - y)[..., None]
delta3 = 2 * (z3 - y)[z3 > 0]
delta3 = (z3 - y) ** 9999
delta3 = (z3 - y) ** 9 ** 9
delta3 = (z3 - y) ** y
delta3 = (z3 - y) // 1
delta3 = (z3 - y) % 2
delta3 = (z3 - y) << 1
delta3 = ~(z3 - y)
delta3 = +(z3 - y)
delta3 = 2j * (z3 - y)
delta3 = True * (z3 - y)
delta3 = "2" * 10**9
delta3 = b"2"
delta3 = ...
delta3 = None
delta3 = f"{z3.entries}"
delta3 = f"{open('canary', 'w')}"
delta3 = "{0.entries}".format(z3)
delta3 = "%s" % z3
delta3 = str(z3)
delta3 = print
delta3 = abs(z3)
delta3 = sum([z3, y])
delta3 = max(z3, y)
delta3 = len(z3) * z3
delta3 = type(z3)(2)
delta3 = isinstance(z3, torch.Tensor)
delta3 = open("canary", "w")
delta3 = __import__("os").mkdir("canary")
delta3 = __builtins__
delta3 = _checked(parameters, x=x)[1]
delta3 = _exact
delta3 = exact("open('canary', 'w')")
delta3 = value_and_grad(parameters, x, y)[0]
delta3 = Parameters(*parameters).W1
delta3 = Parameters._make(parameters)
delta3 = Parameters.from_module(x)
delta3 = SHAPES["W1"]
delta3 = NETWORK
delta3 = parameters[x.shape[0]]
delta3 = z3; delta3 -= y
delta3: torch.Tensor = 2 * (z3 - y)
delta3: open("canary", "w") = 2 * (z3 - y)
delta3, *rest = z3
[delta3] = z3
z3[0] = y
z3.entries = y
z3.T = y
torch.square = torch.tanh
torch = x
math = x
Parameters = x
SHAPES["W1"] = 3
z3.mul_(0)
torch.mul(z3, 0, out=z3)
delta3 = torch.mul(z3, 0, out=z3)
delta3 = 2 * (z3 - y).clone().zero_()
delta3 = torch.ops.aten.gelu_backward.grad_input(z3, y, grad_input=z3)
z3
"text"
open("canary", "w")
global delta3
nonlocal delta3
del z3
assert z3
raise SystemExit(0)
return z3, parameters[open("canary", "w")]
return torch
return loss, Parameters(*parameters)
return [z3]
return
yield z3
delta3 = yield z3
delta3 = await z3
import os
from os import path
pass
break
def delta3(t=open("canary", "w")): pass
async def delta3(): pass
class delta3: t = open("canary", "w")
for delta3 in (z3,): pass
while z3: pass
if z3: delta3 = y
with z3 as delta3: pass
try: delta3 = z3\n    finally: pass
match z3:\n        case _: pass
"""
STEP = "mm(W3b3_T, a2_one, out=z3)"  # in the steps of fast.py
IN_A_STEP = r"""
mm(W3b3_T, a2_one, out=z3) if N == 0 else mm(W3b3_T, a2_one, out=z3)
mm(W3b3_T, a2_one, out=z3) if n == 1 else z3.zero_()
mm(W3b3_T[:1], a2_one, out=z3[:1])
mm(W3b3_T, a2_one, out=z3); self._chunk = 1
mm(W3b3_T, a2_one, out=z3); self._steps.clear()
mm(W3b3_T, a2_one, out=z3); step.seen = 1
mm(W3b3_T, a2_one, out=z3); z3 += 1
mm(W3b3_T, a2_one, out=z3); z3[0] = 1
mm(W3b3_T, a2_one, out=z3); self.flat_parameters.zero_()
mm(W3b3_T, a2_one, out=z3); self.parameters[0].zero_()
mm(W3b3_T, a2_one, out=z3).__class__
mm(W3b3_T, a2_one, out=z3).mul_(N)
mm(W3b3_T, a2_one, out=z3).mul_(N * N / N)
mm(W3b3_T, a2_one, out=z3).mul_(z3.numel())
mm(W3b3_T, a2_one, out=z3).mul_(len(z3))
mm(W3b3_T, a2_one, out=z3) and z3.zero_()
mm(*(W3b3_T, a2_one), out=z3)
mm(W3b3_T, a2_one, **{"out": z3})
(mm)(W3b3_T, a2_one, out=z3), z3.zero_()
mm = sub
mm = torch.sub
torch.mm = torch.sub
nonlocal z3
z3 = new_empty(1, N - 1)
z3 = new_ones(1, n * 2)
z3 = self
z3 = self._data
z3 = self.value_and_grad(x, y)
z3 = sigmoid_backward.__globals__
z3 = sigmoid_backward
z3 = [mm]
for z3 in (x, y): pass
if beta: mm(W3b3_T, a2_one, out=z3)
return z3, open("canary", "w")
"""


@cache
def emitted() -> dict[str, str]:
    return render(Network((2, 3, 2, 1), reduction="mean"), ("backward.py", "fast.py"))


def refused(file: str, pattern: str, text: str) -> None:
    model = emitted()[file]
    place = re.search(rf"^( +){re.escape(pattern)}", model, re.MULTILINE)
    edited = model[: place.end(1)] + text + model[place.end() :]
    line = model[: place.start()].count("\n") + 1
    with pytest.raises(NotProved, match=rf"^{file}:({line}|{line + 1}): "):
        check_grammar(edited, model, file)


@pytest.mark.parametrize("text", IN_A_FUNCTION.strip().split("\n"))
def test_what_is_no_straight_line_is_refused(text):
    refused("backward.py", HERE, text.replace(r"\n", "\n"))


@pytest.mark.parametrize("text", IN_A_STEP.strip().split("\n"))
def test_what_is_no_operation_on_buffers_is_refused(text):
    refused("fast.py", STEP, text)


@pytest.mark.parametrize("name", sorted(NEVER_ASSIGNED | {"self", "tensors", "value_and_grad", "_checked"}))
def test_an_input_may_have_any_name(name):
    of = MatrixSymbol(name, 3, 1)
    derived = derivation(Trace(of.T * of) ** 2, [of])
    assert derived.prove().exact
    assert derived.hvp(MatrixSymbol("v", 3, 1)).prove().exact
