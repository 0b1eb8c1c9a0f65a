"""What is said while long work goes on."""

import sys

import pytest

from derive.system import progress, watched


def clock(monkeypatch, seconds: float) -> None:
    """Each look at the clock is so many seconds after the last."""
    ticks = iter(range(1000))
    monkeypatch.setattr(sys.modules[progress.__module__], "monotonic", lambda: seconds * next(ticks))


@pytest.mark.parametrize("terminal", [False, True])
def test_long_work_says_how_far_it_is_and_how_long_the_rest_takes(terminal, monkeypatch, capsys):
    clock(monkeypatch, 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with watched():
        assert list(progress("abcdefghij", "letters", 10)) == list("abcdefghij")
    said = capsys.readouterr().err
    if terminal:
        assert said.count("\r") == 9 and "\n" not in said and said.endswith("\r\x1b[K")
        assert "[######                        ] letters: 2 of 10, about 8 s left" in said
    else:
        assert said.splitlines() == [f"letters: {n} of 10, about {10 - n} s left" for n in (2, 4, 8)]


def test_short_work_and_callers_of_the_library_are_told_nothing(monkeypatch, capsys):
    clock(monkeypatch, 0.1)
    with watched():
        assert list(progress("abc", "letters", 3)) == ["a", "b", "c"]
    clock(monkeypatch, 10)
    assert list(progress("abc", "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_what_stops_in_the_middle_is_no_longer_watched(capsys, monkeypatch):
    clock(monkeypatch, 10)
    with pytest.raises(ZeroDivisionError), watched():
        list(progress((1 // n for n in (1, 0)), "quotients", 2))
    list(progress("abc", "letters", 3))
    assert capsys.readouterr().err == "quotients: 1 of 2, about 10 s left\n"
