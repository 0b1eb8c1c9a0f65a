"""What torch calls each function: a row for each word that lines of emitted code say.

Printers write by the rows, the proof's torch computes by them, and no line may say a word that has none.
"""

from dataclasses import dataclass
from typing import Any

from derive.backends.source import Call, Literal, Source, dotted, method

TORCH, FUNCTIONAL, ATEN = "torch.", "torch.nn.functional.", "torch.ops.aten."
ANYWHERE, OF_MATRICES, ON_BUFFERS = "anywhere", "of matrices", "on buffers"  # in which lines a word may stand


@dataclass(frozen=True)
class Kernel:
    """A call that writes into memory that is there.

    Its arguments are numbers and tensors: z is where a function is computed, a is its value there, g a cotangent.
    Where torch takes no memory, `out` is empty, and the result is copied.
    """

    path: str
    arguments: tuple[str | float, ...]
    options: tuple[tuple[str, str], ...] = ()
    out: str = "out"

    @property
    def at_value(self) -> bool:
        """Whether it reads the function's value instead of its argument."""
        return "a" in self.arguments

    def code(self, out: Source, function: Source | None = None, **tensors: Source) -> Source:
        """The call, with the memory and the tensors; `function` is what is called, if not by the path."""
        given = tuple(tensors[part] if isinstance(part, str) else Literal(repr(part)) for part in self.arguments)
        options = tuple((name, Literal(f'"{value}"')) for name, value in self.options)
        written = Call(function or dotted(self.path), given, (*options, *([(self.out, out)] if self.out else [])))
        return written if self.out else method(out, "copy_", written)


@dataclass(frozen=True)
class Word:
    """A function of torch, or a method of its tensors if its path has no point.

    What it computes is a function entry by entry, by the name that SymPy or the table of formulas has for it, or what
    the proof's torch says of it. With `in_place` there is a method besides, whose name ends in an underscore.
    """

    path: str = ""
    function: str = ""
    options: tuple[tuple[str, str], ...] = ()
    into: Kernel | None = None
    pullback: Kernel | None = None  # a cotangent times the slope
    whole: bool = False  # whether that cotangent must have all entries: oneDNN does not repeat them
    in_place: bool = False
    of_numbers: bool = False  # whether Python's math has it, by the same name
    lines: str = ANYWHERE
    shaped: bool = False  # whether sizes are among its arguments


def writing_kernel(name: str, *arguments: str | float, **options: str) -> Kernel:
    return Kernel(f"{ATEN}{name}.out", arguments, tuple(options.items()))


def backward_kernel(name: str, *arguments: str | float, **options: str) -> Kernel:
    return Kernel(f"{ATEN}{name}_backward.grad_input", ("g", *arguments), tuple(options.items()), "grad_input")


def elementary(name: str, **what: Any) -> Word:
    return Word(TORCH + name, name, **what)


def functional(name: str, **what: Any) -> Word:
    return Word(FUNCTIONAL + name, name, **what)


SELU = (1.6732632423543772, 1.0507009873554805)  # torch's alpha and scale
ELU_BACKWARD = backward_kernel("elu", 1, 1, 1, False, "z")
GELU_TANH = {"approximate": "tanh"}

