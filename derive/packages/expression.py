"""What goes into the holes of the module of a matrix expression."""

import hashlib
import textwrap
from typing import Any

from sympy import Inverse, MatrixExpr, MatrixSymbol, Symbol

from derive.backends.torch import TorchPrinter, lines, spell
from derive.formulas import over
from derive.packages.templates import page, tensor_checks
from derive.packages.text import imports, names, shaped_lines
from derive.programs import Derivation, LogDet, Program, SignDet, Symmetric, atom, needed

ONE_VARIABLE = "its entries i, j and j, i are one variable, and at both is the derivative by that one."
WITHOUT_RESULT = {
    LogDet: "The logarithm of a determinant is nan where the determinant is negative.",
    over: "Where a norm is 0, its gradient is taken to be 0, one of its subgradients.",
    SignDet: "The logarithm of a product of determinants is nan where that is negative.",
    Inverse: "Where a matrix to invert, as for the gradient of a determinant, is singular, it raises LinAlgError.",
}


def expression_page(derivation: Derivation, title: str) -> dict[str, Any]:
    program = derivation.program
    forward_lines, backward_lines = lines(program, program.equations), lines(program, derivation.backward)
    body, printer = [*forward_lines, *backward_lines], TorchPrinter(program)
    symmetric = [spell(program, s) for s in program.inputs if isinstance(s, Symmetric)]
    return {
        "loss": textwrap.wrap(title.replace("\\", "/").replace('"""', "'''"), 110, break_on_hyphens=False),
        "conditions": [*(f"{name} is symmetric: {ONE_VARIABLE}" for name in symmetric), *conditions(derivation)],
        "imports": imports(names(body)),
        "inputs": input_holes(program),
        "symmetric": symmetric,
        "variables": [
            {
                "name": spell(program, symbol),
                "shape": printer.shape_text(symbol),
                "gradient": spell(program, derivation.gradients[symbol]),
            }
            for symbol in program.parameters
        ],
        "given": given_lines(program),
        "forward": shaped_lines(forward_lines),
        "backward": shaped_lines(backward_lines),
        "value": spell(program, program.output),
        "checks": tensor_checks("value_and_grad gives the derivatives")
        + (page("expression_symmetric.py.j2", {}).splitlines() if symmetric else []),
    }


def input_holes(program: Program) -> list[dict[str, Any]]:
    printer = TorchPrinter(program)
    return [
        {"name": spell(program, s), "shape": printer.shape_text(s), "dimensions": len(program.shape(s))}
        for s in program.inputs
    ]


def given_lines(program: Program) -> list[str]:
    """The inputs, once they are known to be of the right kind and shape, and the sizes that they have."""
    holes = {"inputs": input_holes(program), "tensors": tensor_lines(program), "size_lines": dimension_lines(program)}
    return page("expression_given.py.j2", holes).splitlines()


def tensor_lines(program: Program) -> list[str]:
    """The inputs by their names."""
    names = (spell(program, symbol) for symbol in program.inputs)
    return ["tensors = {", *(f'    "{name}": {name},' for name in names), "}"]


def forward_text(program: Program) -> str:
    """The lines of the value alone, sizes first."""
    return "\n".join([*dimension_lines(program), *(line.code for line in lines(program, program.equations))])


def conditions(derivation: Derivation) -> list[str]:
    """Where the code has no result, a line each."""
    values = [equation.value for equation in derivation.equations]
    return [line for node, line in WITHOUT_RESULT.items() if any(value.has(node) for value in values)]


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
    spelled = {symbol: spell(program, symbol) for symbol in program.inputs}
    return {
        "inputs": [
            {"name": name, "returned": f"grad_value * gradients.{name}" if symbol in program.parameters else "None"}
            for symbol, name in spelled.items()
        ],
    }


def pullback_page(
    program: Program, result: MatrixExpr, cotangent: MatrixSymbol, derivation: Derivation
) -> dict[str, Any]:
    """The matrix of a pullback, computed by a program that ends in a number of it."""
    printer = TorchPrinter(program)
    parameters = {symbol.name for symbol in derivation.program.parameters}
    inputs = [
        {**of, "returned": f"gradients.{of['name']}" if symbol.name in parameters else "None"}
        for symbol, of in zip(program.inputs, input_holes(program), strict=True)
    ]
    about = f"{program.inputs} {program.equations} {sorted(parameters)}"
    return {
        "op": f"layer_{hashlib.sha256(about.encode()).hexdigest()[:12]}",
        "variables": ", ".join(spell(program, symbol) for symbol in program.inputs if symbol.name in parameters),
        "inputs": inputs,
        "tensors": tensor_lines(program),
        "given": given_lines(program),
        "lines": shaped_lines(lines(program, needed(program.equations, [atom(result)]))),
        "result": spell(program, result),
        "shape": printer.shape_text(result),
        "cotangent": spell(derivation.program, cotangent),
    }
