"""The proof holds for network.c as it is emitted, and for nothing that is nearly it."""

from functools import cache

import pytest

from derive.packages.emit import render
from derive.problems.network import Network
from derive.proof import NotProved
from derive.proof.native import DEVICE, NATIVE, run_native
from derive.proof.networks import c_on_symbols, device_on_symbols, prove

FILES = ["backward.py", "fast.py", *NATIVE]
SMALL = Network((2, 2, 1), reduction="mean")
TILED = Network((1, 4, 2, 1), "relu")
MUTANTS = {
    "swapped strides": ("sum[i] += M[i * row + j * column]", "sum[i] += M[i * column + j * row]"),
    "swapped strides of one row": ("sum += M[i * row + j * column]", "sum += M[i * column + j * row]"),
    "1 + a for 1 - a": ("(1 - a1[k])", "(1 + a1[k])"),
    "a factor": ("delta1[k] = grad_a1", "delta1[k] = 2 * grad_a1"),
    "lanes added to themselves": ("sum_of_2(s) + sum_of_2(s + 2)", "sum_of_2(s) + sum_of_2(s)"),
    "a lane that is left out": ("{ return s[0] + s[1]; }", "{ return s[0]; }"),
    "lanes of others": ("sums + k * side)", "sums + k)"),
    "a total that forgets": ("totals[k] += sum_of", "totals[k] = sum_of"),
    "a part that forgets": ("totals[k] += work->part[k]", "totals[k] = work->part[k]"),
    "a part that others have too": ("y + n * OUTPUTS, part(N - n)", "y + n * OUTPUTS, N - n"),
    "a part of other rows": ("x + n * INPUTS, y + n * OUTPUTS, part", "x, y + n * OUTPUTS, part"),
    "a sum that forgets": ("g[i * SIDE + l] += d", "g[i * SIDE + l] = d"),
    "one row that forgets": ("G[i * row + j * column] += d[i]", "G[i * row + j * column] = d[i]"),
    "blocks that forget": ("sum[i][j] = AT(G + (i * row + j * column) * WIDE)", "sum[i][j] = (lanes){0}"),
    "a row left out": ("n += rows;\n        }", "n += rows + 1;\n        }"),
    "no end": ("n += rows;\n        }", "n += 0;\n        }"),
    "memory that is not set": ("W1, b1, 0, x, z1", "W1, b1, 1, x, z1"),
    "another place": ("const real *const W2 = parameters + 6", "const real *const W2 = parameters + 5"),
    "outside": ("to + 0 * N", "to + 100 * N"),
    "a number before the vectors": ("each_product_of(0, r, d, a, to)", "each_product_of(0, r, d, NULL, to)"),
    "a vector at another place": ("stream(to + r, product)", "stream(to + r - 1, product)"),
    "what is behind the vectors": ("each_product_of(r, rows, d", "each_product_of(r, rows - 1, d"),
    "more numbers before the vectors than rows": ("ahead < rows ? ahead : rows", "ahead < rows ? rows : ahead"),
    "more lanes than there are": ("(ENTRIES + 1) * side; k++", "(ENTRIES + 1) * (side + 1); k++"),
    "another of the numbers beside the vectors": ("a ? d[r] * a[r] : d[r]", "a ? d[0] * a[r] : d[r]"),
    "the tangent's factor": ("dot_z1[k] * (1", "dot_z1[k] * (2"),
    "an input that is written into": ("columns(2, rows, stride, x_rows, x)", "columns(2, rows, stride, x, x_rows)"),
    "a sum of whole numbers": ("real sum = add ?", "int sum = add ?"),
    "an entry that loses its fraction": ("a1[k] = sigmoid_of(z1[k])", "a1[k] = (int)sigmoid_of(z1[k])"),
    "no number for a number": ("a1[k] = sigmoid_of(z1[k])", "a1[k] = !sigmoid_of(z1[k])"),
    "a pointer of another kind": ("const real *const x_rows", "const lanes *const x_rows"),
    "a number to the base of eight": ("delta1[k] = grad_a1", "delta1[k] = (017 - 16) * grad_a1"),
    "a comment that ends in another line": ("/* a1:", "/* *\\\n/ z1[0] = 0; /* a1:"),
    "a line that is none": ("#define OFTEN (", "#define OFTEN \f z1[0] = 0; ("),
    "memory that is promised to be another": (
        "multiply(2, 2, 1, 2, rows, stride, W1, b1, 0, x, z1)",
        "multiply(2, 2, 1, 2, rows, stride, W1, b1, 0, x, x)",
    ),
    "a bracket that nothing closes": ("a1[k] = sigmoid_of(z1[k]);", "a1[k] = sigmoid_of(z1[k];"),
    "a word that C has and we have not": ("long n = 0; n < N;", "long n = 0; n < N & 7;"),
}
OF_TILES = {
    "what is left of other weights": ("M + done * row", "M + row"),
    "what is left with other biases": ("start ? start + done : start", "start"),
    "tiles that are all computed again": ("TILE, done = features - last", "TILE, done = 0"),
    "what is left of other features": ("stride, d + done * stride, a, G", "stride, d, a, G"),
    "what is left in another place": ("G + done * row * WIDE)", "G + done * column * WIDE)"),
}
UNREACHED = {  # by a run on symbols
    "a function of numbers": ("(1 + e) * power_of_2", "(1 - e) * power_of_2"),
    "a coefficient": ("p = p * t + 0.16666", "p = p * t + 0.16667"),
    "a word of another processor": ("#define BYTES 64", "#define BYTES 8"),
    "a type": ("typedef int32_t whole", "typedef int16_t whole"),
    "a parameter's type": ("const int some, const int others", "const char some, const int others"),
    "a branch that a few rows do not take": (
        "G[i * row + j * column] += d",
        "G[i * row + j * column] += rows > 8 ? 0 : d",
    ),
}

