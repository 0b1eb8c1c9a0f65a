"""Weights, points and targets of a person's own, in TOML, CSV and numpy's files, and what run shows of them."""

import io
import re
import zipfile

import numpy
import pytest
import torch

from derive import build
from derive.packages.subject import subject_of
from derive.problems import Network
from derive.system import given_numbers
from generated import dat

MAZUR = """
W1 = [[0.15, 0.20], [0.25, 0.30]]
b1 = [0.35, 0.35]
W2 = [[0.40, 0.45], [0.50, 0.55]]
b2 = [0.60, 0.60]
x = [0.05, 0.10]
y = [0.01, 0.99]
"""
IN_X_OUT = """
layout = "in x out"
W1 = [[0.15, 0.25], [0.20, 0.30]]
b1 = [0.35, 0.35]
W2 = [[0.40, 0.50], [0.45, 0.55]]
b2 = [0.60, 0.60]
x = [0.05, 0.10]
y = [0.01, 0.99]
"""
NETWORK = Network((2, 2, 2), output_activation="sigmoid", loss="(p - y)**2/2")
CLASSES = Network((2, 3, 3), loss="cross_entropy", reduction="mean")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mazur.toml").write_text(MAZUR)
    (tmp_path / "turned.toml").write_text(IN_X_OUT)
    return tmp_path


def test_what_mazur_publishes_comes_out(emitted, here, capsys):
    """mattmazur.com, A Step by Step Backpropagation Example: the loss, the gradient, the weights after a step."""
    run = emitted(NETWORK, "run")
    assert (
        run.main(
            ["--numbers", "mazur.toml", "--compare", "--print", "--step", "0.5", "--difference", "--dtype", "float64"]
        )
        == 0
    )
    out = capsys.readouterr().out
    for published in (
        "loss 0.298371109, 1 point, mazur.toml, float64",
        "F4  a2: activation of layer 2\n[[0.75136507 , 0.772928465]]",
        "B1  grad_a2: dL/dA2\n[[ 0.74136507 , -0.217071535]]",
        "B2  delta2: dL/dZ2\n[[ 0.138498562, -0.038098237]]",
        "B3  grad_W2: dL/dW2\n[[ 0.082167041,  0.082667628],",
        "W2 after a step of 0.5\n[[0.35891648 , 0.408666186],\n [0.51130127 , 0.561370121]]",
        "W1 after a step of 0.5\n[[0.149780716, 0.199561432],\n [0.249751144, 0.299502287]]",
        "difference quotients agree\n",
        "all gradients agree\n",
    ):
        assert published in out


def test_weights_stored_the_other_way_come_in_and_go_out_so(emitted, here, capsys):
    run = emitted(NETWORK, "run")
    assert run.main(["--numbers", "mazur.toml", "--dtype", "float64"]) == 0
    straight = dat.read(here / "my_autograd.dat")
    assert run.main(["--numbers", "turned.toml", "--dtype", "float64", "--compare"]) == 0
    turned = dat.read(here / "my_autograd.dat")
    for name, gradient in straight.items():
        assert numpy.array_equal(turned[name], gradient.T if gradient.ndim == 2 else gradient)


def test_what_is_missing_is_drawn(emitted, here, capsys):
    """Weights alone leave the points of the seed as they are, points alone its weights; targets are those of run."""
    run = emitted(NETWORK, "run")
    drawn, x, y = run.sample(5, 3, torch.float64)
    (here / "own.toml").write_text("W1 = [[0.5, 0.25], [1, 2]]")
    options = run.arguments(["--numbers", "own.toml", "--seed", "5", "--points", "3", "--dtype", "float64"])
    parameters, source, _ = run.chosen(options)
    assert parameters.W1.tolist() == [[0.5, 0.25], [1, 2]] and torch.equal(parameters.W2, drawn.W2)
    assert all(map(torch.equal, run.points_from(source, 3, torch.float64), (x, y)))
    (here / "own.toml").write_text("x = [[0.5, 0.25], [1, 0]]")
    parameters, points, _ = run.chosen(options)
    assert torch.equal(parameters.W1, drawn.W1) and torch.equal(points.y, run.targets_of(points.x))
    (here / "own.toml").write_text("y = [[1, 0], [0, 1], [0.5, 0.5]]")
    _, points, _ = run.chosen(options)
    assert torch.equal(points.x, x) and points.y.tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert run.main(["--numbers", "own.toml", "--seed", "5", "--compare"]) == 0
    assert "3 points, seed 5, own.toml, float32" in capsys.readouterr().out