WORDS = (
    *map(elementary, ("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "erfc", "erfinv")),
    *map(elementary, ("expm1", "floor", "log1p", "sign")),
    *(elementary(name, of_numbers=True) for name in ("cos", "cosh", "erf", "exp", "log", "sinh", "tan")),
    Word(TORCH + "abs", "Abs"),
    Word(TORCH + "ceil", "ceiling"),
    Word(TORCH + "lgamma", "loggamma"),
    elementary("digamma"),
    elementary("xlogy"),
    Word(TORCH + "sqrt", "root"),
    *(
        Word(f"{TORCH}special.{name}", name)
        for name in ("erfcx", "i0", "i1", "log_ndtr", "polygamma", "xlog1py", "zeta")
    ),
    Word(function="gamma", of_numbers=True),
    elementary(
        "relu", into=Kernel(TORCH + "clamp_min", ("z", 0)), pullback=backward_kernel("threshold", "a", 0), in_place=True
    ),
    elementary("selu", into=writing_kernel("elu", "z", *SELU), pullback=backward_kernel("elu", *SELU, 1, False, "z")),
    elementary(
        "sigmoid", into=Kernel(TORCH + "sigmoid", ("z",)), pullback=backward_kernel("sigmoid", "a"), in_place=True
    ),
    elementary("sin", into=Kernel(TORCH + "sin", ("z",)), in_place=True, of_numbers=True),
    elementary(
        "tanh",
        into=Kernel(TORCH + "tanh", ("z",)),
        pullback=backward_kernel("tanh", "a"),
        in_place=True,
        of_numbers=True,
    ),
    functional("celu", into=writing_kernel("elu", "z"), pullback=ELU_BACKWARD),
    functional("elu", into=writing_kernel("elu", "z"), pullback=ELU_BACKWARD),
    functional("gelu", into=writing_kernel("gelu", "z"), pullback=backward_kernel("gelu", "z"), whole=True),
    Word(
        FUNCTIONAL + "gelu",
        "gelu_tanh",
        options=tuple(GELU_TANH.items()),
        into=writing_kernel("gelu", "z", **GELU_TANH),
        pullback=backward_kernel("gelu", "z", **GELU_TANH),
    ),
    functional("hardsigmoid", into=writing_kernel("hardsigmoid", "z")),
    functional(
        "hardswish", into=writing_kernel("hardswish", "z"), pullback=Kernel(ATEN + "hardswish_backward.out", ("g", "z"))
    ),
    functional(
        "hardtanh", into=Kernel(TORCH + "clamp", ("z", -1, 1)), pullback=backward_kernel("hardtanh", "z", -1, 1)
    ),
    functional(
        "leaky_relu", into=writing_kernel("leaky_relu", "z"), pullback=backward_kernel("leaky_relu", "z", 0.01, False)
    ),
    functional("logsigmoid", into=writing_kernel("log_sigmoid", "z")),
    functional(
        "mish", into=writing_kernel("mish", "z"), pullback=Kernel(ATEN + "mish_backward.default", ("g", "z"), out="")
    ),
    functional("relu6", into=Kernel(TORCH + "clamp", ("z", 0, 6)), pullback=backward_kernel("hardtanh", "z", 0, 6)),
    functional("silu", into=writing_kernel("silu", "z"), pullback=backward_kernel("silu", "z")),
    functional("softplus", into=writing_kernel("softplus", "z"), pullback=backward_kernel("softplus", "z", 1, 20)),
    functional("softsign"),
    functional("tanhshrink"),
    *(
        Word(TORCH + name)
        for name in (
            *("addcmul", "addmm", "amax", "arange", "clamp", "logsumexp", "maximum", "minimum", "mm"),
            *("mul", "nn.functional.linear", "sqrt", "square", "sub", "where", "zeros_like"),
        )
    ),
    *(
        Word(TORCH + name, lines=OF_MATRICES)
        for name in (
            *("cat", "einsum", "linalg.det", "linalg.inv", "linalg.matrix_power", "linalg.slogdet"),
            *("linalg.solve", "logdet", "nn.functional.pad", "trace"),
        )
    ),
    Word(TORCH + "eye", lines=OF_MATRICES, shaped=True),
    *(Word(name, shaped=True) for name in ("expand", "new_ones", "new_zeros")),
    *(Word(name) for name in ("new_tensor", "sum", "unsqueeze")),
    Word("reshape", lines=OF_MATRICES, shaped=True),
    *(Word(name, lines=ON_BUFFERS) for name in ("add_", "addcmul_", "addmm_", "clone", "copy_", "fill_", "mul_")),
    *(Word(name, lines=ON_BUFFERS, shaped=True) for name in ("new_empty", "view")),
)
FUNCTION_WORDS = {word.function: word for word in WORDS if word.function}


def word(function: str) -> Word:
    """The row of a function; one that says nothing where torch has no word for it."""
    return FUNCTION_WORDS.get(function, Word())
