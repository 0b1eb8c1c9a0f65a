"""What goes into the holes of reference.py, which computes by torch's own autograd, and of run.py and train.py."""

from typing import Any

from derive.backends import WIDTH, Source, call
from derive.backends.torch import Line, TorchPrinter, lines, spell
from derive.operations import Affine, NamedMatrix, Operation, Transposed
from derive.packages.subject import Subject, penalty_page, title_page
from derive.packages.text import imports, names, pieces
from derive.problems import Network, no_least_value, targets
from derive.programs import all_in_parts, readable


class LayersPrinter(TorchPrinter):
    """Calls a layer for each affine map, as it is in torch.nn, and for each linear one."""

    def product(self, parts: tuple[Operation, ...]) -> Source:
        match parts:
            case NamedMatrix() as input, Transposed(of=NamedMatrix(symbol=W)) if W in self.program.weights:
                return call(f"self.fc{self.program.notation.layer(W.name)}", self.of(input))
        return super().product(parts)

    def affine(self, affine: Affine) -> Source:
        layer = self.program.notation.layer(affine.weight.symbol.name)
        return call(f"self.fc{layer}", self.of(affine.input))


def reference_page(subject: Subject) -> dict[str, Any]:
    network, program = subject.network, readable(subject.of_rows).program
    forward_equations, loss_equations = program.predicting()
    printer, by_rows = LayersPrinter(program), network.penalty and network.reduction == "sum"
    forward, body = [printer.line(equation) for equation in forward_equations], lines(program, loss_equations)
    penalty, penalty_lines = reference_penalty(subject)
    return {
        **title_page(subject),
        "layers": [
            {
                "number": layer,
                "inputs": network.layers[layer - 1],
                "outputs": network.layers[layer],
                "options": "" if network.has_biases(layer) else "bias=False, ",
            }
            for layer in range(1, network.depth + 1)
        ],
        "imports": imports(names([*forward, *body, *penalty])),
        "forward": [line.code for line in forward],
        "prediction": spell(program, program.prediction),
        "inputs": network.layers[0],
        "target": targets(network).torch,
        "weight": "len(x) / points" if network.divided_by else "1",
        "share": ", len(x) / points" if by_rows else "",
        "loss": reference_loss(network, body, spell(program, program.prediction)),
        "penalty_lines": penalty_lines,
        **penalty_page(subject),
    }


def reference_loss(network: Network, body: list[Line], prediction: str) -> list[str]:
    """The loss as lines: torch's own where it has one, else as the formula says."""
    spelled = network.criterion().torch
    if spelled:
        own = "mean" if network.divided_by == "points" and network.criterion().per_row else network.reduction
        reduction, over = ("sum", " / x.shape[0]") if own == "batchmean" else (own, "")
        return [f"loss = {spelled.format(p='net(x)', y='y', reduction=reduction)}{over}"]
    rows = ["N = x.shape[0]"] if "N" in names(body) else []
    return [*rows, f"{prediction} = net(x)", *(line.code for line in body)]


def reference_penalty(subject: Subject) -> tuple[list[Line], list[str]]:
    """The penalty, and the lines that add it to the loss."""
    if subject.of_penalty is None:
        return [], []
    program = subject.of_penalty.program
    body = lines(program, all_in_parts(program.equations))
    weights = [f"{spell(program, W)} = net.fc{layer}.weight" for layer, W in enumerate(program.parameters, 1)]
    *each, total = body
    return body, [*weights, *(line.code for line in each), f"loss = loss + share * ({total.value.text})"]


def run_page(subject: Subject) -> dict[str, Any]:
    return {"inputs": subject.network.layers[0], "target": targets(subject.network).torch, **penalty_page(subject)}


def train_page(subject: Subject) -> dict[str, Any]:
    reason = pieces(no_least_value(subject.network), WIDTH - 10)
    refusal = ["raise ValueError(", *(f"    {piece}" for piece in reason), ")"] if reason else []
    repeated = penalty_page(subject)["penalties"] if subject.network.reduction == "sum" else []
    return {**title_page(subject), "repeated_penalties": repeated, "refusal": refusal}
