"""The proof of an emitted package: its source, run at numbers and on symbols, against the scalar loss.

For symbols, the loss is written out here by loops over entries: no matrices. Each pre-activation of each row has a name
in both; the derivative goes forwards through it, from a weight to the loss.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from derive.packages import lost_digits, render
from derive.problems import ANEW, MOST_PROVED, Network, network_of, text_of
from derive.proof.as_written import (
    as_the_template,
    check_imports,
    check_word_for_word,
    first_edit,
    said_of_others,
    texts_of_build,
)
from derive.proof.calls import at_points, functions_of, running
from derive.proof.cases import FAST_ROWS, ROWS_ON_SYMBOLS, Case, Fast, slopes
from derive.proof.certificate import Certificate, Evidence, NotProved, enumeration
from derive.proof.contexts import naming
from derive.proof.grammar import check_grammar
from derive.proof.judge import Claim, Judge
from derive.proof.native import (
    C_SOURCE,
    CALLING,
    DEVICE,
    NATIVE,
    RUNS,
    NamedPair,
    adam_claims,
    compared,
    function_claims,
    lane_claims,
    of_texts,
    program,
    stepped,
)
from derive.proof.rounding import OF_FAST, check_rounding
from derive.proof.source import run_source
from derive.system import OutOfTime, limited, progress

IDENTICAL = "every entry is identical to the scalar loss, or to SymPy's derivative of it"
IN_C = "every entry is identical to what backward.py computes, with the functions of numbers as what their names say"
AS_BACKWARD = "every entry is identical to what backward.py computes"
AS_THE_TEMPLATE = "word for word as the template has them, whose words tests hold"


class TooWide(ValueError):
    """Of a package whose `network` has more weights than can be proved entry by entry."""

    def __init__(self, path: Path, network: Network) -> None:
        super().__init__(
            f"{path}: {network.entries} weights and biases are more than the {MOST_PROVED} that can be proved entry "
            "by entry; build and prove a narrower network, the derivation is the same for any widths"
        )
        self.network = network


def prove(folder: Path, seconds: float | None = None) -> Certificate:
    """The certificate of the package in a folder.

    Raises NotProved with the first entry that fails, or with what is not shown after so many seconds of work, OSError
    or ValueError where there is no such package, TooWide for a large one. Only the main thread can be given a limit.
    """
    path = Path(folder) / "backward.py"
    try:
        source = text_of(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; name the folder of a package that derive.build wrote") from None
    network = network_of(source, path)
    if network.entries > MOST_PROVED:
        raise TooWide(path, network)
    texts = texts_of_build(path.parent)
    sources = {path.with_name(name): texts.pop(name) for name in ("backward.py", "fast.py") if name in texts}
    native = {name: texts[name] for name in (*NATIVE, DEVICE) if name in texts}
    shown: list[Evidence] = []
    left = steps(network, sources, native)
    try:
        with limited(seconds):
            check_imports(path.parent)
            models = render(network, [*(file.name for file in sources), *texts])
            for file, text in sources.items():
                check_grammar(text, models[file.name], str(file))
            for name, text in texts.items():
                check_word_for_word(text, models[name], path.with_name(name))
            derived = {file: models[file.name] for file in sources}
            as_derived = all(same_lines(text, derived[file]) for file, text in sources.items())
            if not as_derived:
                left["what edited lines lose to rounding"] = check_rounding(network, sources, derived)
            for what, step in progress(list(left.items()), "steps of the proof", len(left)):
                try:
                    shown += step
                    if not as_derived:
                        check_decided(shown, f"{path.parent}: {what}")
                except NotProved as error:
                    raise NotProved(f"{error}{first_edit(sources, models)}") from error
                del left[what]
    except OutOfTime:
        raise NotProved(f"{path.parent}: not shown within {seconds} seconds of work: {enumeration(left)}") from None
    shown += [Evidence(file.name, as_the_template(text), AS_THE_TEMPLATE) for file, text in sources.items()]
    package = path.parent.resolve().name
    return Certificate(
        subject=f"the package {package}, {network}",
        about={"package": package, "network": network.spec()},
        shown=tuple(shown),
        sha256={
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in {**{file.name: text for file, text in sources.items()}, **native}.items()
        },
        unproved=said_of_others(path.parent, {file.name for file in sources}),
        digits=tuple(lost_digits(network)),
    )


def same_lines(source: str, other: str) -> bool:
    """Whether two sources are the same but for comments and spaces."""
    return ast.dump(ast.parse(source)) == ast.dump(ast.parse(other))


def check_decided(shown: list[Evidence], where: str) -> None:
    """Raises NotProved where entries only agree at points: what an edited line adds may be small there alone."""
    if agreeing := sum(part.checked for part in shown):
        raise NotProved(
            f"{where}: {agreeing} entries agree at random points and are not decided, which is not enough where a "
            f"line is not as it is derived; {ANEW}"
        )


def steps(network: Network, sources: dict[Path, str], native: dict[str, str]) -> dict[str, Iterator[Evidence]]:
    """What there is to show, at numbers first, where what is wrong is seen in seconds; each when it is asked for."""
    (path, source), *others = sources.items()
    judge = Judge()
    return {
        "every function at points": at_points(network, sources),
        f"value_and_grad of {path.name} on symbols": gradient_on_symbols(network, path, source, judge),
        f"the other functions of {path.name} on symbols": others_on_symbols(network, path, source),
        **{f"{b.name} on symbols": fast_on_symbols(network, path, source, b, fast, judge) for b, fast in others},
        **{what: step for _, fast in others for what, step in in_c(network, path, source, fast, native)},
    }


def gradient_on_symbols(network: Network, path: Path, source: str, judge: Judge) -> Iterator[Evidence]:
    decided = Counter({False: judge.establish(slopes(network), str(path))[False]})
    for rows in ROWS_ON_SYMBOLS:
        claims = Case(network, source, path, rows, judge.sums).gradient()
        decided += judge.establish(claims, f"{path} with N = {rows}", network.entries + 1)
    yield on_symbols(path, ("value_and_grad",), IDENTICAL, network, ROWS_ON_SYMBOLS, decided)


def others_on_symbols(network: Network, path: Path, source: str) -> Iterator[Evidence]:
    judge = Judge()
    narrow = Case(network.narrowed(), source, path, ROWS_ON_SYMBOLS[-1], judge.sums)
    decided = judge.establish(narrow.others(), str(path), narrow.count)
    functions = tuple(name for name in functions_of(network) if name != "value_and_grad")
    yield on_symbols(path, functions, IDENTICAL, narrow.network, ROWS_ON_SYMBOLS[-1:], decided)


def fast_on_symbols(
    network: Network, path: Path, source: str, beside: Path, fast: str, judge: Judge
) -> Iterator[Evidence]:
    cases = (Fast(network, source, path, rows, judge.sums, fast) for rows in FAST_ROWS)
    claims = (claim for case in cases for claim in case.claims())
    decided = judge.establish(claims, str(beside), Fast.entries(network))
    yield on_symbols(beside, OF_FAST, AS_BACKWARD, network, FAST_ROWS, decided)


def in_c(
    network: Network, path: Path, source: str, fast: str, native: dict[str, str]
) -> Iterator[tuple[str, Iterator[Evidence]]]:
    """What there is to show of the files in C; fast.py says what lies where in a flat vector."""
    if {*NATIVE} & {*native}:
        yield f"{C_SOURCE} on symbols", c_on_symbols(network, path, source, fast, native)
    if DEVICE in native:
        yield f"{DEVICE} on symbols", device_on_symbols(network, path, source, fast, native[DEVICE])


def c_on_symbols(network: Network, path: Path, source: str, fast: str, native: dict[str, str]) -> Iterator[Evidence]:
    """network.c, against backward.py beside it."""
    judge, where = Judge(), path.with_name(C_SOURCE)
    for missing in set(NATIVE) - set(native):
        raise NotProved(f"{path.with_name(missing)}: no such file; {' and '.join(NATIVE)} belong together")
    with running(str(where)):
        decided = judge.establish([*lane_claims(native), *function_claims(program(native, 1))], str(where))
    for rows, lanes in RUNS:
        case = Case(network, source, path, rows, judge.sums)
        decided += judge.establish(beside_backward(case, fast, where, partial(compared, native, lanes)), str(where))
    yield on_symbols(where, CALLING, IN_C, network, tuple(rows for rows, _ in RUNS), decided)


def device_on_symbols(network: Network, path: Path, source: str, fast: str, device: str) -> Iterator[Evidence]:
    """device.h, against backward.py beside it: two rows, one after the other, and the step that they make."""
    judge, where = Judge(), path.with_name(DEVICE)
    with running(str(where)):
        decided = judge.establish([*function_claims(of_texts(device, "", 1)), *adam_claims(device)], str(where))
    case = Case(network, source, path, 2, judge.sums)
    decided += judge.establish(beside_backward(case, fast, where, partial(stepped, device)), str(where))
    yield on_symbols(where, ("sgd_step", "adam_step"), IN_C, network, (2,), decided)


def beside_backward(case: Case, fast: str, where: Path, run: Callable[..., list[NamedPair]]) -> Iterator[Claim]:
    """What a run of C computes, and what backward.py does: both are called with its namespace and that of fast.py."""
    losses = case.row_losses(case.x, case.y)
    case.where = where
    case.name_slopes([*losses, *map(case.along, losses)])
    with running(str(where)), naming(case.sums.recognised):
        backward = run_source(case.source, str(case.path))
        pairs = run(case, backward, run_source(fast, str(case.path), {"backward": backward}))
    yield from (claim for pair in pairs for claim in case.each(*pair))


def on_symbols(
    path: Path, functions: tuple[str, ...], how: str, network: Network, rows: tuple[int, ...], decided: Counter[bool]
) -> Evidence:
    """What the judge has decided, and of how many entries not to the end."""
    if decided[False]:
        how += f", but for {decided[False]} that agree at random points and are not decided"
    return Evidence(path.name, functions, how, network.layers, rows, decided[True], decided[False])
