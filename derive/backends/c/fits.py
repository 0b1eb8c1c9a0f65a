"""The numbers in the functions of C: polynomials that are fitted by mpmath at the nodes of Chebyshev, and constants.

No coefficient is typed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpmath import mp, mpf

KEPT_DIGITS = 30  # of the numbers that coefficients are rounded from


@dataclass(frozen=True)
class Precision:
    """A format of numbers: bits of the fraction that are stored, bias of the exponent, and how C marks its numbers."""

    fraction: int
    bias: int
    mark: str

    def rounded(self, number: Any) -> str:
        """The number as C has it."""
        return f"{mp.nstr(number, 9 if self.mark else 17, min_fixed=-3, max_fixed=6)}{self.mark}"


SINGLE, DOUBLE = Precision(23, 127, "f"), Precision(52, 1023, "")


@dataclass(frozen=True)
class Fit:
    """A polynomial near a function on an interval, of one degree in float and one in double."""

    words: str
    of: Callable[[Any], Any]
    ends: Callable[[], tuple[Any, Any]]
    degrees: tuple[int, int]

    def coefficients(self, precision: Precision) -> list[tuple[str, str]]:
        """From the highest power to the constant, each as its sign and its size."""
        with mp.workdps(KEPT_DIGITS):
            found = mp.chebyfit(self.of, self.ends(), self.degrees[precision is DOUBLE] + 1)
            return [("-" if c < 0 else "+", precision.rounded(abs(c))) for c in found]


def apart_from(limit: Callable[[Any], Any], of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function, but its expansion at 0 where the formula has no digits left."""
    return lambda t: limit(t) if abs(t) < mpf(10) ** -12 else of(t)


def scaled_erfc(x: Any) -> Any:
    """exp(x^2) erfc(x), with the digits that the square of a large x takes."""
    with mp.workdps(2 * KEPT_DIGITS + 2 * int(mp.log10(1 + abs(x)))):
        return mp.erfc(x) * mp.exp(x**2)


FITS = {
    "exp_rest": Fit(
        "(exp(t) - 1 - t) / t^2 for |t| <= ln(2) / 2",
        apart_from(lambda t: mpf(1) / 2 + t / 6, lambda t: (mp.expm1(t) - t) / t**2),
        lambda: (-mp.log(2) / 2 * mpf("1.001"), mp.log(2) / 2 * mpf("1.001")),
        (5, 10),
    ),
    "atanh_rest": Fit(
        "(atanh(s) / s - 1) / s^2 for t = s^2 <= 1/9",
        apart_from(lambda t: mpf(1) / 3 + t / 5, lambda t: (mp.atanh(mp.sqrt(t)) / mp.sqrt(t) - 1) / t),
        lambda: (mpf(0), mpf(1) / 9),
        (4, 10),
    ),
    "erf_rest": Fit(
        "-log(1 - erf(t)) / t for 0 <= t <= 6",
        apart_from(lambda t: (2 + 2 * t / mp.sqrt(mp.pi)) / mp.sqrt(mp.pi), lambda t: -mp.log(mp.erfc(t)) / t),
        lambda: (mpf(0), mpf(6)),
        (11, 31),
    ),
    "erfc_rest": Fit(
        "erfc(x) exp(x^2) / s for t = s - 1/2, s = 2 / (2 + x), 0 <= x",
        lambda t: scaled_erfc(2 / (t + 0.5) - 2) / (t + 0.5),
        lambda: (-mpf(1) / 2, mpf(1) / 2),
        (11, 27),
    ),
    "sin_rest": Fit(
        "(sin(s) / s - 1) / s^2 for t = s^2, |s| <= pi / 4",
        apart_from(lambda t: t / 120 - mpf(1) / 6, lambda t: (mp.sin(mp.sqrt(t)) / mp.sqrt(t) - 1) / t),
        lambda: (mpf(0), (mp.pi / 4) ** 2 * mpf("1.001")),
        (3, 6),
    ),
    "cos_rest": Fit(
        "(cos(s) - 1 + s^2 / 2) / s^4 for t = s^2, |s| <= pi / 4",
        apart_from(lambda t: mpf(1) / 24 - t / 720, lambda t: (mp.cos(mp.sqrt(t)) - 1 + t / 2) / t**2),
        lambda: (mpf(0), (mp.pi / 4) ** 2 * mpf("1.001")),
        (3, 6),
    ),
}


def constants(precision: Precision) -> dict[str, str]:
    """The numbers that range reduction takes; a high part has so few bits that its products are exact."""
    with mp.workdps(KEPT_DIGITS):
        ln2 = mp.log(2)
        ln2_high = truncated(ln2, precision.fraction // 2 + 2)
        numbers = {
            "SHIFT": mpf(3) * mpf(2) ** (precision.fraction - 1),
            "LN2": ln2,
            "LN2_HIGH": ln2_high,
            "LN2_LOW": ln2 - ln2_high,
            "EXP_LEAST": -ln2 * (precision.bias + precision.fraction + 3),
            "EXP_MOST": ln2 * (precision.bias + 2),
            "FADED": mp.sqrt(ln2 * (precision.bias + precision.fraction + 3)),
            "SMALLEST": mpf(2) ** (1 - precision.bias),
            "EPSILON": mpf(2) ** -precision.fraction,
            "ROOT_HALF": mp.sqrt(mpf(1) / 2),
        }
        return {name: precision.rounded(number) for name, number in numbers.items()}


def truncated(number: Any, bits: int) -> Any:
    """The number without what lies behind so many binary places."""
    return mp.floor(number * mpf(2) ** bits) / mpf(2) ** bits
