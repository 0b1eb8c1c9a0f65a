"""python -m derive.audit: holds a backward that you wrote against the torch module that it is for.

    python -m derive.audit package.file:Layer my_backward.py --input "x: 2x3x4" --input "labels: 2 of 10"

Each entry of each gradient must be that of the module, by the definitions of its operations.
"""

from derive.system import a_path, begin, failed, finish, one_line, parser_of, watched

if __name__ == "__main__":
    begin("python -m derive.audit", sympy="1.14", numpy="1.26", torch="2.6")

import sys

from derive.modules import Refused, Verdict, Wrong, add_module, audit, module_and_example

__all__ = ["Refused", "Verdict", "Wrong", "audit"]


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("audit", __doc__)
    add_module(parser)
    parser.add_argument("backward", type=a_path, help="a file with backward(G, ...), or with a torch.autograd.Function")
    parser.add_argument("--sizes-as-given", action="store_true", help="hold it at no other sizes")
    parser.add_argument("--opaque", action="store_true", help="only call it: it has kernels of its own")
    parser.add_argument("--precision", default="float64", help="of what an opaque one takes: float64, float32, ...")
    parser.add_argument("--device", default="cpu", help="on which that is")
    options = parser.parse_args(argv)
    try:
        kernel = {"opaque": options.opaque, "precision": options.precision, "device": options.device}
        more = {"other_sizes": not options.sizes_as_given, **kernel}
        with watched():
            verdict = audit(*module_and_example(options), options.backward, **more)
        print(verdict)
    except Wrong as error:
        print(f"WRONG: {one_line(str(error))}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        return failed("python -m derive.audit", error)
    return 0


if __name__ == "__main__":
    finish(main)
