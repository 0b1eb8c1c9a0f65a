"""Which template makes which file, and what goes into its holes."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound, TemplateSyntaxError
from sympy import Integer, Inverse, MatrixSymbol, Symbol

from derive.backends import WIDTH, Source, call
from derive.backends.fast import Block, schedule
from derive.backends.torch import ONE, Line, TorchPrinter, lines, spell, summands
from derive.calculus import Computed, derive, hvp, input_grad, jvp, of_parameters_alone
from derive.operations import Affine
from derive.packages.native import FASTER, faster_from, native_holes
from derive.paper import Picture, Section, glossary, network_document, network_title
from derive.paper.formats import HtmlPage, MarkdownPage, Page, TexPage, svg
from derive.problems import Network, no_least_value, targets
from derive.programs import Derivation, LogDet, Program, SignDet, all_in_parts, needed, readable
from derive.reading import forward

DERIVE = Path(__file__).parent.parent
TEMPLATES = DERIVE / "templates"
if not TEMPLATES.is_dir():
    TEMPLATES = DERIVE.parent / "templates"


@dataclass(frozen=True)
class Subject:
    """What a page is about: the network, and its derivation as it was derived."""

    network: Network
    derived: Derivation

    @cached_property
    def derivation(self) -> Derivation:
        """With long formulas in parts, as the code computes it."""
        return readable(self.derived)

    @cached_property
    def of_rows(self) -> Derivation:
        """Without the penalty: what comes from the data alone."""
        return derive(forward(self.network.of_rows())) if self.network.penalty else self.derived

    @cached_property
    def each(self) -> Derivation:
        """The derivation of the sum of the rows' own losses."""
        return readable(derive(forward(self.network.of_rows(), mean_over=Integer(1))))

    @cached_property
    def native(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The holes of network.c and of network.h."""
        return native_holes(self.network, self.of_rows, self.each, schedule(self.of_rows).blocks)

    @cached_property
    def document(self) -> list[Section]:
        """What the derivation says, whatever the format."""
        return network_document(self.network, self.derived, self.derivation)


def backward_page(subject: Subject) -> dict[str, Any]:
    network, derivation = subject.network, subject.derivation
    program = derivation.program
    forward_equations, loss_equations = program.predicting()
    forward_lines, loss_lines = lines(program, forward_equations, ONE), lines(program, loss_equations, ONE)
    backward_lines = lines(program, derivation.backward, ONE)
    names = [spell(program, symbol) for symbol in program.parameters]
    others = {
        "input_grad": function_body(subject, input_grad(subject.derived.program)),
        "per_sample": per_sample(subject),
        "jvp": function_body(subject, jvp(subject.derived.program)),
        "hvp": function_body(subject, hvp(subject.derived)),
    }
    body = [*forward_lines, *loss_lines, *backward_lines]
    everything = [*body, *(line for function in others.values() for line in function["lines"])]
    return {
        "network": described(network),
        "imports": imports(everything),
        "constants": constants(everything),
        "spec": [line for field, value in network.spec().items() for line in spec_lines(field, value)],
        "parameters": [
            {
                "name": spell(program, symbol),
                "shape": str(tuple(program.shape(symbol))),
                "meaning": program.notation.meaning(symbol.name),
                "gradient": spell(program, derivation.gradients[symbol]),
            }
            for symbol in program.parameters
        ],
        "unpack": unpack_lines(names, "parameters"),
        "inputs": network.layers[0],
        "outputs": network.layers[-1],
        "forward": forward_lines,
        "prediction": spell(program, program.prediction),
        "size_lines": size_lines(body),
        "loss": loss_lines,
        "backward": backward_lines,
        "penalties": penalties(subject),
        "checks": checks("jvp, hvp are derivatives, function.loss is for autograd"),
        **others,
    }


def function_body(subject: Subject, computed: Computed, others: Iterable[MatrixSymbol] = ()) -> dict[str, Any]:
    """The lines that the results and others need, and each result by name; one that nothing moves is zero."""
    program, results = computed.program, computed.results
    wanted = [*others, *(symbol for symbol in results.values() if symbol is not None)]
    body = lines(program, all_in_parts(needed(computed.equations, wanted), program.notation), ONE)
    used = names(body) | {name for name, symbol in results.items() if symbol is None}
    spelled = [
        {"name": name, "value": f"torch.zeros_like({name})" if symbol is None else spell(program, symbol)}
        for name, symbol in results.items()
    ]
    return {"unpack": unpack(subject, used), "lines": body, "size_lines": size_lines(body), "results": spelled}


def per_sample(subject: Subject) -> dict[str, Any]:
    """The sweep over the sum of the rows' own losses; the sums over the rows, which come last, are left undone."""
    derivation = subject.each
    program, last = derivation.program, set(derivation.gradients.values())
    equations = needed(derivation.equations, last)
    body = lines(program, tuple(equation for equation in equations if equation.target not in last), ONE)
    terms = [summands(program, equation) for equation in equations if equation.target in last]
    unpacked = unpack(subject, names([*body, *terms]))
    return {"unpack": unpacked, "lines": body, "size_lines": size_lines(body), "terms": terms}


def penalties(subject: Subject) -> list[dict[str, Any]]:
    """The penalty by itself, with its gradient and its curvature; none where there is no penalty."""
    program = of_parameters_alone(subject.derived.program)
    if program is None:
        return []
    derivation = derive(program)
    along = hvp(derivation)
    fields = [symbol.name for symbol in subject.derived.program.parameters]
    gradients = {symbol.name: gradient for symbol, gradient in derivation.gradients.items()}
    gradient = Computed(program, derivation.equations, {name: gradients.get(name) for name in fields})
    product = replace(along, results={name: along.results.get(name) for name in fields})
    return [
        {
            "value": spell(program, program.output),
            "gradient": function_body(subject, gradient, [program.output]),
            "product": function_body(subject, product),
        }
    ]


def spec_lines(field: str, value: str | tuple[str | int, ...]) -> list[str]:
    """An item of a dict literal, on one line where it fits."""
    line = f'"{field}": {value!r},'.replace("'", '"')
    if len(line) <= WIDTH - 4:
        return [line]
    if isinstance(value, str):
        parts = pieces(value, WIDTH - 10)
    else:
        parts = [line for item in value for line in item_lines(item)]
    return [f'"{field}": (', *(f"    {part}" for part in parts), "),"]


def item_lines(item: str | int) -> list[str]:
    """An item of a tuple that has a line for each."""
    line = f"{item!r},".replace("'", '"')
    return [line] if len(line) <= WIDTH - 8 else ["(", *(f"    {part}" for part in pieces(str(item), WIDTH - 14)), "),"]


def pieces(text: str, width: int) -> list[str]:
    """A long text as literals that Python joins."""
    return [f'"{text[start : start + width]}"' for start in range(0, len(text), width)]


def unpack_lines(names: list[str], source: str) -> list[str]:
    """The tensors of a sequence as names of their own, four layers a line where there are many."""
    if len(names) <= 12:
        return [f"{', '.join(names)} = {source}"]
    parts = [(start, names[start : start + 8]) for start in range(0, len(names), 8)]
    return [f"{', '.join(part)} = {source}[{start}:{start + len(part)}]" for start, part in parts]


def names(body: Iterable[Line]) -> set[str]:
    """The names that the lines use."""
    return set().union(*(line.value.names for line in body))


def unpack(subject: Subject, used: set[str]) -> list[str]:
    """Names for those parameters, and components of a direction, that are used."""
    program, text = subject.derived.program, []
    for prefix, source in (("", "parameters"), ("dot_", "direction")):
        kept = [name if name in used else "_" for name in (f"{prefix}{spell(program, s)}" for s in program.parameters)]
        if set(kept) != {"_"}:
            text += unpack_lines(kept, source)
    return text


def described(network: Network) -> list[str]:
    """The network in words, as the lines of a docstring."""
    words = f"The network: {network}.".replace("\\", "/").replace('"', "'")
    return textwrap.wrap(words, WIDTH - 4, break_on_hyphens=False)


def imports(body: list[Line]) -> list[str]:
    """The imports that the lines need beside torch."""
    return ["import math"] if "math" in names(body) else []


def constants(body: list[Line]) -> list[str]:
    """A 1 that is a tensor, where the lines need one."""
    line = f'{ONE} = torch.ones((), device="cpu")  # as a tensor: with the number 1, torch takes three times as long'
    return ["", line] if ONE in names(body) else []


def size_lines(body: list[Line]) -> list[str]:
    """N, where a line needs it; a mean over no rows is refused."""
    return ["N = x.shape[0]", *no_rows_lines(body)] if "N" in names(body) else []


def no_rows_lines(body: list[Line]) -> list[str]:
    """The refusal of no rows, where a line divides by their number."""
    if not any(line.value.divides_by("N") for line in body):
        return []
    refusal = 'raise ValueError("x: expected at least 1 row, got 0: a mean over no rows is 0 / 0")'
    return ["if N == 0:", f"    {refusal}"]


class LayersPrinter(TorchPrinter):
    """Calls a layer for each affine map, as it is in torch.nn."""

    def affine(self, affine: Affine) -> Source:
        layer = affine.weight.symbol.name.removeprefix("W")
        return call(f"self.fc{layer}", self.of(affine.input))


def reference_page(subject: Subject) -> dict[str, Any]:
    network, program = subject.network, readable(subject.of_rows).program
    forward_equations, loss_equations = program.predicting()
    printer, by_rows = LayersPrinter(program), network.penalty and network.reduction == "sum"
    return {
        "network": described(network),
        "layers": [
            {"number": i + 1, "inputs": network.layers[i], "outputs": network.layers[i + 1]}
            for i in range(network.depth)
        ],
        "forward": [printer.line(equation).code for equation in forward_equations],
        "prediction": spell(program, program.prediction),
        "inputs": network.layers[0],
        "target": targets(network).torch,
        "weight": "len(x) / points" if network.reduction == "mean" else "1",
        "share": ", len(x) / points" if by_rows else "",
        "loss": reference_loss(network, lines(program, loss_equations), spell(program, program.prediction)),
        "penalty_lines": reference_penalty(subject),
        **penalty_page(subject),
    }


def reference_loss(network: Network, body: list[Line], prediction: str) -> list[str]:
    """The loss as lines: torch's own where it has one, else as the formula says."""
    spelled = network.criterion().torch
    if spelled:
        return [f"loss = {spelled.format(p='net(x)', y='y', reduction=network.reduction)}"]
    rows = ["N = x.shape[0]"] if "N" in names(body) else []
    return [*rows, f"{prediction} = net(x)", *(line.code for line in body)]


def reference_penalty(subject: Subject) -> list[str]:
    """The penalty as lines that add it to the loss."""
    program = of_parameters_alone(subject.derived.program)
    if program is None:
        return []
    weights = [f"{spell(program, W)} = net.fc{layer}.weight" for layer, W in enumerate(program.parameters, 1)]
    *each, total = lines(program, all_in_parts(program.equations, program.notation))
    return [*weights, *(line.code for line in each), f"loss = loss + share * ({total.value.text})"]


def run_page(subject: Subject) -> dict[str, Any]:
    return {"inputs": subject.network.layers[0], "target": targets(subject.network).torch, **penalty_page(subject)}


def train_page(subject: Subject) -> dict[str, Any]:
    reason = pieces(no_least_value(subject.network), WIDTH - 10)
    refusal = ["raise ValueError(", *(f"    {piece}" for piece in reason), ")"] if reason else []
    repeated = penalty_page(subject)["penalties"] if subject.network.reduction == "sum" else []
    return {**title_page(subject), "repeated_penalties": repeated, "refusal": refusal}


def penalty_page(subject: Subject) -> dict[str, Any]:
    """Fills what a template has for penalties alone: once, or not at all."""
    return {"penalties": [subject.network.penalty] if subject.network.penalty else []}


def title_page(subject: Subject) -> dict[str, Any]:
    return {"network": described(subject.network)}


def derivation_page(page: Page) -> Callable[[Subject], dict[str, Any]]:
    """The derivation as a document in the format of that page."""

    def holes(subject: Subject) -> dict[str, Any]:
        return {
            "title": page.text(network_title(subject.network)),
            "sections": page.sections(subject.document),
        }

    return holes


def html_page(subject: Subject) -> dict[str, Any]:
    """The document as one file of HTML; the glossary says what to show beside a symbol."""
    terms = glossary(subject.derivation)
    page = HtmlPage({term["tex"]: term["name"] for term in terms})
    sections = page.sections(subject.document)
    return {
        "contents": [section for section in sections if section["heading"].startswith("<h2>")],
        "title": page.text(network_title(subject.network)),
        "network": page.code(str(subject.network)),
        "sections": sections,
        "glossary": [
            {key: page.escape(term[key]) for key in ("name", "meaning", "shape", "code")}
            | {"formula": page.formula(term["tex"])}
            for term in terms
        ],
    }


def figure_page(name: str) -> Callable[[Subject], dict[str, Any]]:
    """One of the document's figures as SVG."""

    def holes(subject: Subject) -> dict[str, Any]:
        blocks = (block for section in subject.document for block in section.blocks)
        figures = {block.figure.name: block.figure for block in blocks if isinstance(block, Picture)}
        return {"figure": svg(figures[name])}

    return holes


def fast_page(subject: Subject) -> dict[str, Any]:
    network, plan = subject.network, schedule(subject.of_rows)
    refusal = no_rows_lines(lines(subject.of_rows.program, subject.of_rows.equations))
    return {
        "network": described(network),
        **penalty_page(subject),
        "layout": plan.layout,
        "entries": network.entries,
        "entries_per_row": plan.entries("_make_rows"),
        "hessian_entries_per_row": plan.entries("_make_hvp"),
        "refuse_no_rows": refusal,
        "inputs": network.layers[0],
        "outputs": network.layers[-1],
        "limits": plan.limits,
        "made": plan.made,
        "scale": [*refusal, "self._results.div_(N)"] if refusal else [],
        "call": plan.call,
        "steps": plan.steps,
        "blocks": plan.blocks,
        "blocks_meaning": plan.blocks_meaning,
        "views": [{"number": number, **view} for number, view in enumerate(flat_views(plan.blocks))],
    }


def c_page(subject: Subject) -> dict[str, Any]:
    source, _ = subject.native
    return {**title_page(subject), **source}


def header_page(subject: Subject) -> dict[str, Any]:
    _, header = subject.native
    return {**title_page(subject), **penalty_page(subject), **header}


def native_page(subject: Subject) -> dict[str, Any]:
    return {
        **title_page(subject),
        **penalty_page(subject),
        "weight": "N" if subject.network.reduction == "mean" else "1",
    }


def backends_page(subject: Subject) -> dict[str, Any]:
    return {**penalty_page(subject), "faster_from": faster_from(subject.network), "rule": FASTER}


def flat_views(blocks: list[Block]) -> Iterator[dict[str, Any]]:
    """Each parameter: its name, how many entries of a flat vector it has, and its shape as a view of these."""
    for block in blocks:
        for name, cut in block.views.items():
            if name.startswith("b"):
                yield {"name": name, "size": block.shape[-1], "cut": ""}
            elif cut:
                inputs, outputs = block.shape[0] - 1, block.shape[1]
                yield {"name": name, "size": inputs * outputs, "cut": f".view(*rows, {inputs}, {outputs}).mT"}
            else:
                yield {
                    "name": name,
                    "size": prod(block.shape),
                    "cut": f".view(*rows, {block.shape[0]}, {block.shape[1]})",
                }


def plain_page(subject: Subject) -> dict[str, Any]:
    return {}


def command_page(subject: Subject) -> dict[str, Any]:
    """The commands of a package end as those of derive do."""
    return {"source": (DERIVE / "system" / "command.py").read_text(encoding="utf-8").splitlines()}


CONDITIONS = {
    LogDet: "The logarithm of a determinant is nan where the determinant is negative.",
    SignDet: "The logarithm of a product of determinants is nan where that is negative.",
    Inverse: "Where a matrix to invert, as for the gradient of a determinant, is singular, it raises LinAlgError.",
}
TARGETS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "__init__.py": title_page,
    "backends.py": backends_page,
    "backward.py": backward_page,
    "command.py": command_page,
    "computation.svg": figure_page("computation"),
    "dat.py": plain_page,
    "derivation.html": html_page,
    "derivation.md": derivation_page(MarkdownPage()),
    "derivation.tex": derivation_page(TexPage()),
    "function.py": title_page,
    "network.svg": figure_page("network"),
    "fast.py": fast_page,
    "reference.py": reference_page,
    "native.py": native_page,
    "network.c": c_page,
    "network.h": header_page,
    "ranks.py": plain_page,
    "run.py": run_page,
    "train.py": train_page,
    "weights.py": plain_page,
}


def environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def subject_of(network: Network) -> Subject:
    return Subject(network, derive(forward(network)))


def render(network: Network, names: Iterable[str] = tuple(TARGETS)) -> dict[str, str]:
    """The text of each file of the package for a network, or of those that are named.

    Raises ValueError where a template is missing, no template, or has a hole that nothing fills.
    """
    subject = subject_of(network)
    pages = environment()
    return {name: filled(pages, f"{name}.j2", TARGETS[name](subject)) for name in names}


def filled(pages: Environment, template: str, holes: dict[str, Any]) -> str:
    try:
        return pages.get_template(template).render(holes)
    except TemplateNotFound:
        raise ValueError(f"templates/{template}: no such template; each file that is written needs its own") from None
    except TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise ValueError(f"templates/{template}{line}: {error}; a hole is one of: {', '.join(holes)}") from None


def checks(derivatives: str) -> list[str]:
    """What every emitted module checks of tensors; `derivatives` says where the derivatives are that are derived."""
    return filled(environment(), "checks.py.j2", {"derivatives": derivatives}).splitlines()


def expression_source(derivation: Derivation, title: str, function: bool) -> str:
    """The module of a matrix expression."""
    pages = environment()
    text = filled(pages, "expression.py.j2", expression_page(derivation, title))
    if function:
        text += filled(pages, "expression_function.py.j2", function_page(derivation))
    return text


