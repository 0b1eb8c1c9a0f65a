"""A network's backward written by hand, as people write it, with slips that can be switched on."""

import numpy

from derive.problems import Network

FUNCTIONS = {  # value and slope, both of the pre-activation
    "identity": (lambda z: z, lambda z: numpy.ones_like(z)),
    "sigmoid": (lambda z: 1 / (1 + numpy.exp(-z)), lambda z: numpy.exp(-z) / (1 + numpy.exp(-z)) ** 2),
    "tanh": (numpy.tanh, lambda z: 1 / numpy.cosh(z) ** 2),
    "relu": (lambda z: numpy.maximum(z, 0), lambda z: (z > 0) * 1.0),
}
NUMBER = {
    "a factor 2 is missing": lambda n, c: 1 / 2,
    "a factor 2 is too many": lambda n, c: 2,
    "the sign is the other": lambda n, c: -1,
    "it is divided by the number of points": lambda n, c: 1 / n,
    "it is multiplied by the number of points": lambda n, c: n,
    "it is multiplied by the number of outputs": lambda n, c: c,
}


def softmax(z):
    e = numpy.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class ByHand:
    """Somebody's backward, with slips: (kind, layer) as in `possible`."""

    def __init__(self, network: Network, slips: set[tuple[str, int]]) -> None:
        self.network, self.slips = network, slips

    def on(self, kind: str, layer: int) -> bool:
        return (kind, layer) in self.slips

    def times(self, what: str, layer: int, value, n: int):
        for kind, number in NUMBER.items():
            if self.on(f"{what}: {kind}", layer):
                value = value * number(n, self.network.layers[-1])
        return value

    def __call__(self, parameters, x, y):
        net, depth, n = self.network, self.network.depth, len(x)
        W = [None, *(parameters[f"W{i}"] for i in range(1, depth + 1))]
        b = [None, *(parameters.get(f"b{i}", 0) for i in range(1, depth + 1))]
        f, slope = zip(*(FUNCTIONS[net.activation_of(i)] for i in range(1, depth + 1)), strict=True)
        f, slope = (None, *f), (None, *slope)
        a, z = [x], [None]
        for i in range(1, depth + 1):
            bias = b[self.twin(i)] if self.on("forward: bias of another layer", i) else b[i]
            bias = 0 if self.on("forward: bias left out", i) else bias
            z.append(a[-1] @ (W[i] if self.on("forward: W transposed", i) else W[i].T) + bias)
            z[i] = z[i] + sum(a[start] for start, end in net.skip if end == i)
            a.append(z[i] if self.on("forward: no activation", i) else f[i](z[i]))
        grads, delta, deltas = {}, self.last(a, z, y, slope), {}
        for i in range(depth, 0, -1):
            delta = deltas[i] = self.times("delta", i, delta, n)
            left = delta
            right = x if self.on("activation of another layer", i) else a[i - 1]
            if self.on("z for a, or a for z", i):
                right = z[i - 1]
            g = left.T @ right
            g = g + 0.1 * W[i] if net.penalty == "0.05*w**2" else g
            g = self.times("weight", i, g, n)
            if self.on("transposed", i):
                g = g.T
            grads[f"W{i}"] = numpy.outer(left[-1], right[-1]) if self.on("last row only", i) else g
            if f"b{i}" in parameters:
                grads[f"b{i}"] = self.times("bias", i, delta.sum(0), n)
            if i == 1:
                break
            back = W[i]
            if self.on("W transposed", i):
                back = W[i].T
            if self.on("W of another layer", i):
                back = W[self.twin(i)]
            if ("W after the update", 0) in self.slips:
                back = W[i] - 0.25 * grads[f"W{i}"]
            j = i - 1
            cot = delta @ back + sum(deltas[end] for start, end in net.skip if start == j)
            s = slope[j](z[j])
            if self.on("slope left out", j):
                s = 1
            if self.on("slope twice", j):
                s = s * s
            if self.on("activation for slope", j):
                s = a[j]
            if self.on("slope at a for z, or at z for a", j):
                s = slope[j](a[j])
            if self.on("slope of another layer", j):
                s = slope[self.twin(j)](z[self.twin(j)])
            if self.on("slope of another activation", j):
                s = FUNCTIONS[self.other(j)][1](z[j])
            delta = cot * s
        return grads

    def last(self, a, z, y, slope):
        """dL/dz of the last layer."""
        net, depth, n, outputs = self.network, self.network.depth, len(y), y.shape[1]
        out = a[-1]
        by_entry = self.on("softmax entry by entry", depth)
        scale = 1.0
        if net.reduction != "sum":
            rows = net.reduction == "batchmean" or net.loss == "cross_entropy"
            scale = 1 / n if rows else 1 / (n * outputs)
        p = softmax(out)
        if net.loss == "cross_entropy":
            return scale * ((p - y) * p * (1 - p) if by_entry else p - y)
        if net.loss.startswith("(softmax"):
            g = 2 * (p - y)
            return scale * (g * p * (1 - p) if by_entry else p * (g - (g * p).sum(1, keepdims=True)))
        grad = {
            "mse_loss": lambda: 2 * (out - y),
            "(p - y)**2/2": lambda: out - y,
            "binary_cross_entropy": lambda: (out - y) / (out * (1 - out)),
        }[net.loss]()
        if self.on("slope left out", depth):
            return scale * grad
        if self.on("slope twice", depth):
            return scale * grad * slope[depth](z[depth]) ** 2
        return scale * grad * slope[depth](z[depth])

    def twin(self, layer: int) -> int:
        """Another layer whose weights, or whose units, are as many."""
        return twin(self.network, layer)

    def other(self, layer: int) -> str:
        return "tanh" if self.network.activation_of(layer) != "tanh" else "sigmoid"


def twin(network: Network, layer: int) -> int:
    widths = network.layers
    same = [
        i for i in range(1, network.depth + 1) if i != layer and widths[i - 1 : i + 1] == widths[layer - 1 : layer + 1]
    ]
    return (
        same[0] if same else next((i for i in range(1, network.depth) if i != layer and widths[i] == widths[layer]), 0)
    )
