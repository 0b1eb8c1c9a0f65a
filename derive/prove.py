"""python -m derive.prove: shows that an emitted package computes the gradient, exactly.

Its source is run as it lies on disk, at numbers of many digits and on symbols in place of numbers. Each entry of each
result must be what differences of the scalar loss say, and identical to SymPy's derivative of it.
"""

from derive.system import Parser, a_path, begin, failed, finish, on_terminal, one_line

if __name__ == "__main__":
    begin("python -m derive.prove", sympy="1.14", numpy="1.26")

import sys
from pathlib import Path

from derive.proof import NotProved, prove

MOST_SECONDS = 3600  # seconds of work; what is emitted takes minutes at most


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m derive.prove", description=__doc__ and __doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=a_path, default=Path("generated"), help="of the package (generated)")
    parser.add_argument("--json", action="store_true", help="the certificate for machines")
    parser.add_argument(
        "--seconds", type=float, default=MOST_SECONDS, help="of work, after which it says what is not shown (an hour)"
    )
    options = parser.parse_args(argv)
    try:
        certificate = prove(options.folder, on_terminal(), options.seconds)
    except NotProved as error:
        print(f"NOT proved: {one_line(str(error))}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        return failed("python -m derive.prove", error)
    print(certificate.json() if options.json else certificate)
    return 0


if __name__ == "__main__":
    finish(main)
