"""What goes into the holes of backward.py."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sympy import MatrixSymbol

from derive.backends.torch import ONE, lines, rows_summands, spell
from derive.calculus import Computed, hvp, input_grad, jvp, per_sample_grad
from derive.packages.subject import Subject, classes_page, docstring_lines
from derive.packages.templates import tensor_checks
from derive.packages.text import constant_lines, imports, names, size_lines, spec_lines, unpack_lines
from derive.programs import all_in_parts, needed, readable


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
        "network": docstring_lines(network),
        "imports": imports(everything),
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
        "unpack": unpack_lines(names, "parameters"),
        "inputs": network.layers[0],
        **classes_page(subject),
        "outputs": network.layers[-1],
        "forward": forward_lines,
        "prediction": spell(program, program.prediction),
        "size_lines": size_lines(body),
        "loss": loss_lines,
        "backward": backward_lines,
        "penalties": penalties(subject),
        "checks": tensor_checks("jvp, hvp are derivatives, function.loss is for autograd"),
        **others,
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
    return {"unpack": unpack(subject, used), "lines": body, "size_lines": size_lines(body), "results": spelled}


def per_sample(subject: Subject) -> dict[str, Any]:
    """What the rows' own gradients need, and these: the sums over the rows, left undone."""
    each = readable(subject.each)
    program, (equations, sums) = each.program, per_sample_grad(each)
    body, terms = lines(program, equations, ONE), [rows_summands(program, equation) for equation in sums]
    unpacked = unpack(subject, names([*body, *terms]))
    return {"unpack": unpacked, "lines": body, "size_lines": size_lines(body), "terms": terms}


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


def unpack(subject: Subject, used: set[str]) -> list[str]:
    """Names for those parameters, and components of a direction, that are used."""
    program, text = subject.derived.program, []
    for prefix, source in (("", "parameters"), ("dot_", "direction")):
        kept = [name if name in used else "_" for name in (f"{prefix}{spell(program, s)}" for s in program.parameters)]
        if set(kept) != {"_"}:
            text += unpack_lines(kept, source)
    return text
