"""The C of the functions that a network calls, and of what these call."""

from collections.abc import Iterator
from functools import cache

from mpmath import mp, mpf

from derive.backends.c.fits import DOUBLE, FITS, KEPT_DIGITS, SINGLE, Fit, Precision, truncated
from derive.backends.c.functions import C_FUNCTIONS

BINARY_PLACES = 40  # of 2 / pi, 32 binary ones each
BITS = """\
/* numbers and their bits */

#include <float.h>
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST) || __FINITE_MATH_ONLY__
#error "sums, nan and infinity have to be computed as they stand: leave out -ffast-math, -Ofast and what they stand for"
#elif FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "numbers have to be rounded as real is: add -msse2 -mfpmath=sse, or what this processor has"
#elif defined(__clang__)
#pragma clang fp reassociate(off)
#endif
typedef char numbers_as_wide_as_real[sizeof(bits) == sizeof(real) && sizeof(SHIFT) == sizeof(real) ? 1 : -1];

INLINE bits bits_of(real number)
{
    union { real number; bits bits; } same;
    same.number = number;
    return same.bits;
}

INLINE real of_bits(bits bits_)
{
    union { real number; bits bits; } same;
    same.bits = bits_;
    return same.number;
}
INLINE real size_of(real x) { return of_bits(bits_of(x) << 1 >> 1); }

/* of a number that SHIFT was added to, and back */
INLINE whole whole_of(real shifted) { return (whole)(bits_of(shifted) - bits_of(SHIFT)); }
INLINE real real_of(whole k) { return of_bits(bits_of(SHIFT) + (bits)k) - SHIFT; }
INLINE real power_of_2(whole k) { return of_bits((bits)(k + BIAS) << FRACTION); }
"""


@cache
def quarter_turn() -> str:
    """pi / 2 in parts whose products with 17 bits are exact, in double, as digits go where the parts are taken off.

    And 2 / pi to as many places as the largest number needs, behind 64 that are 0.
    """
    with mp.workdps(KEPT_DIGITS):
        high = truncated(mp.pi / 2, DOUBLE.fraction - 18)
        middle = truncated(mp.pi / 2 - high, 2 * (DOUBLE.fraction - 18))
        numbers = {"PI": mp.pi, "PI_HIGH": high, "PI_MIDDLE": middle, "PI_LOW": mp.pi / 2 - high - middle}
        defined = "".join(f"#define {name} {DOUBLE.rounded(number)}\n" for name, number in numbers.items())
    with mp.workprec(32 * BINARY_PLACES + 64):
        entries = [
            "0",
            "0",
            *(str(int(mp.floor(2 / mp.pi * mpf(2) ** (32 * i))) % 2**32) for i in range(1, BINARY_PLACES)),
        ]
    rows = (f"    {', '.join(entries[start : start + 8])},\n" for start in range(0, len(entries), 8))
    return "".join([defined, "static const uint32_t TWO_OVER_PI[] = {\n", *rows, "};\n"])


@cache
def c_polynomial(name: str, single: bool) -> str:
    """A fit as C, by Horner's rule, in double and in float, or in float alone."""
    fit = FITS[name]
    if single:
        body = horner(fit, SINGLE)
    else:
        body = ["#ifdef NETWORK_DOUBLE", *horner(fit, DOUBLE), "#else", *horner(fit, SINGLE), "#endif"]
    return "\n".join([f"/* {fit.words} */", f"INLINE real {name}(real t)", "{", *body, "    return p;", "}", ""])


def horner(fit: Fit, precision: Precision) -> list[str]:
    (sign, first), *others = fit.coefficients(precision)
    steps = (f"    p = p * t {sign} {size};" for sign, size in others)
    return [f"    real p = {'-' if sign == '-' else ''}{first};", *steps]


def c_definitions(names: set[str], single: bool = False) -> Iterator[str]:
    """The C of these functions, each after those that it needs; `single` in float alone."""
    done: set[str] = set()

    def define(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        if name in FITS:
            yield c_polynomial(name, single)
            return
        if name == "quarters":
            yield quarter_turn()
        function = C_FUNCTIONS[name]
        for other in (*function.needs, *function.fits):
            yield from define(other)
        if function.ulp is not None:
            yield f"/* {name}, to {function.ulp} units in the last place */"
        yield function.text

    for name in C_FUNCTIONS:
        if name in names:
            yield from define(name)
