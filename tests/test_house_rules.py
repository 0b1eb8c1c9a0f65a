"""What keeps the code a house: no mathematics in templates, no cycle, no torch in derive, no autograd in the result,
and tests that do not lean on each other."""

import ast
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import jinja2.nodes as nodes
import pytest
import torch
from jinja2 import meta

from derive.packages.emit import ON_DEMAND, TARGETS, subject_of, template_of
from derive.packages.templates import environment
from derive.paper.prose import texts
from derive.problems.network import Network
from generated import backward, run
from tests import house

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / "templates").glob("*.j2"))
PLACING = (nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Template)


def places(node: nodes.Node) -> bool:
    """Whether a node of a template places something, or loops over all of it."""
    if isinstance(node, nodes.For):
        return not (node.test or node.else_ or node.recursive)
    return isinstance(node, PLACING)


def outside_placing(source: str) -> list[str]:
    """The kinds of node in a template that do more than place and loop."""
    tree = environment().parse(source)
    return [type(node).__name__ for node in tree.find_all(nodes.Node) if not places(node)]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_mathematics(template):
    assert outside_placing(template.read_text(encoding="utf-8")) == []


SLIPS = ["{{ a * b }}", "{{ f(x) }}", "{% if a %}b{% endif %}", "{{ a|upper }}", "{{ 1 }}"]
LOOPS = ["{% for a in b if c %}d{% endfor %}", "{% for a in b %}c{% else %}d{% endfor %}"]


@pytest.mark.parametrize("slip", [*SLIPS, *LOOPS])
def test_mathematics_in_a_template_would_be_noticed(slip):
    assert outside_placing(slip)


@pytest.mark.parametrize("name", [*TARGETS, *ON_DEMAND])
def test_the_holes_of_a_template_are_what_it_is_given(name):
    template = (ROOT / "templates" / template_of(name)).read_text(encoding="utf-8")
    holes = jinja2_holes(template)
    assert holes == set((TARGETS | ON_DEMAND)[name](subject_of(Network())))


def jinja2_holes(template: str) -> set[str]:
    return meta.find_undeclared_variables(environment().parse(template))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_what_a_template_makes_says_by_which_it_was_made(template):
    said = re.findall(r"from templates/([\w.]+\w)", template.read_text(encoding="utf-8"))
    assert set(said) <= {template.name}


def test_each_template_belongs_to_a_target():
    of_expressions = {f"expression{part}.py.j2" for part in ("", "_function", "_given", "_layer", "_symmetric")} | {
        "checks.py.j2"
    }
    of_modules = {"checks.py.j2", "layer.py.j2", "layer_function.py.j2", "layer_reference.py.j2"}
    assert {path.name for path in TEMPLATES} == {
        template_of(name) for name in TARGETS | ON_DEMAND
    } | of_expressions | of_modules


def imports(path: Path) -> set[str]:
    """The modules that a file imports, and what it takes from them, which may be modules too."""
    found = house.imported(house.tree_of(path.read_text(encoding="utf-8")))
    return {module for _, module, _ in found} | {f"{module}.{name}" for _, module, name in found if name}


def test_rooms_import_from_below_and_by_their_doors():
    assert house.offences(ROOT / "derive") == []


PLANTED = {
    "import torch": "never imports torch",
    "importlib.import_module('torch')": "never imports torch",
    "import_module(name=f'torch.{name}')": "never imports torch",
    "__import__('torch.nn')": "never imports torch",
    "from generated import backward": "never imports generated",
    "from re import fullmatch": "a pattern reads text",
    "from derive.packages import render": "packages is not below calculus",
    "from derive.reading import Reader": "reading is not below calculus",
    "from derive.programs.notation import NETWORK": "is inside",
    "from derive.programs import notation": "is inside",
    "import derive.programs": "is inside",
    "from derive.build import main": "above all rooms",
    "from ..programs import Program": "relative",
}


