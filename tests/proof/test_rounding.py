"""Lines that are identical to the gradient but lose it to rounding are refused, and no other edit is for that."""

from pathlib import Path

import pytest
import sympy
import torch

from derive.packages import render
from derive.problems.network import Network
from derive.proof import NotProved
from derive.proof.networks import prove
from derive.proof.rounding import check_rounding, rounded
from derive.system import write_package

PLAIN, SOFTMAX = Network((2, 3, 1)), Network((2, 3, 3), loss="cross_entropy")
LOSING = {
    "a large number": (PLAIN, "backward.py", "2 * (z2 - y)", "2 * (z2 + 1e9 - 1e9 - y)", "loses"),
    "a large number in one function": (PLAIN, "fast.py", "sub(z2, y, out", "sub(z2 + 1e9, y + 1e9, out", "loses"),
    "a number that Python adds": (PLAIN, "fast.py", "sub(z2, y, out", "sub(z2 * (1e16 + 1 - 1e16), y, out", "loses"),
    "a tenth": (PLAIN, "backward.py", "delta1 @ W1", "delta1 @ W1 + (x * 0.1 - x / 10) * 1e8", "loses"),
    "a number that no float32 is": (PLAIN, "backward.py", "2 * (z2 - y)", "2 * (z2 - y) / 1e39 * 1e39", "is no number"),
    "digits of small gradients": (PLAIN, "backward.py", "delta1 @ W1", "delta1 @ W1 + 1 - 1", "loses"),
    "digits of one layer": (PLAIN, "backward.py", "delta1.sum(0)", "delta1.sum(0) + 1 - 1", "loses"),
    "a power in between where targets are large": (
        PLAIN,
        "fast.py",
        "sub(z2, y, out",
        "sub(z2 * 1e30 / 1e30, y * 1e30 / 1e30, out",
        "is no number",
    ),
    "digits of large logits": (SOFTMAX, "backward.py", "u1 = z2 - max1", "u1 = z2 - max1 * 0", "loses"),
    "the largest of a row left": (SOFTMAX, "fast.py", "copy_(amax(z2,", "copy_(amax(z2 - z2,", "is no number"),
    "a power in between": (PLAIN, "backward.py", "2 * (z2 - y)", "2 * (z2 * 1e38 - y * 1e38) / 1e38", "is no number"),
    "two zeros where data are": (PLAIN, "fast.py", "addmm_(x_one,", "addmm_(x_one * x_one / x_one,", "is no number"),
    "two zeros where targets are": (
        PLAIN,
        "backward.py",
        "2 * (z2 - y)",
        "2 * (z2 - y) ** 2 / (z2 - y)",
        "is no number",
    ),
    "two zeros at 1": (
        PLAIN,
        "backward.py",
        "delta1.T @ x",
        "delta1.T @ (x * (x - 1) / (x - 1))",
        "is no number",
    ),
}
HARMLESS = {
    "numbers that Python adds": (PLAIN, "backward.py", "2 * (z2 - y)", "(0.1 + 0.3) * 5 * (z2 - y)"),
    "multiplied out": (PLAIN, "backward.py", "2 * (z2 - y)", "2 * z2 - 2 * y"),
    "in another order": (PLAIN, "backward.py", "= grad_a1 * (one - a1) * a1", "= a1 * (one - a1) * grad_a1"),
}


def edited(network, name, before, after):
    """The two sources with an edit, and as they are derived."""
    texts = render(network, ["backward.py", "fast.py"])
    assert before in texts[name]
    derived = {Path(file): text for file, text in texts.items()}
    return derived | {Path(name): texts[name].replace(before, after)}, derived


@pytest.mark.parametrize("edit", LOSING)
def test_an_edit_that_loses_digits_is_refused(edit):
    network, *change, reason = LOSING[edit]
    with pytest.raises(NotProved, match=rf"^{change[0]}: \w+: {reason}"):
        list(check_rounding(network, *edited(network, *change)))


@pytest.mark.parametrize("edit", HARMLESS)
def test_an_edit_that_loses_no_more_is_said_to(edit):
    network, *change = HARMLESS[edit]
    assert [part.file for part in check_rounding(network, *edited(network, *change))] == ["backward.py", "fast.py"]


def test_the_proof_of_an_edited_package_follows_its_rounding(tmp_path):
    sources, _ = edited(*LOSING["a large number"][:-1])
    write_package(tmp_path / "own", render(PLAIN) | {str(path): text for path, text in sources.items()})
    with pytest.raises(NotProved, match=r"value_and_grad: loses to rounding.*backward\.py:\d+ is the first line"):
        prove(tmp_path / "own")


@pytest.mark.parametrize("number", [0.1, -3e38, 3.5e38, 1e-46, 1e-30, 1 + 2**-24, 1 + 3 * 2**-24])
def test_numbers_are_rounded_as_torch_rounds_them(number):
    held = torch.tensor(number, dtype=torch.float64).float().item()
    ours = rounded(sympy.Float(number, 30))
    assert (ours is sympy.nan) if held == float("inf") else float(ours) == held
