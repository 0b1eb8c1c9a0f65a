"""Exercises: what is right is found right however it is written, and slips are named; nothing that is read is run."""

import pytest

from derive.exercise import main
from derive.exercises import Examiner, exercise_sheet, filled_lines
from derive.exercises.sheet import BLANK
from derive.problems.network import Network

NETWORKS = {
    "default": Network(),
    "one layer": Network((3, 2), loss="huber_loss"),
    "cross entropy": Network((4, 5, 3), "relu", loss="cross_entropy", reduction="mean"),
    "a formula": Network((2, 3, 1), "z*sigmoid(z)", loss="abs(p - y)**3"),
    "a penalty, a skip": Network((2, 4, 4, 1), "tanh", penalty="0.05*w**2", skip=((1, 2),)),
    "no biases": Network((3, 4, 2), "tanh", bias="none"),
    "a mean over three outputs": Network((2, 2, 3), "softplus", reduction="mean"),
    "two bounds": Network((2, 2, 1), "hardtanh"),
    "two numbers": Network((2, 2), loss="max(0.3*(y - p), -0.7*(y - p))"),
}
WRONG = {  # ten slips in the lines of the default network: what stands there, and what has to be said of it
    "delta3": ("z3 - y", "the factor 2 is left out"),
    "grad_W3": ("a2.T @ delta3", "it is transposed"),
    "grad_b3": ("delta3", "has shape (N, 1) where it is (1,); the sum over the points is left out"),
    "grad_a2": ("delta3 @ W3.T", "W3 is (1, 10), delta3 is (N, 1)"),
    "delta2": ("grad_a2 * (1 - z2) * z2", "the slope of sigmoid, which is written in a2, is taken at z2"),
    "grad_W2": ("delta2.T @ a2", "a2 stands where a1 belongs"),
    "grad_b2": ("delta2.sum(1)", "has shape (N,) where it is (10,)"),
    "grad_a1": ("delta2 @ W2.T", "W2.T stands where W2 belongs"),
    "delta1": ("grad_a1", "the slope of sigmoid is left out"),
    "grad_W1": ("delta1.T @ x / N", "it is divided by the number of points"),
}
RIGHT = {  # other ways to write the same
    "delta3": "(z3 - y) * 2.0",
    "grad_W3": "(a2.T @ delta3).T",
    "grad_b3": "torch.sum(delta3, dim=0)",
    "grad_a2": "torch.mm(W3.t(), delta3.T).T",
    "delta2": "torch.sigmoid(z2) * (1 - torch.sigmoid(z2)) * grad_a2",
    "grad_W2": "(grad_a2 * a2 - grad_a2 * a2**2).T @ a1",
    "grad_b2": "(2 * delta2).sum(axis=0) / 2",
    "grad_a1": "(W2.T @ delta2.T).mT",
    "delta1": "(a1 - a1 * a1) * grad_a1",
    "grad_W1": "delta1.T @ x",
    "grad_b1": "(delta1.T @ (0 * x[0] + 1)).sum(0)",
}


def verdicts(network, lines: dict[str, str]) -> dict[str, tuple[bool, str]]:
    return {a.name: (a.right, a.words) for a in Examiner(network).answers(lines)}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_what_is_emitted_is_right_and_gaps_are_named(network):
    sheets = [exercise_sheet(network, solved=solved) for solved in (True, False)]
    assert all(text.endswith("\n```\n") for text in sheets)
    solved, sheet = map(filled_lines, sheets)
    assert all(right for right, _ in verdicts(network, solved).values())
    asked = {name for name, text in sheet.items() if BLANK in text}
    found = verdicts(network, sheet)
    assert asked == set(found)
    assert all(words == "is not filled in" for _, words in found.values())


def test_slips_are_named():
    solved = filled_lines(exercise_sheet(Network(), solved=True))
    found = verdicts(Network(), solved | {name: text for name, (text, _) in WRONG.items()})
    for name, (_, words) in WRONG.items():
        assert not found[name][0]
        assert words in found[name][1], found[name]
    assert found["grad_b1"] == (True, "")


