"""Elementary functions for generated kernels, written so that LLVM turns a plain loop over them into vector code.

    from tinygrad_lstm.vectormath import sigmoid, tanh        # then, in a jitted loop:  out[i] = tanh(sigmoid(a[i]))

One source serves both precisions, and a float32 stays a float32. There are no branches (only selections), no tables in
memory and no calls, which is what the vectoriser asks for. Three rules keep the values right wherever they are inlined:

- Fast-math flags belong to single instructions. Ours carry none, also inside a kernel compiled with `reassoc` and
  `contract`: a constant in two parts stays in two parts, and a value has the same bits in the vector body and in the
  remainder of a loop, at every vector width.
- A product and a sum are rounded once where `fma` says so and nowhere else. On a processor without that instruction it
  is a product and a sum, and the bounds hold all the same.
- A clamp is written `top if x > top else x`, which hands a NaN on; `x if x < top else top` would swallow it.

"Within 1.1 / 1.2 ulp" gives the largest errors found, in units in the last place of the true value, denormal results
included: for float32 over all 2**32 arguments, for float64 over 600,000 compared with 50 digits. Coefficients are those
of minimax polynomials (Remez exchange in 60 digits), rounded to nearest.
"""
# The first argument of an intrinsic is Numba's to pass, which mypy cannot know:
# mypy: disable-error-code="call-arg, var-annotated"

from hashlib import sha256
from math import inf, nan
from pathlib import Path
from typing import NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = ["cosh", "erf", "exp", "expm1", "fingerprint", "fma", "log", "log1p", "sigmoid", "sinh", "softplus", "tanh"]

fingerprint = sha256(Path(__file__).read_bytes()).hexdigest()[:16]
"""Changes with this file: a cached kernel that mentions it is compiled anew, for Numba does not look into imports."""

# What we compile for, not what we run on: NUMBA_CPU_NAME may differ. A software fma would be a hundred times slower.
TRIPLE, _, FEATURES = cpu_target.target_context.codegen().magic_tuple()
FUSED = "+fma" in FEATURES.split(",") or TRIPLE.startswith(("aarch64", "arm64"))


# -------------------------------------------------------------------------------------------------- single instructions


class Format(NamedTuple):
    """An IEEE 754 binary format: sign, biased exponent, fraction."""

    real: ir.Type
    bits: ir.Type
    fraction: int  # bits of the fraction
    bias: int
    root_half: int  # the bits of sqrt(1/2)

    def word(self, number):
        return ir.Constant(self.bits, number)


FORMATS = {
    types.float32: Format(ir.FloatType(), ir.IntType(32), 23, 127, 0x3F3504F3),
    types.float64: Format(ir.DoubleType(), ir.IntType(64), 52, 1023, 0x3FE6A09E667F3BCD),
}


def lower(emit, *operands):
    """What an intrinsic answers if all its types are one; `emit(builder, format, *values)` writes the instructions."""
    kind = operands[0]
    if kind not in FORMATS or any(other != kind for other in operands):
        return None  # "no such function": a typing error at the caller's line
    return kind(*operands), lambda context, builder, signature, values: emit(builder, FORMATS[kind], *values)


def multiply_add(b, form, x, y, z):
    return b.fma(x, y, z) if FUSED else b.fadd(b.fmul(x, y), z)


@intrinsic
def fma(typing, x, y, z):
    """x * y + z, rounded once where the processor can."""
    return lower(multiply_add, x, y, z)


def emit_copysign(b, form, *operands):
    function = ir.FunctionType(form.real, [form.real] * 2)
    return b.call(b.module.declare_intrinsic("llvm.copysign", [form.real], function), operands)


@intrinsic
def copysign(typing, size, sign):
    """|size| with the sign of `sign`."""
    return lower(emit_copysign, size, sign)


def evaluate(b, form, coefficients, x):
    """A polynomial, constant term first. A long one is split into even and odd powers, for shorter chains of steps."""
    if len(coefficients) > 5:
        square = b.fmul(x, x)
        even, odd = (evaluate(b, form, coefficients[i::2], square) for i in (0, 1))
        return multiply_add(b, form, odd, x, even)
    value, *rest = (ir.Constant(form.real, c) for c in reversed(coefficients))
    for c in rest:
        value = multiply_add(b, form, value, x, c)
    return value


