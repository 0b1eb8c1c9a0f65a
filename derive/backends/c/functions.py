"""The functions of real numbers that C is given: range reduction in C, and polynomials of fits.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CFunction:
    """A function in C, the fits and functions that it calls, and its largest error in units of the last place."""

    text: str
    needs: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    ulp: float | None = None


PARTS = """\
/* exp(x - less) = 2^k (1 + e) with an e that is small, for a small less: puts k into its place, returns e */
INLINE real exp_parts(real x, real less, whole *k)
{
    const real shifted = (x - less) * (1 / LN2) + SHIFT, n = shifted - SHIFT;
    const real t = (x - n * LN2_HIGH) - n * LN2_LOW - less;
    *k = whole_of(shifted);
    return t + t * t * exp_rest(t);
}
INLINE real exp_of_parts(real e, whole k) { return (1 + e) * power_of_2(k >> 1) * power_of_2(k - (k >> 1)); }
"""
EXP = """\
INLINE real exp_of(real x)
{
    whole k;
    const real e = exp_parts(x < EXP_LEAST ? EXP_LEAST : x > EXP_MOST ? EXP_MOST : x, 0, &k);
    return exp_of_parts(e, k);
}
"""
EXPM1 = """\
INLINE real expm1_of(real x)
{
    whole k;
    const real e = exp_parts(x < -40 ? -40 : x > EXP_MOST ? EXP_MOST : x, 0, &k), all = exp_of_parts(e, k);
    return x > 2 ? all - 1 : (power_of_2(k) - 1) + power_of_2(k) * e;
}
"""
FADE = """\
/* exp(-|x|); a number below SMALLEST is rounded once, in the last product */
INLINE real fade_of(real x)
{
    whole k;
    const real down = -size_of(x), e = exp_parts(down < EXP_LEAST ? EXP_LEAST : down, 0, &k);
    return (1 + e) * power_of_2(k + BIAS / 2) * power_of_2(-(BIAS / 2));
}
"""
SIGMOID = """\
INLINE real sigmoid_of(real x)
{
    const real e = fade_of(x);
    return (x < 0 ? e : 1) / (1 + e);
}
"""
TANH = """\
INLINE real tanh_of(real x)
{
    whole k;
    const real within = x < -20 ? -20 : x > 20 ? 20 : x, e = exp_parts(2 * within, 0, &k);
    const real d = (power_of_2(k) - 1) + power_of_2(k) * e; /* exp(2 x) - 1 */
    return d / (d + 2);
}
"""
LOGSIGMOID = """\
INLINE real logsigmoid_of(real x)
{
    const real t = fade_of(x), s = t / (2 + t);
    return (x < 0 ? x : x != x ? x : 0) - 2 * (s + s * (s * s) * atanh_rest(s * s)); /* min(x, 0) - log(1 + t) */
}
"""
LOG = """\
INLINE real log_of(real x)
{
    const real normal = x < SMALLEST ? x * (1 / EPSILON) : x, shift = x < SMALLEST ? FRACTION : 0;
    const whole k = (whole)(bits_of(normal) - bits_of(ROOT_HALF)) >> FRACTION;
    const real v = of_bits(bits_of(normal) - ((bits)k << FRACTION)), n = real_of(k) - shift;
    const real s = (v - 1) / (v + 1), y = n * LN2_HIGH + (2 * (s + s * (s * s) * atanh_rest(s * s)) + n * LN2_LOW);
    return x > 0 && x < INFINITE ? y : x < 0 ? INFINITE - INFINITE : x == 0 ? -INFINITE : x;
}
"""
ERF = """\
INLINE real erf_of(real x)
{
    whole k;
    const real size = size_of(x), t = size > 6 ? 6 : size, e = exp_parts(-(t * erf_rest(t)), 0, &k);
    const real d = (1 - power_of_2(k)) - power_of_2(k) * e;
    return x < 0 ? -d : d;
}
"""
EXP_OF_SQUARE = """\
/* exp(c x^2), at most exp(EXP_MOST), c a power of 2; by two parts of x, the square of the first of which is exact */
INLINE real exp_of_square(real c, real x)
{
    whole k;
    const real high = of_bits(bits_of(x) >> (FRACTION / 2 + 1) << (FRACTION / 2 + 1));
    const int none = c * (x * x) < EXP_LEAST;
    const real rest = none ? 0 : c * ((x - high) * (x + high));
    const real e = exp_parts(none ? EXP_LEAST : c * (high * high), -rest, &k);
    return exp_of_parts(e, k);
}
"""
ERFC_BY = """\
/* erfc(x), by fade = exp(-x^2) */
INLINE real erfc_by(real x, real fade)
{
    const real s = 2 / (2 + size_of(x)), right = fade * s * erfc_rest(s - (real)0.5);
    return x < 0 ? 2 - right : right;
}
"""
ERFC = """\
INLINE real erfc_of(real x) { return erfc_by(x, exp_of_square(-1, x)); }
"""
ERFCX = """\
/* exp(x^2) erfc(x) */
INLINE real erfcx_of(real x)
{
    const real all = size_of(x), size = all > FADED ? FADED : all, s = 2 / (2 + all);
    const real right = s * erfc_rest(s - (real)0.5);
    return x < 0 ? 2 * exp_of_square(1, size) - right : right;
}
"""
LOG_NDTR = """\
/* log(erfc(-x / sqrt(2)) / 2) */
INLINE real log_ndtr_of(real x)
{
    const real size = x < 0 ? 0 : x > FADED / ROOT_HALF ? FADED / ROOT_HALF : x;
    const real fade = exp_of_square(-(real)0.5, size);
    const real left = x < 0 ? erfc_of(x * ROOT_HALF) : x != x ? x : fade * erfcx_of(size * ROOT_HALF);
    return x < -1 ? log_of(erfcx_of(-x * ROOT_HALF) / 2) - x * (x / 2) : log1p_of(-left / 2);
}
"""
LOG1P = """\
INLINE real log1p_of(real x)
{
    const real u = 1 + x;
    return u > 0 && u < INFINITE ? log_of(u) + (x - (u - 1)) / u : log_of(u); /* with what rounding 1 + x has lost */
}
"""
TURN = """\
/* the same for an x that is large: |x| = m 2^e, times the 192 places of 2 / pi that make less than 4 with it */
static real far_quarters(real x, whole *n)
{
    const bits parts = bits_of(x < 0 ? -x : x);
    const uint64_t m = (parts & (((bits)1 << FRACTION) - 1)) | ((bits)1 << FRACTION);
    const int first = (int)(parts >> FRACTION) - BIAS - FRACTION - 2 + 64;
    uint32_t places[6], product[6];
    uint64_t carry = 0;
    for (int i = 0; i < 6; i++) {
        const uint32_t *const at = TWO_OVER_PI + first / 32 + i;
        places[i] = (uint32_t)((((uint64_t)at[0] << 32) | at[1]) << first % 32 >> 32);
    }
    for (int i = 5; i >= 0; i--) {
        carry += places[i] * (m & 4294967295);
        product[i] = (uint32_t)carry;
        carry >>= 32;
    }
    carry = 0;
    for (int i = 5; i >= 1; i--) {
        carry += product[i - 1] + places[i] * (m >> 32);
        product[i - 1] = (uint32_t)carry;
        carry >>= 32;
    }
    const uint64_t high = (((uint64_t)product[0] << 32) | product[1]) << 2 | product[2] >> 30; /* behind the point */
    const uint64_t low = (((uint64_t)product[2] << 32) | product[3]) << 2 | product[4] >> 30;
    const double over = (double)(int64_t)(high >> 32 << 32);
    const double rest = (double)(high & 4294967295) + (double)low * (1 / 18446744073709551616.0);
    const real t = (real)((over * (PI / 2) + rest * (PI / 2)) * (1 / 18446744073709551616.0));
    const whole turns = (whole)((product[0] >> 30) + (high >> 63));
    *n = x < 0 ? -turns : turns;
    return x < 0 ? -t : t;
}

