"""python -m derive.prove: shows that an emitted package computes the gradient, exactly.

Its source is run as it lies on disk, at numbers of many digits and on symbols in place of numbers. Each entry of each
result must be what differences of the scalar loss say, and identical to SymPy's derivative of it. Of a network with
more weights than can be compared one by one, a narrow twin is proved, if its lines are the same.
"""

from derive.system import a_path, begin, failed, finish, one_line, parser_of, watched, write_package

if __name__ == "__main__":
    begin("python -m derive.prove", sympy="1.14", numpy="1.26")

import ast
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from derive.packages import render
from derive.problems import MOST_PROVED, Network
from derive.proof import Certificate, NotProved, TooWide, check_imports, prove, texts_of_build

SECONDS_OF_PROOF = 3600  # seconds of work; what is emitted takes minutes at most
NARROW = 3  # units of a layer of a twin, at most
PROVED = "backward.py"  # whose functions are compared with the twin's: lines of other files have widths in them


def twin_of(network: Network) -> Network:
    """A narrow one with the same lines: as many outputs, if few enough, where a mean over entries divides by them."""
    twin = network.with_widths_to(NARROW)
    if twin.entries <= MOST_PROVED:
        return twin
    return replace(network, layers=tuple(min(width, NARROW) for width in network.layers))


def prove_twin(folder: Path, network: Network, seconds: float) -> tuple[Certificate, str]:
    """The certificate of the twin, which says whose it is, and in words what the package shares with it.

    Raises NotProved where the package is not what is derived for its network, or shares nothing.
    """
    check_imports(folder)
    texts = texts_of_build(folder)
    files = render(network, texts)
    for name in texts:
        if texts[name] != files[name]:
            raise NotProved(f"{folder / name}: not what is derived for {network}; derive.build --check shows where")
    twin = twin_of(network)
    with TemporaryDirectory() as place:
        package = Path(place) / "twin"
        narrow = render(twin)
        write_package(package, narrow)
        certificate = prove(package, seconds)
    same = in_common(files[PROVED], narrow[PROVED])
    if not same:
        raise NotProved(f"{folder}: no function is the same as in the narrow {'-'.join(map(str, twin.layers))}")
    of = {"package": folder.resolve().name, "network": network.spec(), "same": {PROVED: same}}
    return replace(certificate, about={**certificate.about, "twin_of": of}), (
        f"{one_line(str(folder))}: {network}: {network.entries} weights and biases are more than the {MOST_PROVED} "
        f"that can be compared one by one. It is word for word what is derived, and these functions of {PROVED} are, "
        f"to the letter, those of the narrow twin {'-'.join(map(str, twin.layers))}, which is proved below: "
        f"{', '.join(same)}. Lines of the other files have widths in them, and are proved of the twin's alone."
    )


def in_common(source: str, other: str) -> list[str]:
    """The functions, but those for use inside, that two files have in common, whatever docstrings and comments say."""
    ours, theirs = function_texts(source), function_texts(other)
    return [name for name, body in ours.items() if name[0] != "_" and theirs.get(name) == body]


def function_texts(source: str) -> dict[str, str]:
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found[node.name] = "\n".join(map(ast.unparse, [*node.args.args, *body]))
    return found


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("prove", __doc__)
    parser.add_argument("folder", nargs="?", type=a_path, default=Path("generated"), help="of the package (generated)")
    parser.add_argument("--json", action="store_true", help="the certificate for machines")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS_OF_PROOF,
        help="of work, after which it says what is not shown (an hour)",
    )
    options = parser.parse_args(argv)
    try:
        with watched():
            try:
                certificate = prove(options.folder, options.seconds)
            except TooWide as wide:
                certificate, words = prove_twin(options.folder, wide.network, options.seconds)
                print(words, file=sys.stderr if options.json else sys.stdout)
    except NotProved as error:
        print(f"NOT proved: {one_line(str(error))}", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        return failed("python -m derive.prove", error)
    print(certificate.json() if options.json else certificate)
    return 0


if __name__ == "__main__":
    finish(main)