def polynomial(single, double):
    """An intrinsic p(x) with the coefficients of x's precision; of degree 0, a typed constant."""
    coefficients = dict(zip(FORMATS.values(), (single, double), strict=True))

    @intrinsic
    def p(typing, x):
        return lower(lambda b, form, x: evaluate(b, form, coefficients[form], x), x)

    return p


def constant(single, double):
    return polynomial([single], [double])


# The exponent of a power of two. `t` is what `reduce` returns: a float whose last bits hold the integer n + 2 bias.


def power_of_two(offset):
    """An intrinsic: t -> 2**(n + offset), for normal results."""

    def emit(b, form, t):
        t = b.bitcast(t, form.bits)
        return b.bitcast(b.shl(b.sub(t, form.word(form.bias - offset)), form.word(form.fraction)), form.real)

    @intrinsic
    def power(typing, t):
        return lower(emit, t)

    return power


def times_power_of_two(b, form, x, t):
    # Two factors of half the exponent each: either is normal where the product is denormal or infinite.
    t = b.bitcast(t, form.bits)
    half = b.lshr(t, form.word(1))
    for part in (half, b.sub(t, half)):
        x = b.fmul(x, b.bitcast(b.shl(part, form.word(form.fraction)), form.real))
    return x


@intrinsic
def scale(typing, x, t):
    """x * 2**n, also where that is denormal or infinite."""
    return lower(times_power_of_two, x, t)


# A normal x > 0 is 2**k * m with sqrt(1/2) <= m < sqrt(2). These give garbage, not traps, for any other x.


def biased(b, form, x):
    """The bits of x, moved so that the exponent field is k + bias and the fraction is counted from sqrt(1/2)."""
    one = form.bias << form.fraction
    return b.add(b.bitcast(x, form.bits), form.word(one - form.root_half))


def emit_mantissa(b, form, x):
    fraction = b.and_(biased(b, form, x), form.word((1 << form.fraction) - 1))
    return b.bitcast(b.add(fraction, form.word(form.root_half)), form.real)


def emit_exponent(b, form, x):
    # An integer in the last bits of 2**fraction, less that: AVX2 cannot convert 64-bit integers to floats.
    k = b.lshr(biased(b, form, x), form.word(form.fraction))
    k = b.or_(k, form.word((form.bias + form.fraction) << form.fraction))
    return b.fsub(b.bitcast(k, form.real), ir.Constant(form.real, 2**form.fraction + form.bias))


def emit_four_over_power(b, form, x):
    k = b.lshr(biased(b, form, x), form.word(form.fraction))
    return b.bitcast(b.shl(b.sub(form.word(2 * form.bias + 2), k), form.word(form.fraction)), form.real)


@intrinsic
def mantissa(typing, x):
    """m."""
    return lower(emit_mantissa, x)


@intrinsic
def exponent(typing, x):
    """k, as a float."""
    return lower(emit_exponent, x)


@intrinsic
def four_over_power(typing, x):
    """4 * 2**-k: the 4 keeps it normal for the largest k."""
    return lower(emit_four_over_power, x)


# ---------------------------------------------------------------------------------------------------------- constants

# ln 2 in two parts (fdlibm's e_exp.c, FreeBSD's e_expf.c); the first ends in zeros, so its product with n is exact.
LN2_HIGH = constant(6.9314575195e-01, 6.93147180369123816490e-01)
LN2_LOW = constant(1.4286067653e-06, 1.90821492927058770002e-10)
LOG2E = constant(1.4426950408889634, 1.4426950408889634)

# Adding 1.5 * 2**fraction rounds to an integer n; 2 bias more, and the last bits of the sum are those of n + 2 bias.
ROUNDER = constant(1.5 * 2**23 + 254, 1.5 * 2**52 + 2046)