INLINE int far_of(real x) { return !(x > -100000 && x < 100000); }

/* x = n pi / 2 + t, |t| <= pi / 4, for an x that is not far: puts n into its place, returns t */
INLINE real near_quarters(real x, whole *n)
{
    const real shifted = x * (real)(2 / PI) + SHIFT, m = shifted - SHIFT;
    *n = whole_of(shifted);
    return (real)(((x - m * PI_HIGH) - m * PI_MIDDLE) - m * PI_LOW);
}

/* the same for any x */
INLINE real quarters(real x, whole *n)
{
    if (!far_of(x)) return near_quarters(x, n);
    *n = 0;
    return x - x == 0 ? far_quarters(x, n) : INFINITE - INFINITE;
}
INLINE real sine(real t) { return t + t * (t * t) * sin_rest(t * t); }
INLINE real cosine(real t) { return (1 - (real)0.5 * (t * t)) + (t * t) * (t * t) * cos_rest(t * t); }
"""
OF_ANGLE = """\
INLINE real NAME_of(real x)
{
    whole n;
    const real t = quarters(x, &n);
    return turned_WORD(n, t);
}
INLINE real near_NAME_of(real x) /* the same, of which many are computed at once */
{
    whole n;
    const real t = near_quarters(x, &n);
    return turned_WORD(n, t);
}
"""
SINE = """\
INLINE real turned_sine(whole n, real t)
{
    const real y = n & 1 ? cosine(t) : sine(t);
    return n & 2 ? -y : y;
}
"""
COSINE = """\
INLINE real turned_cosine(whole n, real t)
{
    const real y = n & 1 ? sine(t) : cosine(t);
    return (n + 1) & 2 ? -y : y;
}
"""
SIN = SINE + OF_ANGLE.replace("NAME", "sin").replace("WORD", "sine")
COS = COSINE + OF_ANGLE.replace("NAME", "cos").replace("WORD", "cosine")
SQRT = """\
INLINE real sqrt_of(real x)
{
    const real y = exp_of((real)0.5 * log_of(x)); /* one step of Newton's method gives the other digits */
    return x > 0 && x < INFINITE ? (real)0.5 * (y + x / y) : x < 0 ? INFINITE - INFINITE : x;
}
"""
POWER_OF = """\
INLINE real power_of(real x, real exponent) { return exp_of(exponent * log_of(x)); }
"""
LARGEST_OF_ROW = """\
/* the largest entry of each row */
INLINE void row_amax(const int features, const int rows, const int stride, const real *z, real *largest)
{
    for (int r = 0; r < rows; r++) largest[r] = z[r];
    EACH(features) largest[r] = larger_of(z[k], largest[r]);
}
"""
LOGSUMEXP = """\
/* log of the sum over each row of exp; no entry is large, as the largest has been taken off */
INLINE void row_logsumexp(const int features, const int rows, const int stride, const real *u, real *value)
{
    for (int r = 0; r < rows; r++) value[r] = 0;
    EACH(features) value[r] += exp_of(u[k]);
    for (int r = 0; r < rows; r++) value[r] = log_of(value[r]);
}
"""
C_FUNCTIONS: dict[str, CFunction] = {
    "Abs": CFunction("INLINE real Abs_of(real x) { return x > 0 ? x : 0 - x; }\n", ulp=0),
    "square": CFunction("INLINE real square_of(real x) { return x * x; }\n", ulp=0.5),
    "sign": CFunction("INLINE real sign_of(real x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }\n", ulp=0),
    "larger": CFunction("INLINE real larger_of(real x, real y) { return x > y || x != x ? x : y; }\n", ulp=0),
    "smaller": CFunction("INLINE real smaller_of(real x, real y) { return x < y || x != x ? x : y; }\n", ulp=0),
    "exp_parts": CFunction(PARTS, fits=("exp_rest",)),
    "exp": CFunction(EXP, ("exp_parts",), ulp=1.1),
    "expm1": CFunction(EXPM1, ("exp_parts",), ulp=2),
    "fade": CFunction(FADE, ("exp_parts",)),
    "sigmoid": CFunction(SIGMOID, ("fade",), ulp=2.5),
    "tanh": CFunction(TANH, ("exp_parts",), ulp=3),
    "logsigmoid": CFunction(LOGSIGMOID, ("fade",), ("atanh_rest",), ulp=3),
    "log": CFunction(LOG, (), ("atanh_rest",), ulp=2),
    "erf": CFunction(ERF, ("exp_parts",), ("erf_rest",), ulp=5),
    "exp_of_square": CFunction(EXP_OF_SQUARE, ("exp_parts",), ulp=2),
    "erfc_by": CFunction(ERFC_BY, (), ("erfc_rest",), ulp=8),
    "erfc": CFunction(ERFC, ("exp_of_square", "erfc_by"), ulp=8),
    "erfcx": CFunction(ERFCX, ("exp_of_square",), ("erfc_rest",), ulp=8),
    "log1p": CFunction(LOG1P, ("log",), ulp=4),
    "log_ndtr": CFunction(LOG_NDTR, ("log", "log1p", "erfc", "erfcx"), ulp=10),
    "quarters": CFunction(TURN, (), ("sin_rest", "cos_rest")),
    "sin": CFunction(SIN, ("quarters",), ulp=3),
    "cos": CFunction(COS, ("quarters",), ulp=3),
    "sqrt": CFunction(SQRT, ("exp", "log"), ulp=1.5),
    "power": CFunction(POWER_OF, ("exp", "log")),
    "amax": CFunction(LARGEST_OF_ROW, ("larger",)),
    "logsumexp": CFunction(LOGSUMEXP, ("exp", "log")),
}
