"""python -m derive: the commands of this package, and their version."""

import importlib
import sys

COMMANDS = {
    "audit": "hold a backward that you wrote against the torch module that it is for",
    "build": "derive a network's gradient and write the package that computes and explains it",
    "diagnose": "say which slip gives somebody's gradients",
    "exercise": "print the derivation with gaps to fill, and say what is wrong in a filled copy",
    "gradient": "derive the gradient of a matrix expression that you type",
    "module": "write the backward of a torch module as text, with a proof",
    "prove": "show that an emitted package computes the gradient",
}
HELP = "-h", "--help"


def commands_listed() -> str:
    """The commands, and what each does."""
    widest = max(map(len, COMMANDS))
    rows = (f"  python -m derive.{name:<{widest}}  {purpose}" for name, purpose in COMMANDS.items())
    return "\n".join(
        [
            "Gradients in closed form: derived by SymPy, proved, emitted as torch code without autograd.",
            "",
            *rows,
            "",
            "Each has --help and --version; `python -m derive build` is the same as `python -m derive.build`.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Lists the commands, says the version, or runs a command with what follows its name."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [HELP[0]]
    if name in HELP:
        print(commands_listed())
        return 0
    if name == "--version":
        from derive.system import version

        print(f"derive {version()}")
        return 0
    if name not in COMMANDS:
        print(f"python -m derive: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"derive.{name}").main(rest)


def script() -> None:
    """The console script `derive`."""
    from derive.system import begin, finish

    begin("derive", sympy="1.14", jinja2="3.1", numpy="1.26")
    finish(main)


if __name__ == "__main__":
    script()