PENALIZED = Network((1, 2, 1), "elu", loss="huber_loss", penalty="0.05*w**2")
OF_PENALTIES = {
    "no penalty": ("    NETWORK(penalty)(parameters, work->totals);\n", ""),
    "a penalty for each part": ("totals[ENTRIES] += work->part[ENTRIES];", "NETWORK(penalty)(parameters, totals);"),
    "no curvature": ("    NETWORK(penalty_hvp)(parameters, direction, work->totals);\n", ""),
    "a penalty on a bias": ("k < 2; k++) {\n        /* penalty1", "k < 4; k++) {\n        /* penalty1"),
    "a slope": ("+= W1[k] / 10", "+= W1[k] / 20"),
    "a curvature": ("+= dot_W2[k] / 10", "+= dot_W2[k] / 5"),
    "a tangent, where a curvature has impulses": ("dot_z1[k] * exp1", "dot_z1[k] - exp1"),
    "another weight": ("= square_of(W2[k]) / 20", "= square_of(W2[0]) / 20"),
}
WITH_ANGLES = Network((1, 1, 1), "sin(z) - cos(2 * z)")
OF_ANGLES = {
    "another function of far ones": (" = sin_of", " = cos_of"),
    "another function of near ones": (" = near_sin_of", " = near_cos_of"),
    "another angle": ("near_cos_of(2 * z1[k])", "near_cos_of(z1[k])"),
}
WITH_ERFC = Network((1, 1, 1), "gelu")
OF_SHARED_VALUES = {
    "another exp": ("exp_of_square(-(real)1 / 2, z1[k])", "exp_of_square(-1, z1[k])"),
    "erfc by another exp": (", exp1[k])", ", square_of(exp1[k]))"),
    "erfc of another number by its exp": ("erfc_by(-number1", "erfc_by(number1"),
    "another function's value": ("z1[k] * erfc1[k] / 2", "z1[k] * exp1[k] / 2"),
}
SELDOM = {"what is left with other biases", "tiles that are all computed again", "what is left of other features"}
SLIPS = [
    pytest.param(network, change, id=name, marks=[pytest.mark.slow] * (name in SELDOM))
    for network, table in (
        (SMALL, MUTANTS),
        (TILED, OF_TILES),
        (PENALIZED, OF_PENALTIES),
        (WITH_ANGLES, OF_ANGLES),
        (WITH_ERFC, OF_SHARED_VALUES),
    )
    for name, change in table.items()
]