def expression_page(derivation: Derivation, title: str) -> dict[str, Any]:
    program = derivation.program
    forward_lines, backward_lines = lines(program, program.equations), lines(program, derivation.backward)
    body, printer = [*forward_lines, *backward_lines], TorchPrinter(program)
    inputs = [
        {"name": spell(program, s), "shape": printer.shape_text(s), "dimensions": len(program.shape(s))}
        for s in program.inputs
    ]
    return {
        "loss": textwrap.wrap(title.replace("\\", "/").replace('"""', "'''"), 110, break_on_hyphens=False),
        "conditions": conditions(derivation),
        "imports": imports(body),
        "inputs": inputs,
        "variables": [
            {
                "name": spell(program, symbol),
                "shape": printer.shape_text(symbol),
                "gradient": spell(program, derivation.gradients[symbol]),
            }
            for symbol in program.parameters
        ],
        "size_lines": dimension_lines(program),
        "forward": forward_lines,
        "backward": backward_lines,
        "value": spell(program, program.output),
        "checks": checks("value_and_grad gives the derivatives"),
    }


def conditions(derivation: Derivation) -> list[str]:
    """Where the code has no result, a line each."""
    values = [equation.value for equation in derivation.equations]
    return [line for node, line in CONDITIONS.items() if any(value.has(node) for value in values)]


def dimension_lines(program: Program) -> list[str]:
    """Each size, read from the first tensor that has it.

    Raises ValueError where a size is in no input by itself.
    """
    sizes: dict[Symbol, str] = {}
    for symbol in program.inputs:
        for axis, size in enumerate(program.shape(symbol)):
            if size.is_Symbol:
                sizes.setdefault(size, f"{size} = {spell(program, symbol)}.shape[{axis}]")
    for symbol in program.inputs:
        missing = set().union(*(size.free_symbols for size in program.shape(symbol))) - set(sizes)
        if missing:
            raise ValueError(f"{symbol}: no input has {min(map(str, missing))} rows or columns, so its size is unknown")
    return list(sizes.values())


def function_page(derivation: Derivation) -> dict[str, Any]:
    program = derivation.program
    names = {symbol: spell(program, symbol) for symbol in program.inputs}
    return {
        "inputs": [
            {"name": name, "returned": f"grad_value * gradients.{name}" if symbol in program.parameters else "None"}
            for symbol, name in names.items()
        ],
    }
