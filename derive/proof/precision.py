"""Numbers of so many digits that what is lost on the way to a result does not count.

What is lost depends on the numbers: 1 + erf(-10) leaves 45 digits less than there were. Where two numbers differ, both
are computed again with more digits; they are different if they differ as before.
"""

from collections.abc import Callable
from typing import TypeVar

from mpmath import mp, mpf

from derive.proof.judge import NotProved

PRECISIONS = 200, 800, 3200  # digits
LEAST = 150  # of numbers that are not rational, where nobody asks for so many
Result = TypeVar("Result")


def settled(compare: Callable[[], Result], refusal: type[Exception] = NotProved) -> Result:
    """What a comparison of numbers of `mp.dps` digits gives, with the fewest digits at which nothing differs.

    Raises its refusal where that says the same with more digits, or with the most of them.
    """
    said = ""
    for precision in PRECISIONS:
        with mp.workdps(precision):
            try:
                return compare()
            except refusal as error:
                if str(error) == said or precision == PRECISIONS[-1]:
                    raise
                said = str(error)
    raise AssertionError(PRECISIONS)


def decimals() -> int:
    """How many digits numbers have that are not rational."""
    return max(mp.dps, LEAST)


def step() -> mpf:
    """By how much a number is moved for a quotient of differences, whose error is the square of it.

    A quotient of such quotients loses two steps, and as many digits are left as the square has.
    """
    return mpf(10) ** -(mp.dps // 4)


def digits(got: mpf, wanted: mpf) -> tuple[str, str]:
    """Both to the first digit that differs, and two more."""
    for count in range(6, mp.dps):
        texts = mp.nstr(got, count), mp.nstr(wanted, count)
        if texts[0] != texts[1]:
            return mp.nstr(got, count + 2), mp.nstr(wanted, count + 2)
    return str(got), str(wanted)