@cache
def package_of(network: Network) -> dict[str, str]:
    return render(network, FILES)


def shown(network: Network, folder, source: str = ""):
    package = package_of(network)
    native = {name: package[name] for name in NATIVE} | ({"network.c": source} if source else {})
    (found,) = c_on_symbols(network, folder / "backward.py", package["backward.py"], package["fast.py"], native)
    return found


def test_what_is_emitted_is_proved(tmp_path):
    found = shown(SMALL, tmp_path)
    assert (found.entries, found.checked) == (5 + 2 + (2 + 2 + 2 + 7) * SMALL.entries, 0)


@pytest.mark.parametrize(
    "network",
    [
        Network((2, 2, 2), "gelu", loss="cross_entropy", reduction="mean"),
        PENALIZED,
        Network((1, 1, 1), "log(1 + erf(z))"),
        Network((2, 2, 2, 1), ("tanh", "sqrt(1 + z**2)"), skip=((0, 2),)),
        WITH_ANGLES,
        WITH_ERFC,
    ],
    ids=str,
)
def test_other_networks_are_proved(network, tmp_path):
    assert shown(network, tmp_path).checked == 0


@pytest.mark.parametrize(("network", "change"), SLIPS)
def test_a_mutant_is_rejected(network, change, tmp_path):
    before, after = change
    source = package_of(network)["network.c"]
    assert before in source
    with pytest.raises(NotProved, match=r"network\.c"):
        shown(network, tmp_path, source.replace(before, after))


def test_where_restrict_is_written_two_pointers_do_not_reach_one_number(tmp_path):
    network = Network((1, 1, 1))  # where all is right if it is computed in order
    source = package_of(network)["network.c"]
    places = [f"real *const {name} = matrices + {place} * stride" for name, place in (("grad_a1", 6), ("grad_a1", 5))]
    assert places[0] in source and "real *const delta2 = matrices + 5 * stride" in source
    with pytest.raises(NotProved, match="in and out are restrict, and both reach"):
        shown(network, tmp_path, source.replace(*places))


@pytest.mark.parametrize("mutant", UNREACHED)
def test_what_a_run_does_not_reach_is_as_it_is_emitted(mutant, tmp_path):
    (before, after), package = UNREACHED[mutant], package_of(SMALL)
    assert before in package["network.c"] + package["network.h"]
    (tmp_path / "__init__.py").touch()
    for name, text in package.items():
        (tmp_path / name).write_text(text.replace(before, after, 1) if name in NATIVE else text)
    with pytest.raises(NotProved, match=r"network\.c:\d+: not as it is emitted: "):
        prove(tmp_path)


def test_a_constant_is_what_stands_beside_it():
    texts = package_of(WITH_ERFC)
    wrong = texts["network.c"].replace("= 1.41421356237309", "= 1.41421356237319")
    assert wrong != texts["network.c"]
    with pytest.raises(NotProved, match=r"number\d+ is 1\.41421356237319\d+, and not sqrt\(2\)"):
        run_native(texts | {"network.c": wrong}, 2, 1, {}, 4)


def test_a_package_with_one_of_the_two_files_is_not_proved(tmp_path):
    (tmp_path / "__init__.py").touch()
    for name, text in package_of(SMALL).items():
        if name != "network.h":
            (tmp_path / name).write_text(text)
    with pytest.raises(NotProved, match=r"network\.h: no such file; network\.h and network\.c belong together"):
        prove(tmp_path)


