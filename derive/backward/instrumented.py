"""The functions of a text, which also tell what they have computed."""

import ast
from collections import Counter
from collections.abc import Callable
from typing import Any

from derive.modules import Refused

RECORD = "__record__"
BACK, NEEDED = ("backward", "backward_per_sample"), ("forward", "backward")
LAYER_FUNCTIONS = ("forward", *BACK, "jvp")
Named = dict[str, Any]


def instrumented(text: str, name: str, record: Callable[[str, Named], None]) -> Named:
    """The module that a text is, whose functions also tell what they have computed, by the names in them.

    Raises Refused where it is no Python, or not one function of each name that returns at its end.
    """
    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{name}: no Python: {error}") from error
    for function in LAYER_FUNCTIONS:
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        if not found and function not in NEEDED:
            continue
        if len(found) != 1 or not isinstance(found[0].body[-1], ast.Return):
            raise Refused(f"{name}: expected one function {function} that returns at its end")
        given = (part.targets for part in ast.walk(found[0]) if isinstance(part, ast.Assign))
        assigned = Counter(one.id for targets in given for one in targets if isinstance(one, ast.Name))
        if twice := [one for one, times in assigned.items() if times > 1]:
            raise Refused(
                f"{name}: {function} gives {twice[0]} a value twice; a name for each value tells what is wrong"
            )
        call = ast.parse(f"{RECORD}({function!r}, locals())").body[0]
        found[0].body.insert(-1, ast.copy_location(call, found[0].body[-1]))
    namespace: Named = {"__name__": "layer", RECORD: lambda function, local: record(function, dict(local))}
    exec(compile(ast.fix_missing_locations(tree), name, "exec"), namespace)
    return namespace


def parameter_names(function: Any) -> tuple[str, ...]:
    code = function.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names
