"""Operations of torch as their author calls them, and the names that the author gives to what comes out."""

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from derive.backends import Attribute, Group, Infix, Literal, Minus, Source, call, dotted, method
from derive.backward.tape import Size, Tape, Value
from derive.modules import Ref, Refused, Step, row

INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "matmul": "@", "mm": "@", "bmm": "@", "mv": "@"},
    **{"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
    **{"__and__": "&", "__or__": "|", "bitwise_and": "&", "bitwise_or": "|", "logical_and": "&", "logical_or": "|"},
    "floor_divide": "//",
}
OF_FUNCTIONAL = {
    *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "one_hot"),
    *("pad", "relu6", "selu", "silu", "softplus", "softsign", "tanhshrink", "threshold"),
}
RENAMED = {
    "col2im": "nn.functional.fold",
    "im2col": "nn.functional.unfold",
    "log_sigmoid": "nn.functional.logsigmoid",
    "split_with_sizes": "split",
}
METHODS = {
    *("chunk", "cumsum", "flatten", "flip", "gather", "index_select", "masked_fill", "mean", "repeat"),
    *("repeat_interleave", "roll", "scatter_add", "select", "split", "split_with_sizes", "squeeze", "sum", "tril"),
    *("triu", "unbind", "unflatten", "unsqueeze"),
}
NAMED = {"addcdiv.value", "addcmul.value", "alpha", "approximate", "correction", "rounding_mode"}
MADE_OF_NOTHING = {"arange", "empty", "eye", "full", "ones", "scalar_tensor", "zeros"}  # of nothing that is there
UNSPELLED = {"copy", "max_pool2d_with_indices"}  # torch has no function of these names
LIKE = {"empty_like", "full_like", "ones_like", "zeros_like"}
KINDS = {"bool": "torch.bool", "int64": "torch.int64", "int32": "torch.int32"}
UNWRITTEN = {
    *("copy", "cudnn_enable", "device", "dtype", "half_to_float", "implicit", "layout", "memory_format"),
    *("non_blocking", "pin_memory"),
}


def base_name(step: Step) -> str:
    """The name of an operation without its overload."""
    return (row(step.operation) or step.operation.removeprefix("aten.")).partition(".")[0]


def is_made(step: Step) -> bool:
    """Whether it makes a tensor of numbers, which has at most the shape of another one."""
    name = base_name(step)
    return name in MADE_OF_NOTHING | LIKE or name.startswith("new_")


def literal(t: Tape, argument: Any) -> Source:
    """An argument as Python writes it."""
    if isinstance(argument, Value):
        return argument.source
    if isinstance(argument, tuple | list) and len(argument) == 1 and isinstance(argument[0], int):
        return Literal(str(argument[0]))
    if isinstance(argument, tuple | list):
        brackets = "[]" if isinstance(argument, list) else "()"
        return Group(tuple(literal(t, part) for part in argument), brackets)
    if isinstance(argument, Size):
        return t.size(argument)
    if isinstance(argument, float) and argument in (float("inf"), -float("inf")):
        return dotted("math.inf") if argument > 0 else Minus(dotted("math.inf"))
    return Literal(repr(argument).replace("'", '"'))


def spelled(t: Tape) -> Source:
    """The operation of the step that is read, as its author may have called it."""
    step, arguments = t.current
    name = base_name(step)
    if name in UNSPELLED:
        raise Refused("torch has no function by which it could be written")
    if is_made(step):
        return made_tensor(t, name, step, arguments)
    positional: list[Source] = []
    named: dict[str, Source] = {}
    gap = False
    for key, argument in arguments.items():
        if key not in step.passed and not isinstance(argument, Value):
            gap = gap or key not in UNWRITTEN
        elif key not in UNWRITTEN:
            if gap or named or isinstance(argument, bool) or {key, f"{name}.{key}"} & NAMED:
                named[key] = literal(t, argument)
            else:
                positional.append(literal(t, argument))
    if "dtype" in step.passed and not any(isinstance(one, Value) and one.kind == "float" for one in arguments.values()):
        named["dtype"] = dtype_of_step(t)
    if name in INFIX and len(positional) == 2 and not named:
        return Infix(INFIX[name], *positional)
    if name == "rsub" and len(positional) == 2 and not named:
        return Infix("-", positional[1], positional[0])
    if name == "neg":
        return Minus(positional[0])
    called = RENAMED.get(name, name.replace("linalg_", "linalg."))
    if name in METHODS:
        of, *rest = positional
        return method(of, called, *rest, **named)
    return call(f"torch.nn.functional.{name}" if name in OF_FUNCTIONAL else f"torch.{called}", *positional, **named)


def dtype_of_step(t: Tape) -> Source:
    kind = t.current[0].kind
    return dotted(KINDS[kind]) if kind in KINDS else Attribute(t.first.source, "dtype")


def made_tensor(t: Tape, name: str, step: Step, arguments: Mapping[str, Any]) -> Source:
    """What is made of no tensor, with the dtype that it has."""
    dtype = dtype_of_step(t)
    values = [literal(t, value) for key, value in arguments.items() if key in step.passed and key not in UNWRITTEN]
    if name.startswith("new_"):
        return method(values[0], name, *values[1:], dtype=dtype)
    device = {} if name.endswith("_like") else {"device": Attribute(t.first.source, "device")}
    return call(f"torch.{name}", *values, dtype=dtype, **device)


@cache
def statements(file: str) -> tuple[ast.stmt, ...]:
    """The statements in the functions of a file, the innermost first; none where it cannot be read."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = (node for function in functions for part in function.body for node in ast.walk(part))
    found = [node for node in inside if isinstance(node, ast.stmt)]
    return tuple(sorted(found, key=lambda node: (node.end_lineno or node.lineno) - node.lineno))


def statement(line: str) -> ast.stmt | None:
    file, _, number = line.rpartition(":")
    if not number.isdigit():
        return None
    here = int(number)
    return next((node for node in statements(file) if node.lineno <= here <= (node.end_lineno or here)), None)


def authors_text(line: str) -> str:
    """The statement in which an operation is called, on one line."""
    found = statement(line)
    return ast.unparse(found) if isinstance(found, ast.Assign | ast.Return | ast.AugAssign | ast.Expr) else ""


def assigned_names(node: ast.stmt | None) -> list[str]:
    """The variables that a statement gives values to."""
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        target: ast.expr = node.target
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    else:
        return []
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def authors_names(steps: Sequence[Step], layers: Mapping[str, str], outputs: Sequence[str]) -> dict[str, str]:
    """What the value of each step is to be called: the author's variable, else the layer, else the operation.

    An output without one is y. `layers` are those of weights and biases, by the names that steps call these.
    """
    found: dict[str, str] = {}
    for node, group in groupby(steps, key=lambda step: statement(step.line) if step.line else None):
        here = list(group)
        names = assigned_names(node)
        if names and len(here) % len(names) == 0:
            size = len(here) // len(names)
            found |= {here[(place + 1) * size - 1].name: name for place, name in enumerate(names)}
        for step in here:
            if step.name in outputs:
                found.setdefault(step.name, "y")
            if step.name not in found:
                found[step.name] = of_layer(step, layers) or base_name(step).strip("_")
    return found


def of_layer(step: Step, layers: Mapping[str, str]) -> str:
    """The layer whose weight the operation takes."""
    found = {layers[a.name] for a in step.arguments.values() if isinstance(a, Ref) and a.name in layers}
    return found.pop() if len(found) == 1 else ""