def tables(x: numpy.ndarray, y: numpy.ndarray) -> dict[str, bytes]:
    rows = numpy.hstack([x, y])
    lines = [[f"{n!r}" for n in map(float, row)] for row in rows]
    npy, npz = io.BytesIO(), io.BytesIO()
    numpy.save(npy, rows)
    numpy.savez(npz, x=x, y=y)
    return {
        "plain.csv": "\n".join(map(",".join, lines)).encode(),
        "header.csv": ("a,b,c,d\r\n" + "\r\n".join(map(", ".join, lines)) + "\r\n").encode(),
        "marked.csv": ("\ufeffa;b;c;d\n" + "\n".join(map(";".join, lines))).encode(),
        "blanks.txt": "\n\n".join(map("   ".join, lines)).encode(),
        "tabs.tsv": "\n".join(map("\t".join, lines)).encode(),
        "rows.npy": npy.getvalue(),
        "both.npz": npz.getvalue(),
    }


def test_tables_of_points_are_read_in_every_form(emitted, here):
    data = emitted(NETWORK, "data")
    x, y = numpy.random.rand(4, 2), numpy.random.rand(4, 2)
    for name, content in tables(x, y).items():
        (here / name).write_bytes(content)
        points = data.load(here / name, torch.float64)
        assert numpy.array_equal(points.x, x) and numpy.array_equal(points.y, y), name


def test_points_of_a_table_give_autograds_gradient_in_blocks_too(emitted, here, capsys, monkeypatch):
    run = emitted(NETWORK, "run")
    numpy.savetxt(here / "points.csv", numpy.random.rand(50, 4), delimiter=",")
    assert run.main(["--data", "points.csv", "--numbers", "own.toml", "--compare"]) == 2
    assert "own.toml: No such file" in capsys.readouterr().err
    assert run.main(["--data", "points.csv", "--compare", "--dtype", "float64"]) == 0
    whole = dat.read(here / "my_autograd.dat")
    assert "50 points, seed 127, points.csv, float64" in capsys.readouterr().out
    monkeypatch.setattr(run, "BLOCK", 16)
    monkeypatch.setattr(run, "CHUNK", 7)
    assert run.main(["--data", "points.csv", "--compare", "--dtype", "float64"]) == 0
    for name, gradient in dat.read(here / "my_autograd.dat").items():
        assert numpy.allclose(gradient, whole[name], rtol=1e-13)
    assert run.main(["--data", "points.csv", "--print"]) == 2
    assert "at most 16 points" in capsys.readouterr().err


def test_one_column_may_hold_classes_and_rows_of_minus_100_are_ignored(emitted, here, capsys):
    data, backward = emitted(CLASSES, "data"), emitted(CLASSES, "backward")
    (here / "classes.csv").write_text("u,v,label\n0.5,0.25,2\n1,0,0\n3,3,-100\n0,1,1\n")
    points = data.load(here / "classes.csv", torch.float64)
    assert points.y.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]] and points.x.tolist() == [[0.5, 0.25], [1, 0], [0, 1]]
    run = emitted(CLASSES, "run")
    parameters, _ = run.draw(3, torch.float64)
    every, labels = torch.tensor([[0.5, 0.25], [1, 0], [3, 3], [0, 1]]).double(), torch.tensor([2, 0, -100, 1])
    prediction = backward.forward(parameters, every)
    loss, _ = backward.value_and_grad(parameters, points.x, points.y)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(prediction, labels), rtol=1e-14)
    assert run.main(["--data", "classes.csv", "--compare"]) == 0
    for label in ("3", "1.5", "-1"):
        (here / "classes.csv").write_text(f"0.5,0.25,2\n1,0,{label}")
        assert run.main(["--data", "classes.csv"]) == 2
        assert f"classes.csv: row 2: {label}: expected a class from 0 to 2" in capsys.readouterr().err


