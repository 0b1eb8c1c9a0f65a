"""python -m derive.diagnose: says which slip gives somebody's gradients.

Their file has the gradients of the package's network, as they wrote them down. They are compared with the derivation's
at the same weights and points: those of the seed with which `run` draws them, or numbers of their own.
"""

from derive.system import Given, a_path, begin, failed, finish, given_numbers, one_line, parser_of

if __name__ == "__main__":
    begin("python -m derive.diagnose", sympy="1.14", numpy="1.26")

import argparse
import csv
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy

from derive.diagnosis import Diagnostician
from derive.problems import Network, network_of, text_of

MOST_POINTS = 100_000


def command_line(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of("diagnose", __doc__)
    parser.add_argument("folder", type=a_path, help="of the package")
    parser.add_argument("theirs", type=a_path, help="their gradients, or with --table a folder of such .dat files")
    parser.add_argument(
        "--numbers", type=a_path, metavar="FILE", help="TOML with W1, b1, ..., x, y; what is not there is drawn"
    )
    parser.add_argument(
        "--data", type=a_path, metavar="FILE", help="points as run takes them, CSV, .npy or .npz: x, and then y"
    )
    parser.add_argument("--seed", type=int, default=127, help="of the weights and points that are drawn (127)")
    parser.add_argument("--points", type=int, default=1, help="how many points are drawn (1)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="in which they are drawn (float32)"
    )
    parser.add_argument("--table", action="store_true", help="a line of CSV for each .dat file of the folder")
    return parser.parse_args(argv)


def weights_and_points(options: argparse.Namespace, network: Network) -> tuple[dict[str, numpy.ndarray], bool]:
    """Weights, biases, x and y by name, and whether their gradients are meant in x out."""
    shapes, ends = network.shapes, (network.layers[0], network.layers[-1], network.takes_classes)
    given = Given() if options.numbers is None else given_numbers(options.numbers, shapes, *ends)
    found: dict[str, Any] = dict(given.values)
    if options.data is not None:
        if both := [name for name in "xy" if name in found]:
            raise ValueError(f"{both[0]}: in {options.numbers}, and points are in {options.data}")
        found |= table_points(options)
    if missing := [name for name in (*shapes, "x", "y") if name not in found]:
        rows = len(found.get("x", found.get("y", ()))) or options.points
        found = {**drawn_by_run(options, shapes, rows, missing, found.get("x")), **found}
    return {name: numpy.array(value, numpy.float64) for name, value in found.items()}, given.layout == "in x out"


def table_points(options: argparse.Namespace) -> dict[str, numpy.ndarray]:
    """x and y of a table, as the package's `run --data` reads it.

    Raises OSError, or ValueError with file, line and reason, also where the package cannot be imported.
    """
    try:
        points = module_of(options, "data").load(options.data, module_of(options, "run").DTYPES["float64"])
    except (ImportError, AttributeError, TypeError, SyntaxError) as error:
        raise ValueError(f"--data: read by {options.folder}/data.py, which cannot be used ({error})") from None
    if len(points.x) > MOST_POINTS:
        raise ValueError(f"{options.data}: {len(points.x)} points, at most {MOST_POINTS} can be diagnosed")
    return {"x": points.x.numpy(), "y": points.y.numpy()}


def module_of(options: argparse.Namespace, name: str) -> Any:
    """A module of the package."""
    folder = options.folder.resolve()
    sys.path.insert(0, str(folder.parent))
    try:
        return importlib.import_module(f"{folder.name}.{name}")
    finally:
        sys.path.remove(str(folder.parent))


def drawn_by_run(
    options: argparse.Namespace, shapes: dict[str, Any], rows: int, missing: list[str], own: Any
) -> dict[str, Any]:
    """What the package's `run` draws from the seed, targets for a person's own x where that is given.

    Raises ValueError where it cannot be imported.
    """
    if not 1 <= options.points <= MOST_POINTS:
        raise ValueError(f"--points: expected a whole number from 1 to {MOST_POINTS}, got {options.points}")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed: expected a whole number from 0 to {2**63 - 1}, got {options.seed}")
    package = options.folder.resolve().name
    try:
        run = module_of(options, "run")
        parameters, x, y = run.sample(options.seed, rows, run.DTYPES[options.dtype])
        y = y if own is None else run.targets_of(x.new_tensor(own))
    except (ImportError, AttributeError, TypeError, SyntaxError) as error:
        what = f"{', '.join(missing)}: drawn by {package}.run, which cannot be used ({error})"
        raise ValueError(f"{what}; --numbers takes all of them") from None
    return {name: part.double().numpy() for name, part in zip((*shapes, "x", "y"), (*parameters, x, y), strict=True)}


def table(doctor: Diagnostician, folder: Path, turned: bool) -> int:
    """A line of CSV for each file: whether it agrees, how many gradients do, and what is found."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".dat")
    if not files:
        raise ValueError(f"{folder}: no .dat file in it")
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("file", "verdict", "right", "of", "found"))
    statuses = [0]
    for path in files:
        try:
            diagnosis = doctor.of_file(path, turned)
        except (OSError, ValueError) as error:
            rows.writerow((path.name, "unreadable", "", "", one_line(str(error))))
            statuses.append(2)
            continue
        right = sum(verdict.right for verdict in diagnosis.verdicts)
        verdict = "differs" if not diagnosis.agrees else "incomplete" if diagnosis.missing else "agrees"
        count = len(diagnosis.verdicts) + len(diagnosis.missing)
        rows.writerow((path.name, verdict, right, count, diagnosis.summary))
        statuses.append(0 if verdict == "agrees" else 1)
    return max(statuses)


def main(argv: list[str] | None = None) -> int:
    options = command_line(argv)
    try:
        source = options.folder / "backward.py"
        network = network_of(text_of(source), source)
        inputs, turned = weights_and_points(options, network)
        doctor = Diagnostician(network, inputs)
        if options.table:
            return table(doctor, options.theirs, turned)
        diagnosis = doctor.of_file(options.theirs, turned)
    except (OSError, ValueError, TypeError) as error:
        return failed("python -m derive.diagnose", error)
    print(diagnosis)
    return 0 if diagnosis.agrees else 1


if __name__ == "__main__":
    finish(main)
