"""python -m derive.gradient: the gradient of a typed matrix expression, in closed form and as torch code.

python -m derive.gradient "tr((Y - U*V')'*(Y - U*V'))" --in U,V --shape Y=m,n --out here
"""

from derive.system import a_path, begin, failed, finish, one_line, parser_of, watched

if __name__ == "__main__":
    begin("python -m derive.gradient", sympy="1.14", jinja2="3.1", numpy="1.26")

import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from derive.matrix_derivation import derivation, gradient
from derive.matrix_text import TypedSize, parsed
from derive.packages import lost_digits_of
from derive.proof import NotProved

SECONDS_OF_GRADIENT = 600


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("gradient", __doc__)
    parser.add_argument("expression", help="of numbers, columns (small letters) and matrices (capitals)")
    parser.add_argument("--in", dest="variables", metavar="NAMES", help="the variables, as U,V (all that occur)")
    parser.add_argument("--shape", action="append", default=[], metavar="Y=m,n", help="x=n is a column, c= a number")
    parser.add_argument("--symmetric", metavar="NAMES", help="whose entries i, j and j, i are one variable, as S,T")
    parser.add_argument("--out", type=a_path, help="a folder for gradient.py and the derivation to read")
    parser.add_argument("--force", action="store_true", help="replace what is in it")
    parser.add_argument("--no-proof", action="store_true", help="derive without a proof")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_OF_GRADIENT, help="of work for the proof (ten minutes)"
    )
    given = sys.argv[1:] if argv is None else argv
    options = parser.parse_args([f" {text}" if re.match("-[^-h]|-h.", text) else text for text in given])
    try:
        symmetric_names = names_of(options.symmetric) if options.symmetric else []
        loss, symbols = parsed(options.expression, shape_flags(options.shape), symmetric_names)
        variables = chosen("--in", names_of(options.variables), symbols) if options.variables else [*symbols.values()]
        symmetric = chosen("--symmetric", symmetric_names, symbols)
        with watched():
            derived = derivation(loss, variables, not options.no_proof, options.seconds, symmetric, options.expression)
            result = repr(derived)
        if options.out:
            derived.save(options.out, options.force)
    except NotProved as error:
        print(f"NOT proved: {one_line(str(error))}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError) as error:
        return failed("python -m derive.gradient", error)
    for warning in lost_digits_of(derived.program) if options.no_proof else derived.prove().digits:
        print(f"python -m derive.gradient: warning: {one_line(warning)}", file=sys.stderr)
    print(f"{result}\n")
    if options.out:
        print(f"wrote {', '.join(derived.pages)} to {options.out}")
    else:
        print(derived.torch())
    if not options.no_proof:
        print(derived.prove())
    return 0


def shape_flags(texts: Sequence[str]) -> dict[str, tuple[TypedSize, ...]]:
    """Shapes by name, each from Y=m,n, from x=n a column, from c= or c=1 a number.

    Raises ValueError where one is none of these, or a name has two.
    """
    shapes: dict[str, tuple[TypedSize, ...]] = {}
    for text in texts:
        typed, found, sizes = text.partition("=")
        name = typed.strip()
        parts = [part.strip() for part in sizes.split(",") if part.strip()]
        sized = all(re.fullmatch(r"[1-9]\d{0,5}|[A-Za-z]\w*", part) for part in parts)
        if not found or not re.fullmatch(r"[A-Za-z]\w*", name) or not sized or len(parts) > 2:
            raise ValueError(f"--shape: expected a name and sizes, as Y=m,n or x=n or c=1, got {text!r}")
        if name in shapes:
            raise ValueError(f"--shape: two for {name}")
        shape = tuple(int(part) if part.isdigit() else part for part in parts)
        shapes[name] = () if shape == (1,) else shape
    return shapes


def names_of(typed: str) -> list[str]:
    return [name.strip() for name in typed.split(",")]


def chosen(option: str, names: Sequence[str], symbols: dict[str, Any]) -> list[Any]:
    """The symbols of these names."""
    for name in names:
        if name not in symbols:
            raise ValueError(f"{option}: {name!r} is not in the expression; there are {', '.join(symbols)}")
    return [symbols[name] for name in names]


class Callable(ModuleType):
    """Once this module is imported it is what `derive.gradient` is, which is a function, too."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return gradient(*arguments, **options)


if __name__ == "__main__":
    finish(main)
else:
    sys.modules[__name__].__class__ = Callable