OF_DEVICES = {
    "swapped strides": ("sum += M[i * row + j * column]", "sum += M[i * column + j * row]"),
    "1 + a for 1 - a": ("(1 - a1[k])", "(1 + a1[k])"),
    "a row that forgets": ("G[i * row + j * column] += d[i]", "G[i * row + j * column] = d[i]"),
    "a bias that forgets": ("g[i] += d[k]", "g[i] = d[k]"),
    "a loss that forgets": ("*sum += e[k]", "*sum = e[k]"),
    "a gradient of the step before": ("k <= ENTRIES; k++) sums[k] = 0", "k < ENTRIES; k++) sums[k] = 0"),
    "other rows": ("x + n * INPUTS", "x"),
    "a mean over one row": ("y + n * OUTPUTS, (real)N", "y + n * OUTPUTS, (real)1"),
    "a step uphill": ("state->parameters[k] -= rate", "state->parameters[k] += rate"),
    "a step of all but one": ("k < ENTRIES; k++) state->parameters", "k < ENTRIES - 1; k++) state->parameters"),
    "another place": ("const real *const W2 = parameters + 6", "const real *const W2 = parameters + 5"),
    "outside": ("matrices + 0 * stride", "matrices + 900 * stride"),
    "another square": ("square_of(real x) { return x * x; }", "square_of(real x) { return x * x * x; }"),
    "Adam without its square": ("(g * g - state->squares[k])", "(g - state->squares[k])"),
    "Adam that keeps less": ("keep = 0.9f", "keep = 0.8f"),
    "Adam with a bias": ("step = rate / state->mean_weight", "step = rate"),
    "Adam with a bias of its squares": (
        "(sqrt_of(state->squares[k]) / scale + small)",
        "(sqrt_of(state->squares[k]) + small)",
    ),
    "Adam uphill": ("state->sgd.parameters[k] -= step", "state->sgd.parameters[k] += step"),
    "Adam that forgets": ("state->means[k] +=", "state->means[k] ="),
    "Adam that adapts the mean alone": (
        "state->square_weight += (1 - keep_square)",
        "state->square_weight += (1 - keep)",
    ),
}
OF_FUNCTIONS = {
    "another function": ("z >= 0 ? z : expm1_of(z)", "z >= 0 ? z : expm1_of(2 * z)"),
    "a comparison that emitted code has not": ("z >= 0 ? z : expm1_of(z)", "z != 0 ? z : expm1_of(z)"),
}


@cache
def device_of(network: Network) -> dict[str, str]:
    return render(network, ["backward.py", "fast.py", DEVICE])


def stepped(network: Network, package: dict[str, str], folder, device: str):
    (found,) = device_on_symbols(network, folder / "backward.py", package["backward.py"], package["fast.py"], device)
    return found


@pytest.mark.parametrize(
    ("network", "change"),
    [
        pytest.param(network, change, id=name)
        for network, table in ((SMALL, OF_DEVICES), (PENALIZED, OF_FUNCTIONS))
        for name, change in table.items()
    ],
)
def test_a_mutant_of_a_step_is_rejected(network, change, tmp_path):
    before, after = change
    device = device_of(network)
    assert before in device[DEVICE]
    with pytest.raises(NotProved, match=r"device\.h|network\.c"):
        stepped(network, device, tmp_path, device[DEVICE].replace(before, after))


@pytest.mark.parametrize("network", [SMALL, Network((2, 2, 2), "gelu", loss="cross_entropy"), PENALIZED], ids=str)
def test_a_step_of_a_device_is_proved(network, tmp_path):
    package = device_of(network)
    found = stepped(network, package, tmp_path, package[DEVICE])
    assert (found.functions, found.checked) == (
        ("sgd_step", "adam_step"),
        0,
    ) and found.entries >= 2 + 2 * network.entries


def test_a_device_is_word_for_word_what_is_emitted(tmp_path):
    (tmp_path / "__init__.py").touch()
    for name, text in device_of(SMALL).items():
        (tmp_path / name).write_text(text.replace("keep = 0.9f", "keep = 0.8f"))
    with pytest.raises(NotProved, match=r"device\.h:\d+: not as it is emitted: "):
        prove(tmp_path)
