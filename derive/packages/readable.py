"""What goes into the holes of backward.py, and of steps.py, which has its lines."""

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any

from sympy import MatrixSymbol

from derive.backends.torch import ONE, lines, rows_summands, spell
from derive.calculus import Computed, hvp, input_grad, jvp, per_sample_grad
from derive.packages.subject import Subject, classes_page, title_page
from derive.packages.templates import tensor_checks
from derive.packages.text import (
    constant_lines,
    function_lines,
    imports,
    names,
    size_lines,
    spec_lines,
    unpack_lines,
    written_lines,
)
from derive.paper import step_lines
from derive.programs import all_in_parts, needed, readable


def backward_page(subject: Subject) -> dict[str, Any]:
    network, derivation = subject.network, subject.derivation
    program = derivation.program
    forward_equations, loss_equations = program.predicting()
    forward_lines, loss_lines = lines(program, forward_equations, ONE), lines(program, loss_equations, ONE)
    backward_lines = lines(program, derivation.backward, ONE)
    others = {
        "input_grad": function_body(subject, input_grad(subject.derived.program)),
        "per_sample": per_sample(subject),
        "jvp": function_body(subject, jvp(subject.derived.program)),
        "hvp": function_body(subject, hvp(subject.derived)),
    }
    body = [*forward_lines, *loss_lines, *backward_lines]
    everything = [*body, *(line for function in others.values() for line in function["body"])]
    return {
        **title_page(subject),
        "imports": imports(names(everything)),
        "constants": constant_lines(everything),
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
        "inputs": network.layers[0],
        **classes_page(subject),
        "outputs": network.layers[-1],
        "forward": [*unpack(subject), *written_lines(forward_lines)],
        "prediction": spell(program, program.prediction),
        "taken": [*unpack(subject), *size_lines(body)],
        "loss": written_lines([*forward_lines, *loss_lines]),
        "backward": written_lines(backward_lines),
        "penalties": penalties(subject),
        "checks": tensor_checks("jvp, hvp are derivatives, function.loss is for autograd"),
        **others,
    }


def steps_page(subject: Subject) -> dict[str, Any]:
    """The lines of value_and_grad, each with the number of its step; parts of a long formula belong to it."""
    steps = [
        (line, subject.derived.labels[target])
        for target, code in step_lines(subject.derived, subject.derivation).items()
        for line in code
    ]
    body = [line for line, _ in steps]
    return {
        **title_page(subject),
        "imports": imports(names(body)),
        "constants": constant_lines(body),
        "steps": [{"name": line.target, "meaning": line.meaning, "number": number} for line, number in steps],
        "lines": function_lines(body, unpack(subject)),
    }


def function_body(subject: Subject, computed: Computed, others: Iterable[MatrixSymbol] = ()) -> dict[str, Any]:
    """The lines that the results and others need, and each result by name; one that nothing moves is zero."""
    program, results = computed.program, computed.results
    wanted = [*others, *(symbol for symbol in results.values() if symbol is not None)]
    body = lines(program, all_in_parts(needed(computed.equations, wanted)), ONE)
    used = names(body) | {name for name, symbol in results.items() if symbol is None}
    spelled = [
        {"name": name, "value": f"torch.zeros_like({name})" if symbol is None else spell(program, symbol)}
        for name, symbol in results.items()
    ]
    return {"body": body, "lines": function_lines(body, unpack(subject, used)), "results": spelled}


def per_sample(subject: Subject) -> dict[str, Any]:
    """What the rows' own gradients need, and these: the sums over the rows, left undone."""
    each = readable(subject.each)
    program, (equations, sums) = each.program, per_sample_grad(each)
    body = [*lines(program, equations, ONE), *(rows_summands(program, equation) for equation in sums)]
    return {"body": body, "lines": function_lines(body, unpack(subject, names(body)))}


def penalties(subject: Subject) -> list[dict[str, Any]]:
    """The penalty by itself, with its gradient and its curvature; none where there is no penalty."""
    derivation = subject.of_penalty
    if derivation is None:
        return []
    program = derivation.program
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


def unpack(subject: Subject, used: Container[str] | None = None) -> list[str]:
    """Names for those parameters, and components of a direction, that are used; for all parameters where none are."""
    program, text = subject.derived.program, []
    own = [spell(program, symbol) for symbol in program.parameters]
    for prefix, source in (("", "parameters"), ("dot_", "direction")):
        kept = [name if name in (own if used is None else used) else "_" for name in (f"{prefix}{n}" for n in own)]
        if set(kept) != {"_"}:
            text += unpack_lines(kept, source)
    return text
