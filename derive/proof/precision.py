"""Numbers of so many digits that what is lost on the way to a result does not count.

What is lost depends on the numbers: 1 + erf(-10) leaves 45 digits less than there were. Where two numbers differ, both
are computed again with more digits; they are different if they differ as before.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from mpmath import mp, mpf

from derive.proof.certificate import NotProved

PRECISIONS = 200, 800, 3200  # digits
LEAST = 150  # of numbers that are not rational, where nobody asks for so many
Result = TypeVar("Result")


def settled(
    compare: Callable[[], Result], refusal: type[Exception] = NotProved, precisions: tuple[int, ...] = PRECISIONS
) -> Result:
    """What a comparison of numbers of `mp.dps` digits gives, with the fewest digits at which nothing differs.

    Raises its refusal where that says the same with more digits, or with the most of them.
    """
    said = ""
    for precision in precisions:
        with mp.workdps(precision):
            try:
                return compare()
            except refusal as error:
                if str(error) == said or precision == precisions[-1]:
                    raise
                said = str(error)
    raise AssertionError(precisions)


def decimals() -> int:
    """How many digits numbers have that are not rational."""
    return max(mp.dps, LEAST)


def step() -> mpf:
    """By how much a number is moved for a quotient of differences, whose error is the square of it.

    A quotient of such quotients loses two steps, and as many digits are left as the square has.
    """
    return mpf(10) ** -(mp.dps // 4)


def quotient(at: Callable[[mpf], Any]) -> Any:
    """How what is found at 0 moves: the quotient of differences."""
    h = step()
    return (at(h) - at(-h)) / (2 * h)


def differing_digits(got: Any, wanted: Any) -> tuple[str, str]:
    """Two numbers, real or not, of SymPy or mpmath, to the first digit that differs, and two more."""
    numbers = [mp.mpmathify(number) for number in (got, wanted)]
    for count in range(4, max(mp.dps, LEAST)):
        if len({mp.nstr(number, count) for number in numbers}) > 1:
            break
    one, other = (mp.nstr(number, count + 2) for number in numbers)
    return one, other
