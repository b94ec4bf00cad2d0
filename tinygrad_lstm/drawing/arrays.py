"""Arrays for a page: what they hold in a few numbers, small ones whole, large ones as a map of means.

A map is text, one character a cell, so that thousands of them go into one file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-/"  # 65, the middle one is 0
BAD = "!"  # a cell without a finite number
WHOLE = 36  # elements that are written out


def packed(array: Any, cells: int) -> list[Any] | None:
    """[smallest, mean, largest, deviation, how many are not finite, rows, columns, scale, data], or None if empty.

    data : the numbers themselves, row by row, of at most `WHOLE` elements (scale is then None); else text, one level of
    `LEVELS` for each of rows x columns means over blocks, from -scale to scale.
    """
    array = np.asarray(array)
    if array.size == 0 or array.dtype.kind not in "fiub":
        return None
    wide = array.astype(np.float64)
    finite = np.isfinite(wide)
    bad = int(array.size - finite.sum())
    good = wide[finite] if bad else wide
    with np.errstate(all="ignore"):
        facts = [_digits(f(good)) if good.size else None for f in (np.min, np.mean, np.max, np.std)]
    table = wide.reshape(-1, array.shape[-1]) if array.ndim > 1 else wide.reshape(1, -1)
    if array.size <= min(WHOLE, cells):
        return [*facts, bad, *table.shape, None, [_digits(v) for v in table.ravel().tolist()]]
    small = shrunk(table, cells)
    ok = np.isfinite(small)
    scale = float(np.abs(small[ok]).max()) if ok.any() else 0.0
    with np.errstate(all="ignore"):
        level = np.rint(np.where(ok, small, 0.0) / (scale or 1.0) * 32).astype(int) + 32
    text = "".join(LEVELS[n] if fine else BAD for n, fine in zip(level.ravel(), ok.ravel(), strict=True))
    return [*facts, bad, *small.shape, _digits(scale), text]


def shrunk(table: np.ndarray, cells: int) -> np.ndarray:
    """A table of at most about `cells` entries, of the same proportions: means over blocks, of what is finite."""
    rows, columns = table.shape
    if rows * columns <= cells:
        return table
    share = (cells / (rows * columns)) ** 0.5
    r = min(max(round(rows * share), 1), rows)
    c = min(max(cells // r, 1), columns)
    r = min(max(cells // c, 1), rows)
    finite = np.isfinite(table)
    with np.errstate(all="ignore"):
        for axis, old, new in ((0, rows, r), (1, columns, c)):
            starts = np.arange(new) * old // new
            total = np.add.reduceat(np.where(finite, table, 0.0), starts, axis=axis)
            count = np.add.reduceat(finite.astype(np.float64), starts, axis=axis)
            table = total / count
            finite = np.isfinite(table)
    return table


def _digits(value: float) -> Any:
    """Four digits are enough to look at; JSON has no word for what is not finite."""
    value = float(value)
    if not np.isfinite(value):
        return str(value)
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
