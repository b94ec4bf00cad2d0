"""Products of small matrices at the speed of the machine, for recurrent steps: the same weights, T times.

    C[i, j]  =  D[i, j]  +  sum over k of  A[i, k] * P[k, j]

P is packed once into panels of one vector of columns, zeros beyond the last; a tile of C (some rows, some panels) stays
in vector registers while k runs. The tile is emitted as LLVM vector code, because no loop written in Python is turned
into it reliably. (Goto & van de Geijn 2008 describe the scheme: packed panels, a tile in registers.)

Every element of C is one chain of multiply-adds over k in order, whatever the tile, the thread or the number of rows:
a row's result does not depend on its neighbours, to the bit.

Everything here speaks of memory by address (an integer, in bytes) and of distances in elements, so that a kernel takes
one array of addresses however many quantities a cell has, and threads share no reference counts.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

fingerprint = sha256(Path(__file__).read_bytes()).hexdigest()[:16]
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FEATURES = cpu_target.target_context.codegen()._tm_features
BYTES = 64 if "+avx512f" in _FEATURES else 32 if "+avx" in _FEATURES else 16  # of a vector
REGISTERS = 32 if BYTES == 64 or "+neon" in _FEATURES else 16
FUSED = "+fma" in _FEATURES or "+neon" in _FEATURES

# Tiles: for each number of rows the most panels that leave registers for the operands; two chains of multiply-adds
# for each unit and cycle of latency want at least 8 accumulators, 32 registers hold up to 24 beside the operands.
PANELS = {1: 8, 2: 8, 3: 4, 4: 4, 5: 4, 6: 4, 7: 2, 8: 2} if REGISTERS == 32 else {1: 8, 2: 4, 3: 4, 4: 2, 5: 2, 6: 2}
ROWS = max(PANELS)


def lanes(dtype: Any) -> int:
    """Numbers in one vector."""
    return BYTES // np.dtype(dtype).itemsize


def padded(n: int, dtype: Any) -> int:
    """n rounded up to whole vectors: the stride of everything a product is written to."""
    w = lanes(dtype)
    return -(-n // w) * w


# ----------------------------------------------------------------------------------------------------------- memory
def _scalar(kind: str) -> Any:
    return ir.FloatType() if kind == "float32" else ir.DoubleType()


def _memory(kind: str) -> tuple[Any, Any]:
    """load(address, index, scope) and store(address, index, value, scope) of one number.

    scope is a literal: places with different scopes never overlap, which is what lets LLVM vectorise a loop over a
    dozen of them without comparing their addresses first.
    """
    number_type = types.float32 if kind == "float32" else types.float64

    def scoped(builder: Any, instruction: Any, scope: int) -> None:
        module = builder.module
        domain = module.add_metadata(["tinygrad_lstm"])
        every = [module.add_metadata([f"quantity {k}", domain]) for k in range(SCOPES)]
        instruction.set_metadata("alias.scope", module.add_metadata([every[scope]]))
        instruction.set_metadata("noalias", module.add_metadata([s for k, s in enumerate(every) if k != scope]))

    def place(builder: Any, address: Any, index: Any) -> Any:
        return builder.gep(builder.inttoptr(address, _scalar(kind).as_pointer()), [index])

    @intrinsic(prefer_literal=True)
    def load(typing: Any, address: Any, index: Any, scope: Any) -> Any:
        def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
            value = b.load(place(b, args[0], args[1]))
            scoped(b, value, scope.literal_value)
            return value

        return number_type(types.int64, types.int64, scope), emit

    @intrinsic(prefer_literal=True)
    def store(typing: Any, address: Any, index: Any, value: Any, scope: Any) -> Any:
        def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
            scoped(b, b.store(args[2], place(b, args[0], args[1])), scope.literal_value)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, number_type, scope), emit

    return load, store


SCOPES = 64


load_float32, store_float32 = _memory("float32")
load_float64, store_float64 = _memory("float64")


# ------------------------------------------------------------------------------------------------------------ the tile
def _tile(kind: str, rows: int, panels: int) -> Any:
    """tile(A, P, C, D, lda, ka, stride, ldc, ldd, K): `rows` rows of A times `panels` panels, K > 0.

    A[r, k] at A + r*lda + k*ka; panel p at P + p*stride, its row k one vector further each; C and D with row strides
    ldc and ldd, a vector a panel.
    """

    @intrinsic
    def tile(
        typing: Any, A: Any, P: Any, C: Any, D: Any, lda: Any, ka: Any, stride: Any, ldc: Any, ldd: Any, K: Any
    ) -> Any:
        def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
            scalar = _scalar(kind)
            size = 4 if kind == "float32" else 8
            n = BYTES // size
            vector = ir.VectorType(scalar, n)
            A, P, C, D = (b.inttoptr(p, scalar.as_pointer()) for p in args[:4])
            lda, ka, stride, ldc, ldd, K = args[4:]
            number = lambda x: ir.Constant(_I64, x)
            cells = [(r, v) for r in range(rows) for v in range(panels)]

            def at(p: Any, r: int, ld: Any, v: int) -> Any:
                return b.bitcast(b.gep(p, [b.add(b.mul(ld, number(r)), number(v * n))]), vector.as_pointer())

            def load(p: Any) -> Any:
                return b.load(p, align=size)

            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{n}{'f32' if size == 4 else 'f64'}"
            )
            undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, n), [0] * n)
            start = {rv: load(at(D, rv[0], ldd, rv[1])) for rv in cells}
            row = [b.gep(A, [b.mul(lda, number(r))]) for r in range(rows)]
            panel = [b.gep(P, [b.mul(stride, number(v))]) for v in range(panels)]
            before, loop, after = b.basic_block, b.append_basic_block("k"), b.append_basic_block("store")
            b.branch(loop)
            b.position_at_end(loop)
            k = b.phi(_I64)
            k.add_incoming(number(0), before)
            total = {}
            for rv in cells:
                total[rv] = b.phi(vector)
                total[rv].add_incoming(start[rv], before)
            offset = b.mul(k, number(n))
            w = [load(b.bitcast(b.gep(p, [offset]), vector.as_pointer())) for p in panel]
            step = b.mul(k, ka)
            new = {}
            for r in range(rows):
                a = b.load(b.gep(row[r], [step]))
                a = b.shuffle_vector(b.insert_element(undefined, a, _I32(0)), undefined, zeros)
                for v in range(panels):
                    new[r, v] = b.call(fma, [a, w[v], total[r, v]]) if FUSED else b.fadd(b.fmul(a, w[v]), total[r, v])
            after_k = b.add(k, number(1))
            k.add_incoming(after_k, loop)
            for rv in cells:
                total[rv].add_incoming(new[rv], loop)
            b.cbranch(b.icmp_signed("<", after_k, K), loop, after)
            b.position_at_end(after)
            for r, v in cells:
                b.store(new[r, v], at(C, r, ldc, v), align=size)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), emit

    return tile


def _turn(kind: str) -> Any:
    """turn(A, lda, P): a square of one vector each way, transposed: P[k, r] = A[r, k], rows of A lda apart."""

    @intrinsic
    def turn(typing: Any, A: Any, lda: Any, P: Any) -> Any:
        def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
            scalar = _scalar(kind)
            size = 4 if kind == "float32" else 8
            n = BYTES // size
            vector = ir.VectorType(scalar, n)
            A, P = (b.inttoptr(p, scalar.as_pointer()) for p in (args[0], args[2]))
            at = lambda p, offset: b.bitcast(b.gep(p, [offset]), vector.as_pointer())
            rows = [b.load(at(A, b.mul(args[1], ir.Constant(_I64, r))), align=size) for r in range(n)]
            d = 1
            while d < n:  # swap the blocks of d x d beside the diagonal
                low = ir.Constant(ir.VectorType(_I32, n), [n + j - d if j & d else j for j in range(n)])
                high = ir.Constant(ir.VectorType(_I32, n), [n + j if j & d else j + d for j in range(n)])
                for r in range(n):
                    if not r & d:
                        x, y = rows[r], rows[r + d]
                        rows[r], rows[r + d] = b.shuffle_vector(x, y, low), b.shuffle_vector(x, y, high)
                d *= 2
            for k, row in enumerate(rows):
                b.store(row, at(P, ir.Constant(_I64, k * n)), align=size)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), emit

    return turn


turn_float32, turn_float64 = _turn("float32"), _turn("float64")
WIDTHS = (8, 4, 2, 1)
for _kind in ("float32", "float64"):
    for _w in WIDTHS:
        for _n in range(1, ROWS + 1):
            if _w <= PANELS[_n]:
                globals()[f"tile_{_n}x{_w}_{_kind}"] = _tile(_kind, _n, _w)

ARGUMENTS = 16


@intrinsic
def gemm(
    typing: Any, product: Any, A: Any, groups: Any, gA: Any, rows: Any, lda: Any, ka: Any, K: Any, P: Any, stride: Any,
    C: Any, gC: Any, ldc: Any, D: Any, gD: Any, ldd: Any, panels: Any,
) -> Any:  # fmt: skip
    """gemm(product, A, groups, gA, rows, lda, ka, K, P, stride, C, gC, ldc, D, gD, ldd, panels): a call by address.

    C = D + A @ P for `groups` blocks of `rows` rows, a block gA (gC, gD) elements after the other; A[r, k] lies at
    A + r*lda + k*ka, a panel `stride` after the other. The tiles are compiled once and shared by all kernels.
    panels < 0: as many, from the last to the first. Weights a little larger than the cache are read to and fro, step by
    step: what was read last is still there.
    """

    def emit(context: Any, b: Any, sig: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64] * ARGUMENTS)
        b.call(b.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * (ARGUMENTS + 1)), emit


def _gemm_source(kind: str) -> str:
    """The function behind `gemm`: it chooses the tiles."""
    sizes = [(n, w) for w in WIDTHS for n in range(1, ROWS + 1) if w <= PANELS[n]]
    lines = [
        f"from tinygrad_lstm.gemm import {', '.join(f'tile_{n}x{w}_{kind}' for n, w in sizes)}  # {fingerprint} {BYTES}",
        "",
        f"SIZE, BYTES, ROWS, WIDEST = {4 if kind == 'float32' else 8}, {BYTES}, {ROWS}, {(0, *PANELS.values())}",
        "",
        "",
        "def {function}(A, groups, gA, rows, lda, ka, K, P, stride, C, gC, ldc, D, gD, ldd, panels):",
        "    tallest = rows if rows <= ROWS else ROWS if rows >= 2 * ROWS else (rows + 1) // 2",
        "    count, v = abs(panels), 0",
        "    while v < count:",
        "        wide = min(WIDEST[tallest], count - v)",
        "        wide = 8 if wide >= 8 else 4 if wide >= 4 else 2 if wide >= 2 else 1",
        "        at = v if panels > 0 else count - v - wide  # panels < 0: from the last to the first",
        "        p = P + at * stride * SIZE",
        "        for g in range(groups):",
        "            a, c, d = A + g * gA * SIZE, C + g * gC * SIZE + at * BYTES, D + g * gD * SIZE + at * BYTES",
        "            left = rows",
        "            while left > 0:  # the last two tiles share what is left evenly",
        "                n = left if left <= ROWS else ROWS if left >= 2 * ROWS else (left + 1) // 2",
    ]
    for k, (n, w) in enumerate(sizes):
        lines += [f"                {'elif' if k else 'if'} wide == {w} and n == {n}:"]
        lines += [f"                    tile_{n}x{w}_{kind}(a, p, c, d, lda, ka, stride, ldc, ldd, K)"]
    lines += [
        "                left -= n",
        "                a, c, d = a + n * lda * SIZE, c + n * ldc * SIZE, d + n * ldd * SIZE",
        "        v += wide",
    ]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------- kernels around the time loop
def source(name: str, dtype: Any) -> str:
    """The text of one of the kernels below, for a dtype; `{function}` stands for its name."""
    kind = np.dtype(dtype).name
    if name == "gemm":
        return _gemm_source(kind)
    head = f"from tinygrad_lstm.gemm import gemm, load_{kind} as load, store_{kind} as store, turn_{kind} as turn  # {fingerprint}\n"
    size = np.dtype(dtype).itemsize
    head += f"from numpy import {kind} as real\n\nSIZE, LANES, DEEP, TERMS = {size}, {lanes(dtype)}, {DEEP}, {TERMS}\n\n\n"
    return head + KERNELS[name]


DEEP = 384  # terms of a long sum that are packed together: fewer passes over the result, the panels still near
TERMS = 128  # of a plain sum that are added before they go to the total: rounding does not pile up
KERNELS = {
    "pack": """
