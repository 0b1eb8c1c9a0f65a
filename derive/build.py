"""python -m derive.build: derives a network's gradient and writes the package that computes and explains it."""

from derive.system import (
    OutOfTime,
    a_path,
    begin,
    check_pdflatex,
    check_place,
    current_folder,
    differences,
    failed,
    finish,
    given_numbers,
    limited,
    one_line,
    parser_of,
    staying,
    write_package,
)

if __name__ == "__main__":
    begin("python -m derive.build", sympy="1.14", jinja2="3.1")

import argparse
import errno
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path
from traceback import print_exception, walk_tb
from unicodedata import normalize

from derive.formulas import FUNCTIONS, LOSSES
from derive.packages import ON_DEMAND, TARGETS, lost_digits, render
from derive.paper import DECIMALS, MOST_DECIMALS, Shown
from derive.problems import (
    SETTING_NAMES,
    Network,
    as_flag,
    network_of,
    not_as_written,
    parse_activations,
    parse_layers,
    parse_skip,
    settings,
    text_of,
    warnings,
)

EPILOG = (
    f"Activations: {', '.join(FUNCTIONS)}. Losses: {', '.join(LOSSES)}. Any case, torch's classes, and - for _ will do."
)
ROOT = Path(__file__).resolve().parent.parent
WIDEST_SHOWN = 12  # units of a layer, or points, whose numbers fit on a page
SECONDS_OF_FORMULAS = 60  # seconds of computing for formulas that somebody typed
SECONDS_OF_DIGITS = 5  # for warnings of those that lose digits
OF_FORMULAS = ("--activation", "--output-activation", "--loss", "--penalty")


