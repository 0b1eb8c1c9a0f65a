"""run --against: the diagnosis from within a package, of a file that stays as it is."""

import sys

import pytest
import torch

from derive import diagnose
from derive.problems import Network
from generated import dat, run
from tests.helpers.by_hand import ByHand

NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")


def gradients(*slips):
    parameters, x, y = run.sample(127, 4, torch.float32)
    given = dict(zip(NAMES, (p.numpy() for p in parameters), strict=True))
    made = ByHand(Network(), set(slips))(given, x.numpy(), y.numpy())
    return {name: made[name] for name in NAMES}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["theirs.dat", "my_autograd.dat", "torch_autograd.dat"])
@pytest.mark.parametrize("slips", [(), (("slope left out", 2),), (("transposed", 2),)], ids=str)
def test_it_says_what_the_command_says_and_writes_nothing(name, slips, here, capsys):
    text = dat.format_dat(gradients(*slips), rounded=True)
    (here / name).write_text(text)
    status = run.main(["--points", "4", "--against", name])
    said = capsys.readouterr().out
    package = str(run.__spec__.origin).removesuffix("/run.py")
    assert diagnose.main([package, name, "--points", "4"]) == status == (1 if slips else 0)
    assert said == capsys.readouterr().out and said.count("\n") >= 6
    assert [path.name for path in here.iterdir()] == [name] and (here / name).read_text() == text


def test_it_is_of_their_numbers_and_their_layout(emitted, here, capsys):
    network = Network((2, 3, 2), activation="tanh", bias="hidden", reduction="batchmean")
    package = emitted(network, "run")
    (here / "own.toml").write_text(
        "layout = 'in x out'\nW1 = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]\nx = [[0.5, 1], [2, 3]]\ny = [[1, 0], [0, 2]]\n"
    )
    assert package.main(["--numbers", "own.toml", "--dtype", "float64", "--out", "."]) == 0
    assert "dLdb2" not in (here / "my_autograd.dat").read_text()
    again = ["--numbers", "own.toml", "--dtype", "float64", "--against", "my_autograd.dat", "--print"]
    assert package.main(again) == 0
    out = capsys.readouterr().out
    assert "all gradients agree" in out and "dL/dZ2" in out


BAD = {
    "none": (["--against", "none.dat"], "none.dat: No such file or directory"),
    "a folder": (["--against", "."], "Is a directory"),
    "no gradients": (["--against", "words.dat"], "words.dat:1: no header names a weight or a bias"),
    "many points": (
        ["--against", "words.dat", "--points", "300000"],
        "--print, --step, --difference and --against take at most 262144 points, in one process",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_looked_at_is_named(case, here, capsys):
    (here / "words.dat").write_text("nothing")
    flags, said = BAD[case]
    assert run.main(flags) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_where_derive_is_not_installed_it_says_so(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "derive.diagnosis", None)
    (here / "theirs.dat").write_text(dat.format_dat(gradients()))
    assert run.main(["--against", "theirs.dat", "--points", "4"]) == 2
    err = capsys.readouterr().err
    assert "--against: derive, which knows the slips, is not installed here" in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        run.main(["--against", "theirs.dat", "--compare"])
    assert "--against: writes no files, which --compare would compare" in capsys.readouterr().err


def test_points_may_stand_in_a_table_for_both_commands(here, capsys):
    (here / "points.csv").write_text("x1,x2,y\n0.5,0.25,1\n0.125,0.75,-1\n")
    assert run.main(["--data", "points.csv", "--dtype", "float64"]) == 0
    package = str(run.__spec__.origin).removesuffix("/run.py")
    given = [package, "my_autograd.dat", "--data", "points.csv", "--dtype", "float64"]
    assert diagnose.main(given) == 0
    assert run.main(["--data", "points.csv", "--dtype", "float64", "--against", "my_autograd.dat"]) == 0
    assert capsys.readouterr().out.count("all gradients agree") == 2
    assert diagnose.main([package, "my_autograd.dat", "--points", "2", "--dtype", "float64"]) == 1
    (here / "own.toml").write_text("x = [[1, 2]]")
    assert run.main(["--numbers", "own.toml", "--force"]) == 0
    assert run.main(["--numbers", "own.toml", "--against", "my_autograd.dat"]) == 0
    assert diagnose.main([package, "my_autograd.dat", "--numbers", "own.toml"]) == 0, capsys.readouterr().out
    for flags, said in (
        (["--data", "points.csv", "--numbers", "own.toml"], "x: in own.toml, and points are in points.csv"),
        (["--data", "none.csv"], "none.csv: No such file"),
        (["--data", "own.toml"], "own.toml:"),
    ):
        assert diagnose.main([package, "my_autograd.dat", *flags]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