def {function}(W, rows, cols, members, P, lo, hi):
    # panel p of member m: P[(m * panels + p), k, lane] = W[m * rows + p * LANES + lane, k], for panels lo..hi of all
    panels = (rows + LANES - 1) // LANES
    for q in range(lo, hi):
        m, first = q // panels, q % panels * LANES
        whole = cols // LANES * LANES if first + LANES <= rows else 0
        for k in range(0, whole, LANES):
            turn(W + ((m * rows + first) * cols + k) * SIZE, cols, P + (q * cols + k) * LANES * SIZE)
        for k in range(whole, cols):
            for lane in range(LANES):
                unit = first + lane
                store(P, (q * cols + k) * LANES + lane, load(W, (m * rows + unit) * cols + k, 0) if unit < rows else real(0), 1)
""",
    "pack_transposed": """
def {function}(W, rows, cols, members, P, lo, hi):
    # panel p: P[p, m * padded + unit, lane] = W[m * rows + unit, p * LANES + lane], for panels lo..hi
    padded = (rows + LANES - 1) // LANES * LANES
    for p in range(lo, hi):
        inside = min(LANES, cols - p * LANES)
        for m in range(members):
            A, to = W + (m * rows * cols + p * LANES) * SIZE, P + (p * members + m) * padded * LANES * SIZE
            for unit in range(rows):
                if inside == LANES:
                    for lane in range(LANES):
                        store(to, unit * LANES + lane, load(A, unit * cols + lane, 0), 1)
                else:
                    for lane in range(LANES):
                        store(to, unit * LANES + lane, load(A, unit * cols + lane, 0) if lane < inside else real(0), 1)
            for lane in range(rows * LANES, padded * LANES):
                store(to, lane, real(0), 1)
