"""What a SymPy matrix expression is worth in torch, node by node, for autograd to differentiate: no code of ours."""

import operator
from functools import reduce

import sympy as sp
import torch
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.programs import BlockSum, Elementwise, RowLogSumExp, RowSoftmax

FUNCTIONS = {"Abs": "abs", "asin": "asin", "acos": "acos", "atan": "atan", "ceiling": "ceil", "loggamma": "lgamma"}


def value(node, given):
    """The torch tensor of an expression; `given` maps symbols to tensors and sizes to numbers."""
    if node in given:
        return given[node]
    if isinstance(node, sp.MatrixBase):
        return torch.stack([torch.stack([whole(value(e, given)) for e in row]) for row in node.tolist()])
    if isinstance(node, ElementwiseApplyFunction):
        return applied(node.function, [value(node.expr, given)], given)
    if isinstance(node, Elementwise):
        return applied(node.args[0], [value(o, given) for o in node.operands.values()], given)
    if isinstance(node, MatrixElement):
        return value(node.parent, given)[number(node.i, given), number(node.j, given)]
    if isinstance(node, MatrixSlice):
        rows, columns = (slice(*(number(p, given) for p in side)) for side in (node.rowslice, node.colslice))
        return value(node.parent, given)[rows, columns]
    if isinstance(node, sp.BlockMatrix | sp.BlockDiagMatrix):
        rows, columns = node.blockshape
        return torch.cat(
            [torch.cat([value(node.blocks[i, j], given) for j in range(columns)], 1) for i in range(rows)], 0
        )
    if isinstance(node, sp.Sum):
        (index, low, high), *rest = node.limits
        inner = sp.Sum(node.function, *rest) if rest else node.function
        steps = range(number(low, given), number(high, given) + 1)
        return sum(value(inner.xreplace({index: sp.Integer(k)}), given) for k in steps)
    if isinstance(node, sp.Piecewise):
        result = torch.tensor(float("nan"), dtype=torch.float64)
        for branch, condition in reversed(node.args):
            chosen = torch.tensor(True) if condition is sp.true else value(condition, given)
            result = torch.where(chosen, whole(value(branch, given)), result)
        return result
    if isinstance(node, sp.OneMatrix | sp.ZeroMatrix | sp.Identity):
        make = {sp.OneMatrix: torch.ones, sp.ZeroMatrix: torch.zeros}.get(type(node))
        shape = [number(size, given) for size in node.shape]
        return make(*shape, dtype=torch.float64) if make else torch.eye(shape[0], dtype=torch.float64)
    if not node.args:
        return float(node)
    if isinstance(node, BlockSum):
        return block_sum(value(node.matrix, given), value(node.factor, given), node.inner)
    parts = [value(argument, given) for argument in node.args]
    if isinstance(node, sp.MatPow | sp.HadamardPower | sp.Pow):
        base, exponent = parts
        if isinstance(node, sp.MatPow) and tuple(node.shape) != (1, 1):
            return torch.linalg.matrix_power(base, int(exponent))
        return whole(base) ** exponent
    return operation(node, parts)


def operation(node, parts):
    if isinstance(node, sp.MatMul | sp.Mul):
        result = parts[0]
        for part in parts[1:]:
            matrices = isinstance(node, sp.MatMul) and all(torch.is_tensor(p) and p.ndim == 2 for p in (result, part))
            result = result @ part if matrices else result * part
        return result
    simple = {
        sp.MatAdd: lambda *p: sum(p[1:], p[0]),
        sp.Add: lambda *p: sum(p[1:], p[0]),
        sp.HadamardProduct: lambda *p: torch.stack(p).prod(0),
        sp.Transpose: lambda a: a.T,
        sp.Inverse: lambda a, *_: torch.linalg.inv(a),
        sp.Trace: torch.trace,
        sp.Determinant: torch.linalg.det,
        sp.DiagMatrix: lambda a: torch.diag(a.flatten()),
        sp.DiagonalMatrix: lambda a: torch.diag(torch.diag(a)),
        sp.DiagonalOf: lambda a: torch.diag(a)[:, None],
        sp.DotProduct: lambda a, b: a.flatten() @ b.flatten(),
        RowLogSumExp: lambda a: torch.logsumexp(a, 1, keepdim=True),
        RowSoftmax: lambda a: torch.softmax(a, 1),
        sp.KroneckerProduct: lambda *p: kron(p),
        sp.Heaviside: lambda a, *_: torch.heaviside(whole(a), torch.tensor(0.5, dtype=torch.float64)),
        sp.polygamma: lambda _, a: torch.digamma(whole(a)),
        sp.Max: lambda *p: extremum(torch.maximum, p),
        sp.Min: lambda *p: extremum(torch.minimum, p),
        sp.StrictGreaterThan: lambda a, b: a > b,
        sp.GreaterThan: lambda a, b: a >= b,
        sp.StrictLessThan: lambda a, b: a < b,
        sp.LessThan: lambda a, b: a <= b,
        sp.Equality: lambda a, b: a == b,
        sp.Unequality: lambda a, b: a != b,
        sp.And: lambda *p: reduce(operator.and_, p),
        sp.Or: lambda *p: reduce(operator.or_, p),
        sp.Not: operator.invert,
    }
    for kind, function in simple.items():
        if isinstance(node, kind):
            return function(*parts)
    name = type(node).__name__
    if name == "logsigmoid":
        return torch.nn.functional.logsigmoid(whole(parts[0]))
    return getattr(torch, FUNCTIONS.get(name, name))(*map(whole, parts))


def kron(parts):
    result = parts[0]
    for part in parts[1:]:
        result = torch.kron(result.contiguous(), part.contiguous())
    return result


def extremum(function, parts):
    result = whole(parts[0])
    for part in parts[1:]:
        result = function(*torch.broadcast_tensors(result, whole(part)))
    return result


def applied(function, operands, given):
    """A function of entries, on whole tensors."""
    variables = [sp.Symbol(f"entry{k}", real=True) for k in range(len(operands))]
    return value(function(*variables), {**given, **dict(zip(variables, operands, strict=True))})


def whole(part):
    return part if torch.is_tensor(part) else torch.tensor(float(part), dtype=torch.float64)


def number(size, given):
    return int(sp.sympify(size).xreplace({s: sp.Integer(v) for s, v in given.items() if isinstance(v, int)}))


def block_sum(matrix, factor, inner):
    (m, n), (p, q) = factor.shape, (matrix.shape[0] // factor.shape[0], matrix.shape[1] // factor.shape[1])
    result = torch.zeros(p, q, dtype=matrix.dtype)
    for i in range(p):
        for j in range(q):
            block = matrix[i::p, j::q] if inner else matrix[i * m : (i + 1) * m, j * n : (j + 1) * n]
            result[i, j] = (block * factor).sum()
    return result