@pytest.fixture
def derive_copy(tmp_path):
    return shutil.copytree(ROOT / "derive", tmp_path / "derive", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize("line", PLANTED)
def test_a_planted_import_is_named_with_its_place(derive_copy, line):
    path = derive_copy / "calculus" / "reverse.py"
    path.write_text(path.read_text(encoding="utf-8") + f"\n\ndef planted():\n    {line}\n", encoding="utf-8")
    place = f"derive/calculus/reverse.py:{len(path.read_text(encoding='utf-8').splitlines())}"
    found, *_ = house.offences(derive_copy)  # others may be that it makes a circle
    assert found.startswith(place) and PLANTED[line] in found


def test_torch_is_imported_where_modules_are_recorded_and_only_when_that_is_called(derive_copy):
    path = derive_copy / "modules" / "graph.py"
    path.write_text("import torch\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert house.offences(derive_copy) == ["derive/modules/graph.py:1: derive/ never imports torch"]


def test_a_planted_class_and_file_that_are_too_long_are_named_with_their_lines(derive_copy):
    (derive_copy / "calculus" / "long.py").write_text("class Long:\n" + "    x = 0\n" * 200, encoding="utf-8")
    (derive_copy / "reading" / "long.py").write_text("\n" * 400 + "x = 0", encoding="utf-8")
    (derive_copy / "reading" / "just.py").write_text("\n" * 400, encoding="utf-8")
    assert house.offences(derive_copy) == [
        "derive/calculus/long.py:1: 201 lines, of 200 at most",
        "derive/reading/long.py:1: 401 lines, of 400 at most",
    ]


TAKEN_APART = [
    "symbol.name.startswith('grad_')",
    "name.partition(' ')",
    "equation.target.name[1:]",
    "re.fullmatch('Z([0-9]+)', symbol.name)",
    "PATTERN.sub('', name)",
    "'grad' in symbol.name",
]


@pytest.mark.parametrize("line", TAKEN_APART)
def test_a_planted_line_that_takes_a_symbols_name_apart_is_named(derive_copy, line):
    for room in ("calculus", "backends/fast"):
        (derive_copy / room / "planted.py").write_text(f"def planted(symbol, name):\n    return {line}\n")
        (derive_copy / room / "assigned.py").write_text(
            "def assigned(symbol):\n    s = symbol.name\n    return s[1:]\n"
        )
    words = "takes a name apart; what a symbol is, its notation knows"
    places = [
        f"derive/{room}/{at}" for room in ("backends/fast", "calculus") for at in ("assigned.py:3", "planted.py:2")
    ]
    assert [f for f in house.offences(derive_copy) if words in f] == [f"{place}: {words}" for place in places]


def test_a_planted_name_that_stands_elsewhere_is_named_at_both_places(derive_copy):
    (derive_copy / "calculus" / "twin.py").write_text("GREEK, NEW = 1, 2\n\n\ndef softmax():\n    pass\n")
    found = house.offences(derive_copy)
    assert {line.partition(" in ")[0] for line in found if "twin.py:" in line} == {
        "derive/calculus/twin.py:1: GREEK is something else",
        "derive/calculus/twin.py:4: softmax is something else",
    }
    assert any(line.startswith("derive/programs/notation.py:") and "calculus/twin.py" in line for line in found)


def test_where_names_are_torch_s_only_these_stand_twice(derive_copy):
    for room in ("backward", "modules"):
        path = derive_copy / room / "layers.py"
        more = "\n\ndef celu():\n    pass\n\n\ndef twin():\n    pass\n"
        path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    found = house.of_two_meanings(house.parsed(derive_copy))
    assert [re.sub(":[0-9]+:", ":", line) for line in found] == [
        "derive/backward/layers.py: twin is something else in derive/modules/layers.py",
        "derive/modules/layers.py: twin is something else in derive/backward/layers.py",
    ]


def test_a_planted_cycle_a_slope_and_a_file_outside_all_rooms_are_noticed(derive_copy):
    path = derive_copy / "calculus" / "theorem.py"
    path.write_text("from derive.calculus.reverse import derive\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    (derive_copy / "calculus" / "typed.py").write_text(
        "def slope(g, a1):\n    return g * (1 - a1) * a1\n", encoding="utf-8"
    )
    found = house.offences(derive_copy)
    assert "derive/calculus/theorem.py:1: imports in a circle derive.calculus.reverse" in found
    assert any(
        re.match(r"derive/calculus/reverse.py:\d+: imports in a circle derive.calculus.theorem$", line)
        for line in found
    )
    assert "derive/calculus/typed.py:2: a slope typed by hand: g * (1 - a1) * a1" in found
    (derive_copy / "attic").mkdir()
    (derive_copy / "attic" / "box.py").write_text("", encoding="utf-8")
    assert "derive/attic/box.py:1: lies in no room of tests/house.py" in house.offences(derive_copy)


def test_a_build_runs_without_torch(tmp_path):
    block = "import sys; sys.modules['torch'] = None; from derive.build import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", block, "--out", str(tmp_path / "package")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def lowest(requirements: Iterable[str]) -> dict[str, str]:
    """The first version that each requirement names; 2 is 2.0.0."""
    pairs = (re.split("[>=<,]+", requirement.lower())[:2] for requirement in requirements)
    return {name: re.sub(r"(\.0)+$", "", version) for name, version in pairs if name != "torch"}


def test_the_lowest_versions_that_are_tested_are_the_lowest_allowed():
    """All but torch, whose older releases for Linux are CUDA builds: the one at hand is tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    tested = (ROOT / "tests" / "tools" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    assert lowest(tested) == lowest(allowed)


def test_printers_know_the_program_and_not_the_sweep():
    paper = (ROOT / "derive" / "paper" / f"{name}.py" for name in ("latex", "indices"))
    for path in [*(ROOT / "derive" / "backends" / "torch").rglob("*.py"), *paper]:
        assert not imports(path) & {"derive.calculus", "derive.reading"}, path.name


@pytest.mark.parametrize("file", ["backward.py"])
def test_the_emitted_gradient_imports_torch_and_the_standard_library_only(file):
    allowed = {"torch", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in imports(ROOT / "generated" / file)} <= allowed


def test_the_emitted_gradient_names_no_autograd():
    """But where it looks whether autograd follows a tensor, to refuse it."""
    module = ast.parse((ROOT / "generated" / "backward.py").read_text(encoding="utf-8"))
    module.body = [node for node in module.body if getattr(node, "name", "") != "_differentiated"]
    assert not words(ast.unparse(module)) & AUTOGRAD
    assert words((ROOT / "generated" / "reference.py").read_text(encoding="utf-8")) & AUTOGRAD


AUTOGRAD = {"autograd", "grad", "requires_grad", "requires_grad_", "func", "backward", "no_grad", "vjp"}


def words(source: str) -> set[str]:
    """The names and attributes of a source."""
    nodes = list(ast.walk(ast.parse(source)))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute)} | {n.id for n in nodes if isinstance(n, ast.Name)}


def test_the_emitted_gradient_runs_with_autograd_made_to_raise(monkeypatch):
    parameters, x, y = run.sample(1, 3, torch.float64)
    expected = backward.value_and_grad(parameters, x, y)

    def forbidden(*args, **kwargs):
        raise AssertionError("autograd was used")

    for owner, name in [
        (torch.autograd, "grad"),
        (torch.autograd, "backward"),
        (torch.Tensor, "backward"),
        (torch.func, "grad"),
        (torch.func, "vjp"),
        (torch.autograd.Function, "apply"),
    ]:
        monkeypatch.setattr(owner, name, forbidden)
    tracked = [parameter.clone().requires_grad_() for parameter in parameters]
    loss, gradients = backward.value_and_grad(tracked, x, y)
    assert loss == expected[0] and loss.grad_fn is None
    assert all(torch.equal(g, r) and g.grad_fn is None for g, r in zip(gradients, expected[1], strict=True))


def test_a_plain_run_leaves_the_reference_alone(tmp_path):
    code = (
        "import sys; from generated.run import main; "
        "sys.exit(main(sys.argv[1:]) or 'generated.reference' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, "--out", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "typed",
    [
        "g * act * (1 - act)",
        "(1 - self.out) * g * self.out",
        "g * (1.0 - h[1]) * 3 * h[1]",
        "1 - value**2",
        "1 - value * value",
        "g * (h - h * h)",
        "g - g * h**2",
        "g * -(h - 1) * h",
        "(1 + h) * g * (1 - h)",
        "g * left * act",
    ],
)
def test_a_slope_typed_with_any_names_would_be_noticed(tmp_path, typed):
    (tmp_path / "derive").mkdir()
    lines = (
        "def of(g, act):",
        "left = 1 - act",
        f"x = {typed}",
        "y = 1 - value, value * (1 - other), (1 - 2 * value) * value",
    )
    (tmp_path / "derive" / "typed.py").write_text("\n    ".join(lines))
    wanted = f"derive/typed.py:3: a slope typed by hand: {ast.unparse(ast.parse(typed))}"
    assert house.typed_slopes(tmp_path / "derive")[:1] == [wanted]


def test_no_derivative_is_typed_by_hand():
    """`make lint` says it of templates and derive; what is emitted has slopes."""
    assert len(set(house.SLOPES.findall((ROOT / "generated" / "backward.py").read_text(encoding="utf-8")))) == 2


def test_every_room_is_installed():
    """setuptools is told of each, as the folder of the templates lies elsewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    doors = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "derive").rglob("__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == doors | {"derive.templates"}


def test_each_sentence_of_the_pages_has_its_place_and_each_hole_its_name():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "derive").rglob("*.py"))
    for section, of in texts().items():
        for name, text in of.items():
            by_name = rf'prose\(f"{section}\.{{(?s:.*)\b{name}\b|\b{name}\b(?s:.*)prose\(f"{section}\.{{'
            assert f'"{section}.{name}"' in source or re.search(by_name, source), f"{section}.{name}"
            for hole in re.findall(r"<(\w+)>", text):
                assert f"{hole}=" in source, f"{section}.{name}: {hole}"


