"""What was shown of emitted code, for people and for machines."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import sympy


class NotProved(Exception):
    """An entry of which it is not shown that it is the derivative."""


class Undecided(NotProved):
    """An entry that is neither shown to be the derivative nor to be another number."""


@dataclass(frozen=True)
class Evidence:
    """What was shown of some functions of a file: of which layers and numbers of rows, or at which sizes; how often.

    Of so many `entries` it is an identity; those that are only `checked` agree at random points, and are too long for
    the algebra or are made of what it does not know.
    """

    file: str
    functions: tuple[str, ...]
    how: str
    layers: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    entries: int = 0
    checked: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = f", at {'-'.join(map(str, self.layers))} with N = {enumeration(self.rows)}" if self.layers else ""
        sizes += f", at {enumeration(f'{name} = {size}' for name, size in self.sizes.items())}" if self.sizes else ""
        entries = f" ({self.entries} entries)" if self.entries else ""
        return f"{self.file}: {enumeration(self.functions)}{sizes}:\n    {self.how}{entries}"


@dataclass(frozen=True)
class Certificate:
    """What was shown of a `subject`, which `about` is for machines: of its files with these hashes.

    It is `exact` if every entry that was compared on symbols is identical to what it must be. `digits` says where
    numbers of float64, of which a proof says nothing, lose half of theirs.
    """

    subject: str
    about: dict[str, Any]
    shown: tuple[Evidence, ...]
    sha256: dict[str, str]
    unproved: dict[str, str] = field(default_factory=dict)
    digits: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return not any(part.checked for part in self.shown)

    def __str__(self) -> str:
        shown = "proved" if self.exact else "checked numerically"
        lines = [f"{shown}: {self.subject}", *map(str, self.shown)]
        for words in dict.fromkeys(self.unproved.values()):
            files = enumeration(file for file, said in self.unproved.items() if said == words)
            lines.append(f"{files}:\n    {words}")
        lines += self.digits
        lines += [f"{file} sha256 {digest}" for file, digest in self.sha256.items()]
        return "\n".join([*lines, ", ".join(f"{name} {version}" for name, version in versions().items())])

    def json(self) -> str:
        """The same for machines."""
        fields = {"exact": self.exact} | asdict(self)
        del fields["subject"], fields["about"]
        return json.dumps(self.about | fields | {"versions": versions()}, indent=2)


def versions() -> dict[str, str]:
    return {"SymPy": sympy.__version__, "Python": sys.version.split()[0]}


def enumeration(parts: Iterable[object]) -> str:
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last