""",
    "outer": """
def {function}(product, left, left_row, right, right_row, width, depth, C, row, zeros, rooms, slices, units, lo, hi):
    # C[u, j] = sum over k < depth of left[k, u] * right[k, j], for units lo..hi; DEEP terms at a time, in order.
    # right is packed in panels, left is read as it lies (packing it as well would cost more than it brings).
    panels = (width + LANES - 1) // LANES
    P = rooms + (lo * slices + units - 1) // units * (DEEP * panels * LANES * SIZE)  # every slice has its own
    for start in range(0, depth, DEEP):
        K = min(DEEP, depth - start)
        for p in range(panels):
            inside = min(LANES, width - p * LANES)
            for k in range(K):
                for lane in range(inside):
                    store(P, (p * K + k) * LANES + lane, load(right, (start + k) * right_row + p * LANES + lane, 0), 1)
                for lane in range(inside, LANES):
                    store(P, (p * K + k) * LANES + lane, real(0), 1)
        A, to = left + (start * left_row + lo) * SIZE, C + lo * row * SIZE
        if start:
            gemm(product, A, 1, 0, hi - lo, 1, left_row, K, P, K * LANES, to, 0, row, to, 0, row, panels)
        else:
            gemm(product, A, 1, 0, hi - lo, 1, left_row, K, P, K * LANES, to, 0, row, zeros, 0, 0, panels)