def leaning(tests: Path) -> list[str]:
    """What in the test files of a folder depends on another of them, or has the name of a fixture that all have.

    Helpers of several tests lie in tests/helpers. A parameter hides a fixture of its name, which then does not run.
    """
    files = [path for name in ("test_*.py", "conftest.py") for path in sorted(tests.rglob(name))]
    trees = {path: house.tree_of(path.read_text(encoding="utf-8")) for path in files}
    functions = [(path, n) for path, tree in trees.items() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    everywhere = {f.name for _, f in functions if any("autouse=True" in ast.unparse(d) for d in f.decorator_list)}
    found = []
    for path in trees:
        wrong = {name for name in imports(path) if re.match(r"(tests\..*)?\b(test_|conftest)", name)}
        lost = {name for name in imports(path) if re.match(r"tests\.(?!helpers|house|tools)", name)} - wrong
        near = {name for name in imports(path) if name.startswith(".")}
        found += [f"{path.name}: imports {name}, a test" for name in sorted(wrong)]
        found += [f"{path.name}: imports {name}, relative to the file" for name in sorted(near)]
        found += [f"{path.name}: imports {name}, which is not in tests/helpers" for name in sorted(lost)]
    for path, function in functions:
        given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        found += [f"{path.name}: {function.name}({a.arg}) hides a fixture" for a in given if a.arg in everywhere]
    return found


def hidden_in_comprehensions(tree: ast.Module) -> list[int]:
    """The lines that use something of the top of the module, where a comprehension of the function has a variable of
    its name: Python 3.12 takes that for a local variable without a value.
    """
    at_the_top = {name for name, _ in house.defined(tree)} | {
        alias.asname or alias.name for node in tree.body for alias in getattr(node, "names", ())
    }
    lines = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        own: set[ast.AST] = set()  # uses of variables of comprehensions
        inlined: set[str] = set()  # names of those that 3.12 inlines
        for loop in (node for node in ast.walk(function) if hasattr(node, "generators")):
            targets = [node for part in loop.generators for node in ast.walk(part.target)]
            names = {node.id for node in targets if isinstance(node, ast.Name)}
            own |= {node for node in ast.walk(loop) if isinstance(node, ast.Name) and node.id in names}
            inlined |= set() if isinstance(loop, ast.GeneratorExp) else names
        if inlined.isdisjoint(at_the_top):
            continue
        beside = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node not in own]
        local = {node.id for node in beside if isinstance(node.ctx, ast.Store)}
        local |= {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
        lines |= {node.lineno for node in beside if node.id in at_the_top & inlined - local}
    return sorted(lines)


SOURCES = [path for folder in ("derive", "generated", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_comprehension_hides_what_stands_at_the_top_of_its_module():
    found = {path: hidden_in_comprehensions(house.tree_of(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_what_a_comprehension_hides_would_be_noticed():
    one = "def part(a):\n    [part for part in a]\n    return part"
    other = "def whole(a):\n    return b({b for a in [] for b, c in a})"
    assert hidden_in_comprehensions(ast.parse(f"from x import b\n{one}\n{other}")) == [4, 6]


def test_no_test_leans_on_another_or_hides_a_fixture_that_all_have():
    assert leaning(ROOT / "tests") == []


def test_tests_lie_in_the_rooms_that_they_are_about():
    """Beside those of the house itself; generated/ is a room, too, and operations are tested where they are written."""
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    rooms = {room.partition(".")[0] for room in house.FLOOR}
    assert folders - {"."} == rooms - {"operations"} | {"generated"}


def test_what_leans_would_be_noticed(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    lines = ["from tests.test_dat import BAD", "from tests import test_dat", "import test_dat", "import tests.gate"]
    lines += ["from ..room.test_dat import BAD", "import_module('tests.room.test_dat')", ""]
    (tmp_path / "test_a.py").write_text("\n".join([*lines, "def test_b(alike): ..."]), encoding="utf-8")
    assert leaning(tmp_path) == [
        "test_a.py: imports test_dat, a test",
        "test_a.py: imports tests.room.test_dat, a test",
        "test_a.py: imports tests.test_dat, a test",
        "test_a.py: imports tests.test_dat.BAD, a test",
        "test_a.py: imports ..room.test_dat, relative to the file",
        "test_a.py: imports ..room.test_dat.BAD, relative to the file",
        "test_a.py: imports tests.gate, which is not in tests/helpers",
        "test_a.py: test_b(alike) hides a fixture",
    ]


def test_survivors_are_explained_of_lines_that_are_there():
    table = tomllib.loads((ROOT / "tests" / "tools" / "survivors.toml").read_text(encoding="utf-8"))
    for path, rows in table.items():
        words = (ROOT / path).read_text(encoding="utf-8").split()
        lines = [change.partition(" => ")[0] for row in rows for change in row["changes"]]
        gone = [line for line in lines if " ".join(line.split()) not in " ".join(words)]
        assert not gone, f"{path}: {gone}"
