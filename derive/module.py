"""python -m derive.module: the backward of a torch module as text, with a proof.

    python -m derive.module package.file:Net --input "x: 2x3x4" --input "labels: 2 of 10" --out mine

Writes layer.py (forward, backward, gradients for each row, and tangents, in plain torch without autograd), function.py,
reference.py, the derivation and a certificate.
"""

from derive.system import a_path, begin, differences, failed, finish, one_line, parser_of, watched

if __name__ == "__main__":
    begin("python -m derive.module", sympy="1.14", jinja2="3.1", numpy="1.26", torch="2.6")

import argparse
import sys

from derive.backward import ModuleDerivation, module_derivation
from derive.modules import Refused, Wrong, add_module, module_and_example

__all__ = ["ModuleDerivation", "Refused", "Wrong", "module_derivation"]


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("module", __doc__)
    add_module(parser)
    parser.add_argument("--out", type=a_path, help="a folder for the files; without it layer.py is printed")
    parser.add_argument("--force", action="store_true", help="replace what is in it")
    parser.add_argument("--pdf", action="store_true", help="also derivation.pdf, by pdflatex")
    parser.add_argument("--check", action="store_true", help="write nothing: compare what is in it, and prove it")
    options = parser.parse_args(argv)
    try:
        for name in ("check", "pdf"):
            if getattr(options, name) and not options.out:
                raise ValueError(f"--{name} needs --out")
        with watched():
            return derived_module(options)
    except Wrong as error:
        print(f"WRONG: {one_line(str(error))}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        return failed("python -m derive.module", error)


def derived_module(options: argparse.Namespace) -> int:
    """Derives, proves, and writes or compares, as the options say; the exit status."""
    derived = ModuleDerivation(*module_and_example(options), options.module.rpartition(":")[2])
    if options.check:
        report = differences(options.out, derived.files)
        print("".join(report), end="", file=sys.stderr)
        print(derived.prove((options.out / "layer.py").read_text(encoding="utf-8")))
        return 1 if report else 0
    if options.out:
        print(derived.write(options.out, options.force, options.pdf))
        print(f"wrote {', '.join(derived.files)} and certificate.json to {options.out}")
    else:
        print(derived.source())
        print(derived.prove(), file=sys.stderr)
    return 0


if __name__ == "__main__":
    finish(main)