# fmt: off
EXP_LOW, EXP_HIGH = constant(-104.0, -746.0), constant(89.0, 710.0)     # beyond: 0 and inf
EXPM1_LOW         = constant(-18.0, -38.0)                              # below: -1
SINH_HIGH         = constant(89.5, 710.6)                               # above: inf
TANH_HIGH         = constant(9.1, 19.5)                                 # above: 1
ERF_HIGH          = constant(4.0, 6.0)                                  # above: 1
TINY              = constant(2.0**-26, 2.0**-55)                        # below: f(x) = x for expm1, log1p, sinh
SMALLEST_NORMAL   = constant(2.0**-126, 2.0**-1022)
LIFT, LIFT_BITS   = constant(2.0**25, 2.0**54), constant(25.0, 54.0)    # makes denormals normal

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2.
EXP = polynomial(
    [0.5, 0.16666552424430847, 0.04166631028056145, 0.00836566649377346, 0.0013944858219474554],
    [0.5000000000000002, 0.1666666666666668, 0.04166666666659982, 0.008333333333318028, 0.0013888888925274912,
     0.00019841269896038593, 2.4801511823987268e-05, 2.7557233808254512e-06, 2.762372523926098e-07,
     2.5112734324103068e-08],
)
# (2 artanh(s) - 2 s) / s^3 in z = s^2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1).
LOG = polynomial(
    [0.6666666865348816, 0.40000301599502563, 0.2853906750679016, 0.23553204536437988],
    [0.6666666666666698, 0.39999999999611907, 0.2857142870386262, 0.2222220213979604, 0.1818339415065562,
     0.1531809709650472, 0.14757975928082542],
)
# erf(x) / x - 1 in x^2, for |x| <= 1.
ERF = polynomial(
    [0.12837916612625122, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923, 0.005189534742385149,
     -0.0008020834065973759, 7.889095286373049e-05],
    [0.12837916709551256, -0.3761263890318355, 0.11283791670945252, -0.026866170643276073, 0.005223977607422502,
     -0.0008548325989661416, 0.00012055295319730584, -1.492474465356765e-05, 1.6447517609499445e-06,
     -1.6209175731923008e-07, 1.3722976770798816e-08, -7.801191888341914e-10],
)
# ln(1 - erf(x)) in x - 1, for 1 <= x <= ERF_HIGH, to an error that is small beside erf(x).
LN_ERFC = polynomial(
    [-1.8496055603027344, -2.6389667987823486, -0.8431175947189331, -0.041503485292196274, 0.009895437397062778,
     -0.001829366316087544, 0.00018637461471371353],
    [-1.8496055099332485, -2.638967514234732, -0.8431072563618521, -0.04156109797270257, 0.010033824605746207,
     -0.001977897519814237, 0.0002373011622241916, 2.6339037354190504e-05, -2.7282744685329603e-05,
     9.789307066954714e-06, -2.252700551422783e-06, 2.952055737915653e-07, 8.73401255070031e-09,
     -1.4100882308235065e-08, 3.2507075705662965e-09, -3.6855350623024803e-10, 1.7704490707772336e-11],
)
# fmt: on

half_power, quarter_power = power_of_two(-1), power_of_two(-2)
# No fast-math flag, and said so: what is left out here, Numba takes over from whichever kernel is compiled first.
elementary = njit(fastmath=False, error_model="numpy", forceinline=True)


# ---------------------------------------------------------------------------------------------------- the exponential


@elementary
def reduce(x):
    """e**x = 2**n * (1 + q): q = e**r - 1 with |r| <= ln(2) / 2, and t, which holds n."""
    t = fma(x, LOG2E(x), ROUNDER(x))
    n = t - ROUNDER(x)
    r = fma(n, -LN2_LOW(x), fma(n, -LN2_HIGH(x), x))
    return fma(r * r, EXP(r), r), t


@elementary
def quarter_expm1(x):
    """(e**x - 1) / 4, finite a little longer than e**x, for x >= EXPM1_LOW."""
    real = type(x)
    q, t = reduce(x)
    power = quarter_power(t)
    return fma(q, power, power - real(0.25))


@elementary
def bounded_exp(x):
    q, t = reduce(x)
    return scale(type(x)(1) + q, t)


@elementary
def exp(x):
    """e**x, within 1.1 / 1.1 ulp."""
    x = EXP_LOW(x) if x < EXP_LOW(x) else x
    x = EXP_HIGH(x) if x > EXP_HIGH(x) else x
    return bounded_exp(x)


@elementary
def decay(x):
    """e**-|x|."""
    x = -abs(x)
    return bounded_exp(EXP_LOW(x) if x < EXP_LOW(x) else x)


@elementary
def expm1(x):
    """e**x - 1, within 1.8 / 2.0 ulp, near 0 too."""
    bounded = EXPM1_LOW(x) if x < EXPM1_LOW(x) else x
    bounded = EXP_HIGH(x) if x > EXP_HIGH(x) else bounded
    y = type(x)(4) * quarter_expm1(bounded)
    return x if abs(x) < TINY(x) else y