""",
    "unpad": """
def {function}(R, padded, row, C, units, width, lo, hi):
    # C[m * units + u, j] = R[m * padded + u, j]: blocks of rows, without what was filled up, for rows lo..hi of C
    for r in range(lo, hi):
        start = (r // units * padded + r % units) * row
        for j in range(width):
            store(C, r * width + j, load(R, start + j, 0), 1)
""",
    "column_sums": """
def {function}(left, left_row, depth, total, part, lo, hi):
    # total[u] = sum over k < depth of left[k, u], for units lo..hi; in blocks, so that rounding does not pile up
    for u in range(lo, hi):
        store(total, u, real(0), 1)
    for start in range(0, depth, TERMS):
        for u in range(lo, hi):
            store(part, u, real(0), 2)
        for k in range(start, min(start + TERMS, depth)):
            for u in range(lo, hi):
                store(part, u, load(part, u, 2) + load(left, k * left_row + u, 0), 2)
        for u in range(lo, hi):
            store(total, u, load(total, u, 1) + load(part, u, 2), 1)
""",
    "product": """
def {function}(product, A, row_A, K, P, stride, C, row_C, D, row_D, panels, lo, hi):
    # C = D + A @ P for rows lo..hi, some rows at a time, so that they stay in the cache while all panels pass
    for start in range(lo, hi, 96):
        n = min(96, hi - start)
        a, c, d = A + start * row_A * SIZE, C + start * row_C * SIZE, D + start * row_D * SIZE
        gemm(product, a, 1, 0, n, row_A, 1, K, P, stride, c, 0, row_C, d, 0, row_D, panels)
""",
}
