"""The elementary functions: exact enough everywhere, the same bits everywhere, and vector code."""
import math
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from tinygrad_lstm import vectormath

FLAGS = {"contract", "reassoc", "nsz", "arcp"}      # what kernels are compiled with; the functions must not mind

# fmt: off
# name: (error bounds in ulp for float32 and float64, reference in mpmath, reference for float32 in NumPy's float64)
FUNCTIONS = {
    "exp":      ((1.1, 1.1), mpmath.exp,                               np.exp),
    "expm1":    ((1.8, 2.1), mpmath.expm1,                             np.expm1),
    "log":      ((0.9, 0.9), mpmath.log,                               np.log),
    "log1p":    ((1.5, 1.5), mpmath.log1p,                             np.log1p),
    "sinh":     ((2.3, 2.5), mpmath.sinh,                              np.sinh),
    "cosh":     ((1.6, 1.6), mpmath.cosh,                              np.cosh),
    "tanh":     ((2.6, 2.6), mpmath.tanh,                              np.tanh),
    "sigmoid":  ((2.5, 2.3), lambda x: 1 / (1 + mpmath.exp(-x)),       lambda x: 1 / (1 + np.exp(-x))),
    "softplus": ((1.7, 1.8), lambda x: mpmath.log1p(mpmath.exp(x)),    lambda x: np.logaddexp(0, x)),
    "erf":      ((1.6, 1.6), mpmath.erf,                               np.vectorize(math.erf, otypes=[float])),
}
#                 -inf      -1        -0.0            0.0           inf      nan     (None: has no special rule to test)
LIMITS = {
    "exp":      (0.0,      None,     1.0,            1.0,          np.inf,  np.nan),
    "expm1":    (-1.0,     None,     -0.0,           0.0,          np.inf,  np.nan),
    "log":      (np.nan,   np.nan,   -np.inf,        -np.inf,      np.inf,  np.nan),
    "log1p":    (np.nan,   -np.inf,  -0.0,           0.0,          np.inf,  np.nan),
    "sinh":     (-np.inf,  None,     -0.0,           0.0,          np.inf,  np.nan),
    "cosh":     (np.inf,   None,     1.0,            1.0,          np.inf,  np.nan),
    "tanh":     (-1.0,     None,     -0.0,           0.0,          1.0,     np.nan),
    "sigmoid":  (0.0,      None,     0.5,            0.5,          1.0,     np.nan),
    "softplus": (0.0,      None,     math.log(2),    math.log(2),  np.inf,  np.nan),
    "erf":      (-1.0,     None,     -0.0,           0.0,          1.0,     np.nan),
}
# fmt: on
names = pytest.mark.parametrize("name", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@cache
def kernel(name):
    function = getattr(vectormath, name)

    @njit(fastmath=FLAGS, error_model="numpy")
    def loop(a, out):
        for i in range(a.size):
            out[i] = function(a[i])

    return loop


def apply(name, a):
    out = np.empty_like(a)
    kernel(name)(a, out)
    return out


def samples(name, count=600):
    """Arguments of every size: denormals, around 0, 1 and -1, where a formula changes, where results overflow."""
    rng = np.random.default_rng(0)
    tiny = rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-323, -3, count)
    near = rng.choice([-1.0, 0.0, 1.0], count) * (1 + rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-16, -1, count))
    steps = np.arange(1, count // 2) * math.log(2) / 2 * (1 + rng.choice([-1e-15, 0, 1e-15], count // 2 - 1))
    wide = rng.uniform(-750, 750, count)
    named = [1e-9, -1e-9, 19.06, 22.0, 5.9, -700.0, -745.0, 700.0, 709.7, 710.4, 2.0**-1074, 2.0**-1022, 1.7e308]
    x = np.concatenate([tiny, near, steps, -steps, wide, wide / 50, rng.standard_normal(count), named])
    if name == "log":
        x = np.abs(np.concatenate([x, 10.0 ** rng.uniform(-323, 308, count)]))
        return x[x > 0]
    return x[x > -1] if name == "log1p" else x


@names
def test_float32_accuracy(name):
    """Against float64 on a million bit patterns, so at every magnitude and with NaN among them."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name][2](x.astype(np.float64))
        rounded = expected.astype(np.float32)
    y = apply(name, x)
    assert y.dtype == np.float32
    assert np.array_equal(np.isnan(y), np.isnan(expected))
    finite = np.isfinite(rounded) & np.isfinite(y)
    assert np.array_equal(y[~finite], rounded[~finite], equal_nan=True)
    ulp = np.spacing(np.abs(rounded[finite]), dtype=np.float32).astype(np.float64)
    assert np.max(np.abs(y[finite] - expected[finite]) / ulp) <= FUNCTIONS[name][0][0]


@names
def test_float64_accuracy(name):
    """Against mpmath. Three ulp are at most 6.7e-16 of a normal result."""
    bound, reference = FUNCTIONS[name][0][1], FUNCTIONS[name][1]
    x = samples(name)
    worst = 0.0
    with mpmath.workdps(40):
        for argument, y in zip(x.tolist(), apply(name, x).tolist(), strict=True):
            exact = reference(mpmath.mpf(argument))
            expected = float(exact)
            if math.isinf(expected):
                assert y == expected, argument
            else:
                worst = max(worst, float(abs(mpmath.mpf(y) - exact) / math.ulp(expected)))
    assert worst <= bound


@names
@dtypes
def test_limits(name, dtype):
    for argument, limit in zip([-np.inf, -1.0, -0.0, 0.0, np.inf, np.nan], LIMITS[name], strict=True):
        if limit is None:
            continue
        for count in (1, 64):                                       # the remainder of the loop, and its vector body
            y = apply(name, np.full(count, argument, dtype))
            assert np.array_equal(y, np.full(count, limit, dtype), equal_nan=True), argument
            assert np.isnan(limit) or np.array_equal(np.signbit(y), np.full(count, np.signbit(limit))), argument


@names
@dtypes
def test_a_value_does_not_depend_on_its_place(name, dtype):
    """In arrays of 1 to 70 elements every place of body and remainder occurs."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.standard_normal(20) * 4, rng.uniform(-90, 90, 8), [1e-40, 30.0]]).astype(dtype)
    values = np.abs(values) if name == "log" else values[values > -1] if name == "log1p" else values
    for value in values:
        alone = apply(name, np.array([value]))
        for count in range(2, 71):
            assert apply(name, np.full(count, value)).tobytes() == alone.tobytes() * count


@names
@dtypes
def test_inlining_keeps_the_bits(name, dtype):
    """The instructions of a kernel may be reordered; those of the function it calls stay as they were."""
    function = getattr(vectormath, name)

    @njit(fastmath=FLAGS, error_model="numpy")
    def difference(a, b, y, out):
        for i in range(a.size):
            out[i] = function(a[i] + b[i]) - y[i]

    a, b = np.random.default_rng(2).uniform(0.1, 2, (2, 200)).astype(dtype)
    out = np.empty_like(a)
    difference(a, b, apply(name, a + b), out)
    assert not out.any()


@names
@dtypes
def test_loops_are_vectorised(name, dtype):
    apply(name, np.ones(2, dtype))
    kind = {np.float32: "float", np.float64: "double"}[dtype]
    loop = kernel(name)
    (signature,) = (s for s in loop.signatures if s[0].dtype.name == dtype.__name__)
    start = rf"define [^\n]*@{re.escape(loop.overloads[signature].fndesc.mangled_name)}\("
    body = re.search(rf"{start}.*?\n}}", loop.inspect_llvm(signature), re.DOTALL)[0]
    assert re.search(rf"= fadd <\d+ x {kind}>", body)
    assert set(re.findall(r"call [^@\n]*@(\w+)", body)) == {"llvm"}    # every other function was inlined
    assert dtype is np.float64 or "double" not in body                  # a float32 stays a float32


@names
def test_functions_take_no_flags_from_the_kernel(name):
    apply(name, np.ones(2))                     # compiled from within a kernel that has flags
    for code in getattr(vectormath, name).inspect_llvm().values():
        assert not re.search(r"\b(reassoc|contract|arcp|nsz)\b", code)


def test_other_types_are_refused():
    """An integer argument and mixed precisions are errors: nothing is converted in silence."""
    mixed = njit(lambda x: vectormath.fma(x, x, np.float32(2)))
    assert mixed(np.float32(3)) == 11
    for call in (lambda: vectormath.tanh(1), lambda: mixed(3.0)):
        with pytest.raises(TypingError):
            call()


def test_accuracy_without_fma():
    """The same bounds hold on the plainest processor of this architecture."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "accuracy and float"],
        env={**os.environ, "NUMBA_CPU_NAME": "generic"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert f"{2 * len(FUNCTIONS)} passed" in run.stdout


def test_fingerprint():
    assert re.fullmatch("[0-9a-f]{16}", vectormath.fingerprint)