@elementary
def sinh(x):
    """(e**x - e**-x) / 2 = (w + w / (w + 1)) / 2 with w = e**|x| - 1 and the sign of x, within 2.3 / 2.4 ulp."""
    real = type(x)
    size = abs(x)
    v = quarter_expm1(SINH_HIGH(x) if size > SINH_HIGH(x) else size)
    y = copysign(real(2) * (v + v / fma(real(4), v, real(1))), x)
    return x if size < TINY(x) else y


@elementary
def cosh(x):
    """(e**x + e**-x) / 2, within 1.6 / 1.5 ulp."""
    real = type(x)
    size = abs(x)
    v = quarter_expm1(SINH_HIGH(x) if size > SINH_HIGH(x) else size) + real(0.25)
    return real(2) * (v + real(0.0625) / v)


@elementary
def tanh(x):
    """(e**2x - 1) / (e**2x + 1) = w / (w + 1) with w = (e**2|x| - 1) / 2 and the sign of x, within 2.6 / 2.5 ulp."""
    real = type(x)
    size = abs(x)
    size = TANH_HIGH(x) if size > TANH_HIGH(x) else size
    q, t = reduce(size + size)
    power = half_power(t)
    w = fma(q, power, power - real(0.5))
    return copysign(w / (w + real(1)), x)


@elementary
def sigmoid(x):
    """1 / (1 + e**-x), within 2.5 / 2.2 ulp; for x < 0 as z / (1 + z) with z = e**x, so the tail keeps its digits."""
    real = type(x)
    z = decay(x)
    return (real(1) if x >= real(0) else z) / (real(1) + z)


# ------------------------------------------------------------------------------------------------------ the logarithm


@elementary
def log_of_parts(f, k):
    """ln(2**k * (1 + f)) with ln(1 + f) = 2 artanh(s), summed as in fdlibm's e_log.c: rounding s does no harm."""
    real = type(f)
    s = f / (real(2) + f)
    z = s * s
    half_square = real(0.5) * f * f
    rest = fma(s, fma(z, LOG(z), half_square), k * LN2_LOW(f))
    return fma(k, LN2_HIGH(f), f - (half_square - rest))


@elementary
def log(x):
    """ln(x), within 0.9 / 0.8 ulp; -inf at 0, NaN below."""
    real = type(x)
    denormal = x < SMALLEST_NORMAL(x)
    lifted = x * LIFT(x) if denormal else x
    k = exponent(lifted)
    k = k - LIFT_BITS(x) if denormal else k
    y = log_of_parts(mantissa(lifted) - real(1), k)
    y = x if x == real(inf) else y
    y = real(-inf) if x == real(0) else y
    return y if x >= real(0) else real(nan)


@elementary
def log1p(x):
    """ln(1 + x), within 1.5 / 1.4 ulp, near 0 too; -inf at -1, NaN below."""
    real = type(x)
    u = x + real(1)
    # What 1 + x lost in rounding comes back: f = 2**-k * x + (2**-k - 1), where only the last sum is rounded.
    power = four_over_power(u)
    f = fma(real(0.25) * x, power, fma(real(0.25), power, real(-1)))
    y = log_of_parts(f, exponent(u))
    y = x if abs(x) < TINY(x) or x == real(inf) else y
    y = real(-inf) if x == real(-1) else y
    return y if x >= real(-1) else real(nan)


@elementary
def softplus(x):
    """ln(1 + e**x) = max(x, 0) + ln(1 + e**-|x|), within 1.7 / 1.7 ulp."""
    real = type(x)
    return (x if x > real(0) else real(0)) + log1p(decay(x))


# -------------------------------------------------------------------------------------------------- the error function


@elementary
def erf(x):
    """2 / sqrt(pi) * integral of e**-t**2 from 0 to x, within 1.6 / 1.6 ulp: a polynomial to 1, then 1 - e**p(|x|)."""
    real = type(x)
    size = abs(x)
    bounded = ERF_HIGH(x) if size > ERF_HIGH(x) else size
    q, t = reduce(LN_ERFC(bounded - real(1)))
    power = half_power(t)
    far = copysign(real(1) - real(2) * fma(q, power, power), x)
    near = fma(x, ERF(x * x), x)
    return near if size < real(1) else far
