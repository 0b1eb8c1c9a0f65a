"""What the text of an expression is worth, as one reads it: no printer and no parser of ours."""

import functools
import re

import torch

FUNCTIONS = [
    "sqrt",
    "exp",
    "log",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "sign",
    "digamma",
    "sigmoid",
    "erf",
    "log1p",
]
DOTTED = {" .* ": " % ", " ./ ": " // "}


class Part:
    """A matrix, a number as one of 1 x 1, or a number times the identity, whose size is that of what it meets."""

    def __init__(self, entries, is_identity: bool = False) -> None:
        self.is_identity = is_identity
        self.entries = torch.as_tensor(entries, dtype=torch.float64)
        self.entries = self.entries if self.entries.ndim == 2 else self.entries.reshape(1, 1)
        self.is_number = self.entries.numel() == 1 and not is_identity

    @property
    def T(self) -> "Part":
        return Part(self.entries.T, self.is_identity)

    def of_size(self, size: int) -> torch.Tensor:
        return self.entries * torch.eye(size, dtype=torch.float64) if self.is_identity else self.entries

    def with_(self, other, function) -> "Part":
        """Entry by entry."""
        other = part(other)
        size = max(len(self.entries), len(other.entries))
        both = self.is_identity and (other.is_identity or other.is_number)
        return type(self)(function(self.of_size(size), other.of_size(size)), both and size == 1)

    def __add__(self, other):
        return self.with_(other, torch.add)

    def __sub__(self, other):
        return self.with_(other, torch.sub)

    def __mod__(self, other):
        return self.with_(other, torch.mul)

    def __floordiv__(self, other):
        return self.with_(other, torch.div)

    def __mul__(self, other):
        other = part(other)
        if any(one.is_number or one.is_identity for one in (self, other)):
            both = self.is_identity and (other.is_identity or other.is_number)
            return Part(self.entries * other.entries, both or (other.is_identity and self.is_number))
        return Part(self.entries @ other.entries)

    def __truediv__(self, number):
        assert part(number).is_number, "/ divides by a number"
        return Part(self.entries / part(number).entries, self.is_identity)

    def __pow__(self, exponent):
        if isinstance(exponent, Each) or self.is_number:
            return Part(self.entries ** part(exponent).entries)
        return Part(torch.linalg.matrix_power(self.entries, int(part(exponent).entries)))

    def __neg__(self):
        return type(self)(-self.entries, self.is_identity)

    def __invert__(self):
        return Part(1 - self.entries)

    def __gt__(self, other):
        return self.with_(other, torch.gt)

    def __lt__(self, other):
        return self.with_(other, torch.lt)

    def __ge__(self, other):
        return self.with_(other, torch.ge)

    def __le__(self, other):
        return self.with_(other, torch.le)

    def __and__(self, other):
        return self.with_(other, torch.mul)

    def __or__(self, other):
        return self.with_(other, torch.maximum)

    def __getitem__(self, place):
        return Part(self.entries[place])

    def beside(self, number) -> "Part":
        """What stands in front of it, of the same kind."""
        return type(self)(part(number).entries)

    def __radd__(self, number):
        return self.beside(number) + self

    def __rsub__(self, number):
        return self.beside(number) - self

    def __rmul__(self, number):
        return self.beside(number) * self

    def __rtruediv__(self, number):
        return self.beside(number) / self

    def __rmod__(self, number):
        return self.beside(number) % self

    def __rfloordiv__(self, number):
        return self.beside(number) // self

    def __rpow__(self, number):
        return self.beside(number) ** self


class Each(Part):
    """The exponent of every entry."""


class Entries(Part):
    """What the letters of a formula stand for."""

    def __mul__(self, other):
        return self.with_(other, torch.mul)

    def __truediv__(self, other):
        return self.with_(other, torch.div)

    def __pow__(self, exponent):
        return self.with_(exponent, torch.pow)


def part(value) -> Part:
    return value if isinstance(value, Part) else Part(value)


def of_entries(function):
    def computed(*parts):
        kind = Entries if any(isinstance(one, Entries) for one in parts) else Part
        return kind(function(*torch.broadcast_tensors(*(part(one).entries for one in parts))))

    return computed


def piecewise(*cases):
    values, conditions = zip(*cases, strict=True)
    result, *others = values[::-1]
    for value, condition in zip(others, conditions[-2::-1], strict=True):
        result = of_entries(lambda c, v, r: torch.where(c != 0, v, r))(condition, value, result)
    return result


def blocks(rows):
    """Of matrices and numbers; 0 is of the size that is left."""
    heights = [max(len(part(one).entries) for one in row) for row in rows]
    widths = [max(part(one).entries.shape[1] for one in column) for column in zip(*rows, strict=True)]
    return Part(
        torch.cat(
            [
                torch.cat([part(one).entries.expand(height, width) for one, width in zip(row, widths, strict=True)], 1)
                for row, height in zip(rows, heights, strict=True)
            ]
        )
    )


def of_matrix(function):
    return lambda matrix, *others: Part(function(part(matrix).entries, *(part(one).entries for one in others)))


WORDS = {
    **{name: of_entries(getattr(torch, name)) for name in FUNCTIONS},
    "Abs": of_entries(torch.abs),
    "Heaviside": of_entries(lambda u: torch.heaviside(u, u.new_tensor(0.5))),
    "Max": of_entries(lambda *parts: torch.stack(parts).max(0).values),
    "Min": of_entries(lambda *parts: torch.stack(parts).min(0).values),
    "Ne": of_entries(lambda u, v: 1.0 * (u != v)),
    "Eq": of_entries(lambda u, v: 1.0 * (u == v)),
    **{name: of_entries(getattr(torch.nn.functional, name)) for name in ("logsigmoid", "relu")},
    "Piecewise": piecewise,
    "apply": lambda function, *parts: Part(part(function(*(Entries(one.entries) for one in parts))).entries),
    "ones": lambda *shape: Part(torch.ones(*(int(part(size).entries) for size in shape))),
    "zeros": lambda *shape: Part(torch.zeros(*(int(part(size).entries) for size in shape))),
    "tr": of_matrix(torch.trace),
    "det": of_matrix(torch.linalg.det),
    "total": of_matrix(torch.sum),
    "row_sum": of_matrix(lambda a: a.sum(1, keepdim=True)),
    "column_sum": of_matrix(lambda a: a.sum(0, keepdim=True)),
    "softmax": of_matrix(lambda a: a.softmax(int(a.shape[1] > 1))),
    "log_softmax": of_matrix(lambda a: a.log_softmax(int(a.shape[1] > 1))),
    "logsumexp": of_matrix(lambda a: a.logsumexp(1, keepdim=True)),
    "diagonal": of_matrix(lambda a: a.diagonal()[:, None]),
    "diag": of_matrix(lambda a: torch.diag(a.flatten())),
    "KroneckerProduct": lambda *parts: functools.reduce(of_matrix(torch.kron), parts),
    "Matrix": blocks,
    **dict.fromkeys(("I", "eye"), Part(1, is_identity=True)),
    "True": 1,
}


def worth(text: str, given: dict) -> Part:
    """The text of an expression at these numbers and matrices, by Python's own precedence."""
    for dotted, operator in DOTTED.items():
        text = text.replace(dotted, operator)
    text = re.sub(r"\.\^(\w+|\((?:[^()]|\([^()]*\))*\))", r"**Each(\1)", text)
    text = re.sub(r"apply\((\w+(?:, \w+)*) -> ", r"apply(lambda \1: ", text)
    return eval(text, {**WORDS, "Each": lambda p: Each(part(p).entries), **given})