def pickled() -> bytes:
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.array([print], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def archive(**arrays: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in arrays.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


REFUSED = {
    "short.csv": (b"1,2,3,4\n1,2,3\n", "short.csv:2: 3 columns, expected 4"),
    "word.csv": (b"1,2,3,4\n1,2,three,4\n", "word.csv:2: 'three': not a number"),
    "headers.csv": (b"a,b,c,d\na,b,c,d\n", "headers.csv:2: 'a': not a number"),
    "wide.csv": (b"1,2,3,4,5\n", "expected 2 columns of x and 2 of y, got 5"),
    "label.csv": (b"1,2,1\n", "expected 2 columns of x and 2 of y, got 3"),
    "empty.csv": (b"", "empty.csv: no points"),
    "header.csv": (b"a,b,c,d\n", "header.csv: no points below the header 'a,b,c,d'"),
    "half.csv": (b"1,2,b,4\n1,2,3,4\n", "half.csv:1: 'b': not a number"),
    "nan.csv": (b"1,2,3,4\n1,2,nan,4", "nan.csv:2: not finite"),
    "bytes.csv": (b"1,2\n\xff", "bytes.csv:2: not plain text: byte 0xff"),
    "pickle.npy": (pickled(), "pickle.npy: not an array as numpy.save writes it"),
    "cut.npy": (b"\x93NUMPY\x01\x00", "cut.npy: not an array as numpy.save writes it"),
    "pickle.npz": (archive(x=pickled(), y=pickled()), "not an array as numpy.save writes it"),
    "names.npz": (archive(), "names.npz: expected arrays x and y, got none"),
    "no.npz": (b"no archive", "no.npz: not arrays as numpy.savez writes them"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_is_none_is_refused_in_a_line(name, emitted, here, capsys):
    run = emitted(NETWORK, "run")
    content, said = REFUSED[name]
    (here / name).write_bytes(content)
    assert run.main(["--data", name]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (here / "my_autograd.dat").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [1, 2]\n\nW1 = [[1, 2], [3, 4]]\nx = [3, 4]", ":4: x stands twice, first in line 1"),
        (f"x = [{'9' * 5000}, 1]", ": a number of too many digits"),
        ("x = " + "[" * 3000, ": nested too deeply"),
        ("x = [1, 2", ": Unclosed array"),
        ("x: [1, 2]", ":1: Expected '=' after a key in a key/value pair; numbers stand as x = [[0.05, 0.1]]"),
    ],
)
def test_what_is_no_toml_is_named_with_its_line_where_there_is_one(text, said, emitted, here, capsys):
    (here / "own.toml").write_text(text)
    assert emitted(NETWORK, "run").main(["--numbers", "own.toml"]) == 2
    err = capsys.readouterr().err
    assert f"own.toml{said}" in err and err.count("\n") == 1


def test_the_same_thing_in_two_places_is_refused(emitted, here, capsys):
    run, weights = emitted(NETWORK, "run"), emitted(NETWORK, "weights")
    weights.save(here / "w.pt", run.draw(1, torch.float32)[0])
    (here / "points.csv").write_text("1,2,3,4")
    assert run.main(["--numbers", "mazur.toml", "--weights", "w.pt"]) == 2
    assert "W1: in mazur.toml and, with all weights, in w.pt" in capsys.readouterr().err
    assert run.main(["--numbers", "mazur.toml", "--data", "points.csv"]) == 2
    assert "x: in mazur.toml, and points are in points.csv" in capsys.readouterr().err


def test_weights_are_read_from_toml_and_from_within_a_checkpoint(emitted, here, capsys):
    weights = emitted(NETWORK, "weights")
    loaded = weights.load(here / "mazur.toml", torch.float64)
    assert loaded.W2.tolist() == [[0.40, 0.45], [0.50, 0.55]]
    turned = weights.load(here / "turned.toml", torch.float64)
    assert all(map(torch.equal, loaded, turned))
    state = dict(zip(weights.KEYS, loaded, strict=True))
    torch.save({"epoch": 3, "model_state_dict": state, "optimizer": {"param_groups": [{"lr": 0.1}]}}, here / "c.pt")
    assert all(map(torch.equal, weights.load(here / "c.pt", torch.float64), loaded))
    torch.save({"ema": state, "model": state}, here / "two.pt")
    with pytest.raises(ValueError, match=r"two\.pt: state_dicts in ema, model; save one of them"):
        weights.load(here / "two.pt", torch.float64)
    torch.save({**state, "fc1.bias": torch.tensor([0.0, torch.nan])}, here / "nan.pt")
    with pytest.raises(ValueError, match=r"nan\.pt: fc1\.bias: not finite"):
        weights.load(here / "nan.pt", torch.float64)
    (here / "some.toml").write_text("W1 = [[1, 2], [3, 4]]")
    with pytest.raises(ValueError, match=r"some\.toml: no b1; --numbers takes some of them"):
        weights.load(here / "some.toml", torch.float64)


def test_training_starts_from_their_weights_and_fits_their_points(emitted, here, capsys):
    """40 steps of 0.5 on Mazur's point are 40 steps by hand."""
    train, weights, backward = (emitted(NETWORK, name) for name in ("train", "weights", "backward"))
    assert (
        train.main(
            ["--numbers", "mazur.toml", "--optimizer", "sgd", "--lr", "0.5", "--epochs", "40", "--dtype", "float64"]
        )
        == 0
    )
    own = weights.load(here / "mazur.toml", torch.float64)
    x, y = torch.tensor([[0.05, 0.10]], dtype=torch.float64), torch.tensor([[0.01, 0.99]], dtype=torch.float64)
    for _ in range(40):
        own = [p - 0.5 * g for p, g in zip(own, backward.value_and_grad(own, x, y)[1], strict=True)]
    for mine, right in zip(weights.load(here / "weights.pt", torch.float64), own, strict=True):
        assert torch.allclose(mine, right, rtol=1e-12)
    (here / "points.csv").write_text("0.05,0.1,0.01,0.99\n" * 5)
    assert train.main(["--data", "points.csv", "--weights", "mazur.toml", "--epochs", "2", "--force"]) == 0


@pytest.mark.parametrize(
    "network",
    [
        NETWORK,
        CLASSES,
        Network((2, 3, 1), activation="gelu", penalty="0.05*w**2"),
        Network((3, 4, 4, 2), reduction="mean"),
    ],
    ids=str,
)
def test_steps_are_the_values_of_value_and_grad_by_the_documents_numbers(network, emitted):
    run, backward, steps = (emitted(network, name) for name in ("run", "backward", "steps"))
    parameters, x, y = run.sample(4, 5, torch.float64)
    values = steps.steps(parameters, x, y)
    loss, gradients = backward.value_and_grad(parameters, x, y)
    assert torch.equal(values["loss"], loss) and list(values) == list(steps.STEPS)
    for name, gradient in zip(backward.SHAPES, gradients, strict=True):
        assert torch.equal(values[f"grad_{name}"], gradient)
    last = f"a{network.depth}" if f"a{network.depth}" in values else f"z{network.depth}"
    assert torch.equal(values[last], backward.forward(parameters, x))
    headings = [section.title for section in subject_of(network).document if section.step]
    assert len(headings) > 4
    for number, meaning in steps.STEPS.values():
        named = [heading for heading in headings if heading.startswith(f"{number}. ")]
        assert not named or meaning.startswith(("dL/d", "part of")) or meaning.lower() in named[0].lower()
        assert any(re.search(rf"\b{number}\b", str(section)) for section in subject_of(network).document)
    with pytest.raises(ValueError, match="x: expected shape"):
        steps.steps(parameters, x[:, :1], y)


def test_difference_quotients_notice_a_wrong_gradient_and_name_kinks(emitted, monkeypatch, capsys, here):
    network = Network((2, 3, 1), activation="relu")
    run, show, backward = (emitted(network, name) for name in ("run", "show", "backward"))
    parameters, x, y = run.sample(4, 5, torch.float64)
    rows, kinks, agree = show.difference_quotients("out x in", parameters, x, y)
    assert agree and not kinks and [row[-1] for row in rows[1:]] == ["ok"] * 4
    parameters.b1[1] = -(parameters.W1[1] @ x[2])  # the second unit of the third row is exactly at its kink
    rows, kinks, agree = show.difference_quotients("out x in", parameters, x, y)
    assert agree and len(kinks) == 3 and kinks[2].startswith("b1[1]: a kink, with slope ")
    right = backward.value_and_grad

    def wrong(*arguments):
        loss, gradient = right(*arguments)
        return loss, gradient._replace(W2=gradient.W2 * 1.0001)

    monkeypatch.setattr(show, "value_and_grad", wrong)
    rows, _, agree = show.difference_quotients("out x in", parameters, x, y)
    assert not agree and [row[-1] for row in rows[1:]] == ["ok", "ok", "WRONG", "ok"]
    assert run.main(["--difference"]) == 1
    assert "do NOT agree" in capsys.readouterr().out
    monkeypatch.setattr(show, "MOST_ENTRIES", 3)
    assert run.main(["--difference"]) == 2
    assert "--difference: 13 weights and biases, at most 3" in capsys.readouterr().err


def test_gradients_that_are_less_than_rounding_of_the_loss_are_noise(emitted, monkeypatch, here, capsys):
    run, show, backward = (emitted(Network((2, 3, 1), "tanh"), name) for name in ("run", "show", "backward"))
    right, (parameters, x, y) = backward.value_and_grad, run.sample(4, 5, torch.float64)
    for small, verdicts in ((1e-3, ("ok", "WRONG")), (1e-10, ("noise", "noise"))):
        parameters.W2[:] = small
        for times, verdict in zip((1, 3), verdicts, strict=True):

            def wrong(*arguments, times=times):
                loss, gradient = right(*arguments)
                return loss, gradient._replace(W1=gradient.W1 * times)

            monkeypatch.setattr(show, "value_and_grad", wrong)
            assert show.difference_quotients("out x in", parameters, x, y)[0][1][-1] == verdict
    weights = emitted(Network((2, 3, 1), "tanh"), "weights")
    weights.save(here / "w.pt", parameters)
    assert run.main(["--weights", "w.pt", "--dtype", "float64", "--difference", "--force"]) == 0
    assert "difference quotients agree, but for what is noise\n" in capsys.readouterr().out


def test_everything_is_shown_and_not_shortened(emitted, here, capsys):
    run = emitted(Network(), "run")
    assert run.main(["--print", "--points", "200", "--force"]) == 0
    out = capsys.readouterr().out
    assert "..." not in out and out.count("F1  z1") == 1 and "B10  grad_W1: dL/dW1" in out


def test_the_pages_show_their_numbers_as_published(here, capsys):
    flags = ["--layers", "2-2-2", "--output-activation", "sigmoid", "--loss", "(p - y)**2/2", "--out", "package"]
    own = ["--numbers", "mazur.toml", "--digits", "9"]
    assert build.main([*flags, "--numbers", "turned.toml"]) == 0
    assert "stored in x out; here they are out x in" in (here / "package" / "derivation.md").read_text()
    assert build.main([*flags, *own]) == 0
    page = (here / "package" / "derivation.md").read_text()
    assert "x out" not in page
    for published in ("0.741365070", "0.138498562", "0.0821670406", "0.0363503064", "0.298371109", "0.751365070"):
        assert published in page
    assert page.count("given") >= 6 and "random" not in page and "1 point" in page
    assert build.main([*flags, *own, "--check"]) == 0
    assert build.main([*flags, "--check"]) == 1
    capsys.readouterr()
    (here / "turned.toml").write_text(IN_X_OUT.partition("x = ")[0])
    assert build.main([*flags, "--numbers", "turned.toml"]) == 0  # with points that are drawn
    assert "random" in (here / "package" / "derivation.md").read_text()


def test_pages_show_what_run_prints_of_the_same_numbers(emitted, here):
    """Of a deep network with classes, whose layers are not made narrow."""
    (here / "own.toml").write_text("x = [[0.5, 0.25], [1, 0], [0, 1], [0.125, 0.75]]\ny = [2, 0, 1, 1]")
    network = Network((2, 5, 3), loss="cross_entropy", reduction="mean")
    assert (
        build.main(
            [
                "--layers",
                "2-5-3",
                "--loss",
                "cross_entropy",
                "--reduction",
                "mean",
                "--numbers",
                "own.toml",
                "--out",
                "p",
            ]
        )
        == 0
    )
    page = (here / "p" / "derivation.md").read_text()
    given = given_numbers(here / "own.toml", network.shapes, 2, 3, network.takes_classes).values
    assert given["y"] == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert r"0 & 0 & 1 \\ 1 & 0 & 0 \\ 0 & 1 & 0 \\ 0 & 1 & 0" in page.replace("0.0", "0").replace("1.0", "1")
    assert "Worked numbers for 4 points" in page


CLASS_NUMBERS = {
    "y = [2, 0]": [[0, 0, 1], [1, 0, 0]],
    "y = [0, 1, 2]": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "x = [0.5, 1]\ny = [0, 1, 0]": [[0, 1, 0]],
    "y = [0, 1, 0]\nx = [0.5, 1]": [[0, 1, 0]],
    "x = [0.5, 1]\ny = [1]": [[0, 1, 0]],
    "y = [[0.5, 0.5, 0]]": [[0.5, 0.5, 0]],
    "y = [2, -100, 0, -100]": [[0, 0, 1], [1, 0, 0]],
    "y = [[-100, 0.5, 0]]": [[-100, 0.5, 0]],
}


def test_points_to_ignore_are_left_out_with_their_targets(here):
    (here / "own.toml").write_text("y = [-100, 2, -100, 0]\nx = [[1, 2], [3, 4], [5, 6], [7, 8]]")
    values = given_numbers(here / "own.toml", CLASSES.shapes, 2, 3, True).values
    assert values == {"x": [[3, 4], [7, 8]], "y": [[0, 0, 1], [1, 0, 0]]}
    (here / "own.toml").write_text("# none\ny = [-100, -100]")
    with pytest.raises(ValueError, match=r"own\.toml:2: y: no points that are not ignored"):
        given_numbers(here / "own.toml", CLASSES.shapes, 2, 3, True)


@pytest.mark.parametrize("text", CLASS_NUMBERS)
def test_classes_may_stand_for_targets(text, here):
    (here / "own.toml").write_text(text)
    assert given_numbers(here / "own.toml", CLASSES.shapes, 2, 3, True).values["y"] == CLASS_NUMBERS[text]


BAD_PAGES = {
    "a class that is none": (
        ["--loss", "cross_entropy"],
        "y = [0, 3]",
        "own.toml:1: y: expected rows of 3 numbers, or classes from 0 to 2, got 3",
    ),
    "a shape": ([], "W2 = [[1]]", "own.toml:1: W2: expected shape (3, 3), got (1, 1)"),
    "many points": ([], f"x = {[[1, 1]] * 13}", "a page has room for 12 units of a layer"),
    "no file": ([], None, "own.toml: No such file"),
}


@pytest.mark.parametrize("case", BAD_PAGES)
def test_numbers_that_no_page_can_show_are_refused(case, here, capsys):
    flags, text, said = BAD_PAGES[case]
    if text is not None:
        (here / "own.toml").write_text(text)
    assert build.main(["--layers", "2-3-3", *flags, "--numbers", "own.toml", "--out", "package"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (here / "package").exists()


@pytest.mark.parametrize("digits", ["0", "11", "x", "-1", ""])
def test_decimals_are_a_whole_number(digits, capsys):
    with pytest.raises(SystemExit):
        build.main([f"--digits={digits}"])
    assert "expected a whole number from 1 to 10" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["w.csv", "w.json", "w.dat"])
def test_what_holds_no_weights_is_refused_with_what_does(name, emitted, here, capsys):
    (here / name).write_text("[[0.1, 0.2], [0.3, 0.4]]")
    assert emitted(NETWORK, "run").main(["--weights", name]) == 2
    assert (
        "not a file of torch.save; weights are read from torch.save(net.state_dict(), FILE), .safetensors, and .toml"
        in capsys.readouterr().err
    )