SPELLINGS = {  # of delta3.T @ a2, a sum over the points, delta3 @ W3, as people write them
    "grad_W3": (
        *("torch.einsum('ni,nj->ij', delta3, a2)", "delta3.transpose(0, 1) @ a2", "torch.transpose(delta3, 0, 1) @ a2"),
        *("delta3.permute(1, 0) @ a2", "(delta3[:, :, None] * a2[:, None, :]).sum(0)", "np.dot(delta3.T, a2)"),
        *("(delta3.unsqueeze(2) * a2.unsqueeze(1)).sum(0)", "delta3.swapaxes(0, 1) @ a2", "delta3.T.dot(a2)"),
    ),
    "grad_b3": (
        *("torch.ones(N) @ delta3", "torch.ones((1, N)) @ delta3", "sum(delta3)", "torch.einsum('nj->j', delta3)"),
        *("delta3.sum(0, keepdim=True)", "torch.ones_like(delta3).T @ delta3", "len(x) * delta3.mean(0)"),
        *("torch.ones(x.shape[0]) @ delta3", "delta3.T @ torch.ones(x.size(0))"),
    ),
    "grad_a2": ("torch.einsum('ni,ij->nj', (delta3, W3))", "F.linear(delta3, W3.T)"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_right_answer_is_right_however_it_is_written(name):
    examiner = Examiner(Network((2, 5, 4, 1)))
    for text in SPELLINGS[name]:
        assert {a.words for a in examiner.answers({name: text}) if a.name == name} == {""}, text


BEYOND = {  # of a relu, a softmax and a mean over three outputs: what is right, and what is wrong
    "delta1": (
        (
            "grad_a1 * (z1 > 0)",
            "(a1 > 0).float() * grad_a1",
            "grad_a1 * torch.sign(a1)",
            "torch.where(a1 > 0, grad_a1, 0)",
            "grad_a1 * (x @ W1.T + b1 > 0)",
            "torch.where(z1 > 0, grad_a1, torch.zeros_like(z1))",
        ),
        (
            *("grad_a1 * (z1 >= 0)", "grad_a1 * (z1 > 1e-9)", "torch.relu(grad_a1)"),
            "grad_a1 * (x @ W1.T + b1 >= 0)",
        ),
    ),
    "delta2": (
        (
            "2 * (a1 @ W2.T + b2 - y) / (3 * N)",
            "2 * (z2 - y) / (3 * N)",
            "(z2 - y) / 1.5 / len(x)",
            "2 * abs(z2 - y) * torch.sign(z2 - y) / y.numel()",
        ),
        ("2 * (z2 - y) / (2 * N)", "(z2 - y) / 3", "4 * (z2 - y) / (3 * N * N)", "2 * (z2 - y) / (3 * N) + 1e-30"),
    ),
    "softmax": (
        ("(torch.softmax(z2, 1) - y) / N", "(torch.exp(z2) / torch.exp(z2).sum(1, keepdim=True) - y) / N"),
        ("(torch.softmax(z2, 0) - y) / N", "(torch.softmax(z2, 1) - y) / 2"),
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_right_at_the_sizes_of_the_proof_alone_is_wrong(name):
    """And what has branches, or is of a row, is right in the words of torch."""
    coupled = {"loss": "cross_entropy"} if name == "softmax" else {}
    examiner = Examiner(Network((2, 3, 3), "relu", reduction="mean", **coupled))
    name = "delta2" if coupled else name
    for texts, right in zip(BEYOND["softmax" if coupled else name], (True, False), strict=True):
        for text in texts:
            assert {a.right for a in examiner.answers({name: text}) if a.name == name} == {right}, text


@pytest.mark.parametrize("text", ["torch.log(y)", "torch.sqrt(y) - y"])
def test_what_has_a_value_for_targets_alone_is_wrong_in_words(text):
    """Those of cross_entropy are positive; the prover's numbers are not."""
    right, words = verdicts(Network((2, 3, 3), "tanh", loss="cross_entropy"), {"delta2": text})["delta2"]
    assert not right and words.startswith("differs: ")


def test_a_square_matrix_that_is_merely_wrong_is_not_called_transposed():
    examiner = Examiner(Network((2, 3, 3, 1)))
    for text, transposed in (("a1.T @ delta2", True), ("delta2.T @ a1 + W2", False)):
        (words,) = (answer.words for answer in examiner.answers({"grad_W2": text}) if answer.name == "grad_W2")
        assert ("transposed" in words) == transposed, words


def test_what_is_the_same_is_right():
    found = verdicts(Network(), RIGHT)
    assert {name for name, (right, _) in found.items() if not right} == {"grad_b1"}
    assert "x[0] is not read here" in found["grad_b1"][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grad_b3", "grad_b3 is not known yet"),
        ("delta4", "delta4 is no name here; there are x, y, W1"),
        ("__import__('os').system('true')", "is no function that is known here"),
        ("delta3.__class__", "is not read here"),
        ("delta3 @", "cannot be read"),
        ("", "is not filled in"),
        (r"\Delta_3 W_3", "code is read here, as A.T @ B"),
        ("torch.einsum('ni,nj->nij', delta3, a2)", "the sum over the points is left out"),
        ("torch.einsum('ab,cd,ef,gh->abcdefgh', a1, a1, a1, a1)", "cannot be computed"),
        ("torch.ones(10 ** 9, 10 ** 9)", "cannot be computed"),
        ("a1[::2, 0]", "is not read as an index here"),
        ("(delta3.T @ a2).sum(0, keepdim=True).T", "has shape (10, 1) where it is (1, 10); it is transposed"),
        ("delta3.mean(0) @ W3", "has shape (10,) where it is (1, 10)"),
        ("torch.load('x')", "torch.load is no function"),
        ("3 * 'a'", "is not read here"),
        ("((" * 400 + "))" * 400, "cannot be read"),
        ("delta3 ** (10 ** 10)", "powers up to 64"),
        ("W3 / 0", "is not finite"),
        ("torch.xlogy(W3, -torch.exp(W3))", "is not finite"),
        ("2(z3 - y)", "2(z3 - y): a * is missing between two factors"),
        ("(z3 - y)(a2)", "a * is missing between two factors"),
        ("z3 (a2)", "a * is missing between two factors"),
        ("2z3", "a * is missing between two factors"),
        ("delta3.T a2", "a * is missing between two factors, or a @ between matrices"),
    ],
)
def test_what_is_no_answer_is_said_in_a_line(text, words):
    right, said = verdicts(Network(), {"grad_W3": text})["grad_W3"]
    assert not right
    assert said
    assert "\n" not in said
    assert words in said


def test_the_command(tmp_path, capsys):
    settings = tmp_path / "net.toml"
    settings.write_text('layers = [2, 3, 1]\nactivation = "tanh"\n')
    assert main([str(settings)]) == 0
    sheet = capsys.readouterr().out
    assert sheet.count(BLANK) == 1 + sheet.count("## B")
    assert f"`python -m derive.exercise {settings} --check FILE`" in sheet
    assert main([str(settings), "--answers"]) == 0
    filled = tmp_path / "filled.md"
    filled.write_text(capsys.readouterr().out)
    assert main([str(settings), "--check", str(filled)]) == 0
    *said, last = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in said] == [["right"]] * 7
    assert last == "7 of 7 are right"
    filled.write_text(sheet)
    assert main([str(settings), "--check", str(filled)]) == 1
    assert "  B1  delta2     is not filled in" in capsys.readouterr().out.splitlines()
    assert main([str(settings), "--check", str(tmp_path / "none.md")]) == 2
    assert "none.md" in capsys.readouterr().err
