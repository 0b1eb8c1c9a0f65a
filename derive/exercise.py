"""python -m derive.exercise: a derivation with gaps to fill, and what is wrong in a copy that somebody has filled.

Each line is judged by what it computes, not by how it is written: the prover decides, given the right lines before it.
"""

from derive.system import a_path, begin, content, failed, finish, parser_of

if __name__ == "__main__":
    begin("python -m derive.exercise", sympy="1.14", numpy="1.26")

from pathlib import Path
from typing import Any

from derive.exercises import Examiner, exercise_sheet, filled_lines
from derive.problems import Network, network_of, settings, text_of

LARGEST_SHEET = 2**20  # bytes


def network_at(place: Path) -> Network:
    """The network of a package, or of settings in TOML.

    Raises OSError or ValueError that names the file.
    """
    if not place.is_dir():
        given: dict[str, Any] = settings(place)
        return Network(**given)
    source = place / "backward.py"
    return network_of(text_of(source), source)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("exercise", __doc__)
    parser.add_argument("network", type=a_path, help="the folder of a package, or settings in TOML")
    parser.add_argument("--check", type=a_path, metavar="FILE", help="a filled copy; exit 0 if all of it is right")
    parser.add_argument("--answers", action="store_true", help="the same with nothing left out")
    options = parser.parse_args(argv)
    try:
        network = network_at(options.network)
        if options.check is None:
            print(exercise_sheet(network, options.answers, f"{options.network}"), end="")
            return 0
        text = content(options.check, LARGEST_SHEET).decode("utf-8", "replace")
        answers = Examiner(network).answers(filled_lines(text))
    except (OSError, ValueError, TypeError) as error:
        return failed("python -m derive.exercise", error)
    print("\n".join(map(str, answers)))
    right = sum(answer.right for answer in answers)
    print(f"{right} of {len(answers)} are right")
    return 0 if right == len(answers) else 1


if __name__ == "__main__":
    finish(main)
