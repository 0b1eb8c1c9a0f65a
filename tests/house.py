"""python -m tests.house: which room of derive/ may import what, how large a file may be, and each line against it.

A room imports from rooms below it, by their doors: what the `__all__` of a room's `__init__` offers. The commands,
which lie on derive/ itself, are above all rooms. What stands at the top of a module has a name of its own in the tree.
"""

import ast
import operator
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import sympy
import torch

ROOT = Path(__file__).parent.parent
ROOMS = (  # from top to bottom; those of one line do not know each other
    ("backward",),
    ("exercises", "modules"),
    ("proof",),
    ("packages",),
    ("paper.formats",),
    ("backends.c", "backends.fast", "diagnosis", "paper"),
    ("backends.torch",),
    ("backends",),
    ("calculus", "reading"),
    ("operations", "problems"),
    ("programs",),
    ("formulas",),
    ("system",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
FORBIDDEN = {"torch", "generated", "tests"}
RECORDERS = {"derive/modules/graph.py"}  # which import torch, to record modules with it, and only when they are called
IMPORTERS = {"import_module", "__import__"}
ASKING = {"backends", "calculus", "formulas", "operations", "packages"}  # rooms that read no text by patterns
GIVING_NAMES = (torch, torch.nn.functional, torch.special, torch.ops.aten, sympy)
LONGEST_FILE, LONGEST_CLASS = 400, 200  # lines
OF_SYMBOLS = {
    "programs",
    "calculus",
    "reading",
    "operations",
    "problems",
    "backends",
    "paper",
    "diagnosis",
    "exercises",
}
APART = {
    "startswith",
    "endswith",
    "split",
    "rsplit",
    "partition",
    "rpartition",
    "removeprefix",
    "removesuffix",
    "strip",
}
APART |= {"lstrip", "rstrip", "isdigit", "isalpha", "isidentifier", "isupper", "find", "index", "count"}
BY_PATTERN = {"match", "fullmatch", "search", "findall", "finditer", "split", "sub"}
NAMES = frozenset({"name"})
AS_TYPED = {  # the functions that read the name that a person gave
    "derive/paper/latex.py": {"_print_Symbol"},
    "derive/problems/names.py": {"canonical"},
    "derive/problems/package.py": {"__init__"},
    "derive/programs/notation.py": {"parted"},
    "derive/reading/names.py": {"name"},
}
OF_TORCH = {  # where functions may have the names that torch or SymPy gives them, and are then these functions
    "derive/matrix.py",
    *(f"derive/formulas/{name}.py" for name in ("losses", "stable")),
    *(f"derive/modules/{name}.py" for name in ("entrywise", "layers", "layout", "losses", "sums", "windows")),
    *(f"derive/backward/{name}.py" for name in ("layers", "losses", "maps", "places", "products")),
    "derive/proof/stand_in.py",
}


def room_of(module: str) -> str:
    """The room that a module of derive lies in: `paper.formats` of derive.paper.formats.pages; empty for a command."""
    parts = module.split(".")[1:]
    return next((room for n in (2, 1) if (room := ".".join(parts[:n])) in FLOOR), "")


@cache
def tree_of(text: str) -> ast.Module:
    return ast.parse(text)


def parsed(derive: Path) -> dict[str, ast.Module]:
    """Each file below a folder `derive`, by its place, `derive/build.py`."""
    paths = sorted(derive.rglob("*.py"))
    return {path.relative_to(derive.parent).as_posix(): tree_of(path.read_text(encoding="utf-8")) for path in paths}


def offered(door: ast.Module) -> set[str]:
    """The names in the `__all__` of a room's `__init__`."""
    for node in door.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@cache
def imported(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Line, module and name of each import; the name is empty where the whole module is imported.

    A call that imports counts, too, where it says how the module's name begins.
    """
    found: list[tuple[int, str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found += ((node.lineno, "." * node.level + (node.module or ""), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS:
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "name")][:1]
            parts = [
                part for value in given for part in (value.values if isinstance(value, ast.JoinedStr) else [value])
            ]
            if parts and isinstance(parts[0], ast.Constant):
                found.append((node.lineno, str(parts[0].value), ""))
    return found


def called_imports(tree: ast.Module) -> set[int]:
    """The lines of imports that are run when a function is called, or only read by a type checker."""
    late: set[int] = set()
    for node in ast.walk(tree):
        checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if checked or isinstance(node, ast.FunctionDef):
            late |= {part.lineno for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom)}
    return late


def defined(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The functions, classes and constants at the top of a module, with their lines."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            yield from ((name.id, name.lineno) for name in names if isinstance(name.ctx, ast.Store))


def of_two_meanings(trees: dict[str, ast.Module]) -> list[str]:
    """The names that stand at the top of two modules, with the lines of both."""
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for file, tree in trees.items():
        for name, line in dict(defined(tree)).items():
            if name != "main" and not name.startswith("__"):
                places[name].append((file, line))
    several = {name: found for name, found in places.items() if len(found) > 1}
    return [
        f"{file}:{line}: {name} is something else in {', '.join(other for other, _ in found if other != file)}"
        for name, found in several.items()
        if not (OF_TORCH.issuperset(file for file, _ in found) and any(hasattr(of, name) for of in GIVING_NAMES))
        for file, line in found
    ]


def names_taken_apart(tree: ast.AST, typed: set[str] = frozenset(), known: set[str] = NAMES) -> Iterator[int]:
    """The lines that read what a symbol is out of its name: what it is, a table knows (derive/programs/notation.py).

    A name is written `name`, symbol.name, or as what a function assigns one of these to.
    """

    def is_a_name(node: ast.AST) -> bool:
        variable = isinstance(node, ast.Name) and node.id in known
        return variable or (isinstance(node, ast.Attribute) and node.attr == "name")

    if isinstance(tree, ast.FunctionDef):
        assigned = [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and is_a_name(n.value)]
        known = known | {ast.unparse(target) for node in assigned for target in node.targets}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in typed:
            continue
        yield from names_taken_apart(node, typed, known)
        if isinstance(node, ast.Subscript) and is_a_name(node.value):
            yield node.lineno
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            if isinstance(node.left, ast.Constant) and is_a_name(node.comparators[0]):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_name = node.func.attr in APART and is_a_name(node.func.value)
            if of_name or (node.func.attr in BY_PATTERN and any(map(is_a_name, node.args))):
                yield node.lineno


@cache
def lines_that_take_apart(tree: ast.Module, typed: frozenset[str]) -> list[int]:
    return list(names_taken_apart(tree, typed))


@cache
def class_lengths(tree: ast.Module) -> list[tuple[int, int, int]]:
    """Where each class begins, how many lines it may have, and how many it has."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return [(node.lineno, LONGEST_CLASS, (node.end_lineno or 0) - node.lineno + 1) for node in classes]


def modules(trees: dict[str, ast.Module]) -> dict[str, str]:
    """The modules of a tree and the files that they are."""
    return {".".join(place.removesuffix(".py").split("/")): place for place in trees if "__init__" not in place}


def in_a_cycle(trees: dict[str, ast.Module]) -> list[str]:
    """The lines by which modules import each other, and those between them; a door stands for what lies behind it."""
    paths = modules(trees)
    lines: dict[str, dict[str, int]] = {}
    for own, place in paths.items():
        needs = {m: line for line, module, name in imported(trees[place]) for m in (module, f"{module}.{name}")}
        doors = needs.keys() - {own.rpartition(".")[0], "derive"}
        lines[own] = {other: needs[other] for other in paths if other in needs}
        lines[own] |= {other: needs[door] for other in paths if (door := other.rpartition(".")[0]) in doors}
    graph = {own: {*needs} for own, needs in lines.items()}
    while ends := {own for own, needs in graph.items() if not needs} | (graph.keys() - set().union(*graph.values())):
        graph = {own: needs - ends for own, needs in graph.items() if own not in ends}
    return [
        f"{paths[own]}:{min(lines[own][other] for other in needs)}: imports in a circle {', '.join(sorted(needs))}"
        for own, needs in graph.items()
    ]


SLOPES = re.compile(r"(?:1|one) *- *(a|s|t|sigmoid|tanh)[0-9]*\b|2 *\* *\((p|z[0-9]) *- *y\)")
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
ONES = {"1", "1.0", "one"}
NO_SLOPES = {"atoms.py": "1 - c ** 2"}  # the square of the sine, by that of the cosine


def as_formula(node: ast.AST, known: dict[str, ast.AST]) -> sympy.Expr:
    """What is written, with a symbol for each part that is no sum, product or whole power, and no name of such."""
    if isinstance(node, ast.Name) and node.id in known:
        rest = {name: value for name, value in known.items() if name != node.id}
        return as_formula(known[node.id], rest)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](as_formula(node.left, known), as_formula(node.right, known))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and ast.unparse(node.right) in "23":
        return as_formula(node.left, known) ** int(ast.unparse(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -as_formula(node.operand, known)
    text = ast.unparse(node)
    return sympy.Integer(1) if text in ONES else sympy.Integer(text) if text.isdigit() else sympy.Symbol(text)


def is_typed_slope(node: ast.AST, known: dict[str, ast.AST]) -> bool:
    """Whether it has the factors x and 1 - x, or 1 + x and 1 - x, whatever stands between and however it is written."""
    formula = as_formula(node, known)
    number, powers = sympy.factor_list(formula) if formula.free_symbols else (1, [])
    factors = {factor for factor, _ in powers}
    return number < 0 and any({x - 1, part} <= factors for x in formula.free_symbols for part in (x, x + 1))


@cache
def slopes_in(tree: ast.Module) -> list[tuple[int, str]]:
    """Where slopes are typed, also over several lines of a function, by names that have one meaning there."""
    found = {}
    for scope in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))):
        nodes = [*ast.walk(scope)]
        bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        lines = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
        values = {line.targets[0].id: line.value for line in lines if isinstance(line.value, ast.BinOp | ast.UnaryOp)}
        known = {name: value for name, value in values.items() if scope is not tree and bound[name] == 1}
        for node in (node for node in nodes if isinstance(node, ast.BinOp)):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            text = ast.unparse(node) if scope is tree or names & known.keys() else ""
            if text and (SLOPES.search(text) or is_typed_slope(node, known)):
                found[node.lineno, node.col_offset, text] = node.lineno, text
    return [*found.values()]


def typed_slopes(derive: Path) -> list[str]:
    """Where a slope that SymPy finds stands in a template or in derive."""
    slopes = [
        (f"{path.parent.name}/{path.name}", text.count("\n", 0, match.start()) + 1, match[0])
        for path in sorted((derive.parent / "templates").glob("*.j2"))
        for text in [path.read_text(encoding="utf-8")]
        for match in SLOPES.finditer(text)
    ]
    of_derive = ((place, *slope) for place, tree in parsed(derive).items() for slope in slopes_in(tree))
    return [
        f"{place}:{line}: a slope typed by hand: {text}"
        for place, line, text in chain(slopes, of_derive)
        if text != NO_SLOPES.get(place.rpartition("/")[2])
    ]


def offences(derive: Path) -> list[str]:
    """The lines below a folder `derive` that import what they may not, are too many, name two things or read names.

    Each is said as `file:line: why`.
    """
    found, trees = [], parsed(derive)
    for place, tree in trees.items():
        parts = place.removesuffix(".py").split("/")
        own = room_of(".".join(parts))
        if not own and len(parts) > 2 and parts[-1] != "__init__":
            found.append(f"{place}:1: lies in no room of tests/house.py")
        recorder = place in RECORDERS
        late = called_imports(tree) if recorder else set()
        for line, module, name in imported(tree):
            if line in late and module.partition(".")[0] == "torch":
                continue
            reason = offence(trees, own, module, name)
            if reason:
                found.append(f"{place}:{line}: {reason}")
        if own.partition(".")[0] in OF_SYMBOLS and own != "paper.formats":
            lines = lines_that_take_apart(tree, frozenset(AS_TYPED.get(place, ())))
            found += [f"{place}:{line}: takes a name apart; what a symbol is, its notation knows" for line in lines]
        length = len((derive.parent / place).read_text(encoding="utf-8").splitlines())
        lengths = [(1, LONGEST_FILE, length), *class_lengths(tree)]
        found += [f"{place}:{line}: {n} lines, of {most} at most" for line, most, n in lengths if n > most]
    return found + of_two_meanings(trees) + in_a_cycle(trees) + typed_slopes(derive)


def offence(trees: dict[str, ast.Module], own: str, module: str, name: str) -> str:
    """What is wrong with an import in the room `own`; empty if nothing is."""
    root = module.partition(".")[0]
    if module.startswith("."):
        return "an import relative to the file; write it from derive on"
    if root in FORBIDDEN:
        return f"derive/ never imports {root}"
    if root == "re" and own.partition(".")[0] in ASKING:
        return "a pattern reads text; what is printed is known before it is printed"
    if root != "derive":
        return ""
    other = room_of(module)
    if not other:
        return f"{own} is a room, and {module} is above all rooms" if own else ""
    if other == own:
        return ""
    if own and FLOOR[other] <= FLOOR[own]:
        return f"{other} is not below {own}"
    door = f"derive.{other}"
    if module != door or name not in offered(trees[f"{door.replace('.', '/')}/__init__.py"]):
        return f"{module}{f'.{name}' if name else ''} is inside; {door} offers what it offers by its __all__"
    return ""


def main() -> int:
    found = offences(ROOT / "derive")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