class Fault(Exception):
    """An error that is not of what was asked for, but of this tool."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of("build", __doc__, epilog=EPILOG)
    default = Network()
    parser.add_argument("spec", nargs="?", type=a_path, help="a TOML file with these settings; the flags win")
    parser.add_argument("--layers", metavar="SIZES", help="sizes from inputs to outputs, as 2-10-10-1 (the default)")
    parser.add_argument(
        "--activation",
        metavar="NAMES",
        help=f"of the hidden layers: a name or a formula in z, one for all or one a layer ({default.activation})",
    )
    parser.add_argument(
        "--output-activation",
        metavar="NAME",
        help=f"of the output: a name or a formula in z ({default.output_activation})",
    )
    parser.add_argument(
        "--loss", metavar="NAME", help=f"a name of torch.nn.functional or a formula in p and y ({default.loss})"
    )
    parser.add_argument(
        "--reduction",
        metavar="NAME",
        help=f"sum or mean of the entries, or batchmean, the sum over points ({default.reduction}; torch's is mean)",
    )
    parser.add_argument(
        "--penalty", metavar="FORMULA", help="in w, added to the loss for each weight and for no bias, as 0.05*w**2"
    )
    parser.add_argument(
        "--skip", metavar="PAIRS", help="1-3 adds the activation of layer 1 to the pre-activation of layer 3"
    )
    parser.add_argument(
        "--bias", metavar="LAYERS", help=f"which layers have biases: all, hidden or none ({default.bias})"
    )
    parser.add_argument(
        "--numbers", type=a_path, metavar="FILE", help="TOML with W1, b1, ..., x, y, which the pages then show"
    )
    parser.add_argument("--digits", type=decimal_count, metavar="N", help=f"decimals that the pages show ({DECIMALS})")
    parser.add_argument("--out", type=a_path, metavar="DIR", help="the folder of the package (generated)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say what differs, and exit 1 if anything does"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace files not written by the build, or another network in generated"
    )
    parser.add_argument("--device", action="store_true", help="also device.h, steps of training in C for a device")
    parser.add_argument("--sheet", action="store_true", help="also sheet.tex, the result alone, for one A4 page")
    parser.add_argument("--pdf", action="store_true", help="also derivation.pdf, and sheet.pdf, by pdflatex")
    return parser.parse_args(with_joined_formulas(sys.argv[1:] if argv is None else argv))


def with_joined_formulas(argv: list[str]) -> list[str]:
    """The arguments, with formulas that begin with a minus joined to their flags: alone they would seem to be flags."""
    found: list[str] = []
    for argument in argv:
        if found and found[-1] in OF_FORMULAS and re.match("-[^-]", argument) and argument != "-h":
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def decimal_count(text: str) -> int:
    """An argument type: how many decimals a page can show."""
    if not (text.isascii() and text.isdigit() and len(text) < 3 and 1 <= int(text) <= MOST_DECIMALS):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_DECIMALS}, got {text[:40]!r}")
    return int(text)


def shown_by(options: argparse.Namespace, network: Network) -> Shown:
    """The numbers that pages show.

    Raises OSError, or ValueError that names the file, or the layer that is too wide for a page.
    """
    digits = DECIMALS if options.digits is None else options.digits
    if options.numbers is None:
        return Shown(decimals=digits)
    ends = network.layers[0], network.layers[-1], network.takes_classes
    own = given_numbers(options.numbers, network.shapes, *ends)
    points = len(own.values.get("x", own.values.get("y", ())))
    if max(*network.layers, points) > WIDEST_SHOWN:
        raise ValueError(f"--numbers: a page has room for {WIDEST_SHOWN} units of a layer and as many points, at most")
    return Shown(own, digits)


def network_from(options: argparse.Namespace) -> Network:
    flags = {name: value for name, value in vars(options).items() if name in SETTING_NAMES and value is not None}
    if "layers" in flags:
        flags["layers"] = parse_layers(flags["layers"])
    if "activation" in flags:
        flags["activation"] = parse_activations(flags["activation"])
    if "skip" in flags:
        flags["skip"] = parse_skip(flags["skip"])
    given = settings(options.spec)
    try:
        return Network(**{**given, **flags})
    except (ValueError, TypeError) as error:
        if re.split(r"\W", str(error), maxsplit=1)[0] not in given.keys() - flags.keys():
            raise
        raise type(error)(f"{options.spec or 'pyproject.toml'}: {error}") from None


def ask_for_what_is_there(options: argparse.Namespace, folder: Path) -> None:
    """A check that names no network is of the one that the package says it is for."""
    default, source = vars(Network()), folder / "backward.py"
    asked = settings(options.spec) or any(getattr(options, name) is not None for name in SETTING_NAMES)
    if asked or not source.is_file():
        return
    for name, value in network_of(text_of(source), source).spec().items():
        if value != default[name]:
            setattr(options, name, as_flag(name, value))


def network_there(folder: Path) -> Network | None:
    """The network of the package in the folder; None where there is none, or none that can be read."""
    source = folder / "backward.py"
    with suppress(OSError, ValueError, TypeError):
        return network_of(text_of(source), source)
    return None


def folder_from(options: argparse.Namespace) -> Path:
    """The folder of the package.

    Raises ValueError or OSError where no package can be there, or none that can be imported.
    """
    if options.out is None:
        if not (ROOT / "pyproject.toml").is_file():
            raise ValueError(
                "--out: needed, since derive is installed and not a source tree; name a folder for the package"
            )
        return ROOT / "generated"
    here = current_folder()
    if here is None and not options.out.is_absolute():
        raise ValueError(f"--out: {options.out}: the current directory is gone; name an absolute path")
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(options.out)  # raises where links lead to each other
    folder = options.out.resolve()
    if options.check:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        return folder
    if os.path.ismount(folder):
        raise ValueError(f"--out: {folder} is a file system of its own; name a folder in it")
    if here is not None and (here == folder or folder in here.parents):
        raise ValueError(f"--out: {folder} is or holds the current directory, which cannot be replaced; go above it")
    check_name(folder.name)
    return folder


def check_name(name: str) -> None:
    """Raises ValueError for a name that no package can have."""
    if "." in name or not name.isprintable():
        raise ValueError(f"--out: {name!r} cannot be imported; a package is called as a Python name, as my_net")
    installed = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    if name in ("derive", *sys.stdlib_module_names) or PathFinder.find_spec(name, installed):
        raise ValueError(f"--out: a package called {name} would hide the module of that name; choose another")


def rendered(network: Network, names: Iterable[str], shown: Shown) -> dict[str, str]:
    """The files of the package that have these names.

    Raises ValueError for what is refused, TimeoutError for formulas that somebody typed and SymPy takes too long with,
    Fault for all that nobody meant to be raised.
    """
    try:
        with limited(SECONDS_OF_FORMULAS if network.has_formulas else None):
            return render(network, names, shown)
    except OutOfTime:
        late = f"no derivation within {SECONDS_OF_FORMULAS} seconds of computing; a simpler formula has one"
        raise TimeoutError(f"{network}: {late}") from None
    except OSError:
        raise
    except Exception as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if type(error) is ValueError and frame.f_globals["__name__"].startswith("derive."):
            raise
        hope = "; another way to write the formula may get round it" if network.has_formulas else ""
        raise Fault(
            f"{network}: no derivation: {type(error).__name__}, as the lines above say. That is a fault of derive and "
            f"not of what you asked for{hope}"
        ) from error


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    report = []
    try:
        folder = folder_from(options)
        if options.check and options.out is not None:
            ask_for_what_is_there(options, folder)
        network = network_from(options)
        for name in ON_DEMAND if options.check else ():
            vars(options)[Path(name).stem] |= (folder / name).exists()
        names = [*TARGETS, *demanded(options)]
        there = None if options.check else network_there(folder)
        if not options.check:
            check_place(folder)
            staying(folder, dict.fromkeys(names, ""), options.force, options.pdf)
            if options.out is None and there not in (None, network) and not options.force:
                raise FileExistsError(
                    f"{folder}: holds {there}; name a folder with --out, or add --force to replace it"
                )
            if options.pdf:
                check_pdflatex()
        files = rendered(network, names, shown_by(options, network))
        if options.check:
            modules = [name.removesuffix(".py") for name in files if name.endswith(".py")]
            report = differences(folder, files) + [f"{one_line(line)}\n" for line in not_as_written(folder, modules)]
        else:
            write_package(folder, files, options.force, options.pdf)
    except Fault as fault:
        print_exception(fault.__cause__)
        return failed("python -m derive.build", fault)
    except (ValueError, TypeError, OSError) as error:
        return failed("python -m derive.build", error)
    if options.check:
        for text in report:
            print(text, end="")
        if report:
            print(f"{len(report)} of the files in {one_line(str(folder))} differ; this mends it:\n{command(options)}")
        else:
            print(f"{one_line(str(folder))}: its {len(files)} files are what is derived today for {network}")
        return 1 if report else 0
    for warning in [*warnings(network), *digit_warnings(network), *name_warnings(folder.name)]:
        print(f"python -m derive.build: warning: {one_line(warning)}", file=sys.stderr)
    before = f", where it was {there}" if there not in (None, network) else ""
    print(f"wrote {len(files)} files to {one_line(str(folder))}: {network}{before}")
    if options.out == Path(folder.name) and not name_warnings(folder.name):
        then = f"python -m {folder.name}.run --compare; python -m derive.prove {folder.name}"
        print(f"next: open {folder.name}/derivation.html; {then}")
    return 0


def demanded(options: argparse.Namespace) -> list[str]:
    """The files that are written where their flag, called as the file is, asks for them."""
    return [name for name in ON_DEMAND if vars(options)[Path(name).stem]]


def digit_warnings(network: Network) -> list[str]:
    """What loses digits, if that is found in little time."""
    try:
        with limited(SECONDS_OF_DIGITS):
            return lost_digits(network)
    except OutOfTime:
        return []


def name_warnings(name: str) -> list[str]:
    """What to know of a package whose name no import statement can have."""
    if name.isidentifier() and not keyword.iskeyword(name) and name == normalize("NFKC", name):
        return []
    return [f"--out: {name!r} is no Python name: python -m {shlex.quote(f'{name}.run')} works, import does not"]


def command(options: argparse.Namespace) -> str:
    """The call that writes what --check compared with."""
    given = {n: str(v) for n, v in vars(options).items() if v is not None and not isinstance(v, bool)}
    spec = [given.pop("spec")] if "spec" in given else []
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in given.items()]
    flags = [[f"{flag}={value}"] if value.startswith("-") else [flag, value] for flag, value in pairs]
    files = [f"--{Path(name).stem}" for name in demanded(options)]
    return shlex.join(["python", "-m", "derive.build", *spec, *chain.from_iterable(flags), *files])


if __name__ == "__main__":
    finish(main)
