"""Units that mean something: which number inside a network follows which property of the text, and how closely.

After Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks", who found such units by
eye. Here every unit is compared with every property by correlation, on one half of a text, and judged on the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LOCAL = {"the leading spaces of a line", "inside a word"}  # told by the latest character: no memory needed


class Match(NamedTuple):
    """A unit, the property it follows best, and the correlation on text it was not chosen by."""

    property: str
    unit: int
    correlation: float


def properties(text: str) -> dict[str, np.ndarray]:
    """name -> its value after every character, (N,) float64.

    Position in the line, depth of indentation and of brackets, being within quotes, a comment or a word: read by a
    small automaton that knows Python's quotes, comments and escapes; in other texts it finds what is alike.
    """
    n = len(text)
    column, indent, depth = np.zeros(n), np.zeros(n), np.zeros(n)
    string, comment, word, leading = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    quote, brackets, at, spaces, in_comment, in_word, blank = "", 0, 0, 0, False, False, True
    k = 0
    while k < n:
        c, width = text[k], 1
        if c == "\n":
            at, spaces, blank, in_comment = 0, 0, True, False
            quote = quote if len(quote) == 3 else ""  # a string of one line ends with it
        else:
            if blank and c in " \t":
                spaces += 1 if c == " " else 4
            else:
                blank = False
            if quote:
                if c == "\\" and text[k + 1 : k + 2] not in ("", "\n"):
                    width = 2
                elif text.startswith(quote, k):
                    width, quote = len(quote), ""
            elif not in_comment:
                if c == "#":
                    in_comment = True
                elif c in "\"'" and not _apostrophe(text, k):
                    quote = c * 3 if text.startswith(c * 3, k) else c
                    width = len(quote)
                elif c in "([{":
                    brackets += 1
                elif c in ")]}":
                    brackets = max(0, brackets - 1)
        in_word = c.isalnum() or c == "_"
        here = slice(k, k + width)
        if c != "\n":
            column[here] = range(at + 1, at + width + 1)
            at += width
        indent[here], depth[here], word[here] = spaces, brackets, in_word
        string[here], comment[here], leading[here] = bool(quote), in_comment, blank and c != "\n"
        k += width
    return {
        "inside quotes": string,
        "inside a comment": comment,
        "depth of brackets": np.minimum(depth, 4),
        "depth of indentation": np.minimum(indent, 24),
        "the leading spaces of a line": leading,
        "position in the line": np.minimum(column, 90),
        "inside a word": word,
    }


def _apostrophe(text: str, k: int) -> bool:
    """As in `isn't`; one letter before a quote is the prefix of a string."""
    return k > 1 and text[k] == "'" and text[k - 2 : k].isalpha() and text[k + 1 : k + 2].isalpha()


def search(states: np.ndarray, found: dict[str, np.ndarray]) -> list[Match]:
    """The best unit for each property; those that take a memory first, the closest match before the others.

    states : (N, units). found : name -> (N,). A unit is chosen by the first half of the rows, judged by the second.
    """
    half = len(states) // 2
    names = [n for n, v in found.items() if np.ptp(v[:half]) and np.ptp(v[half:])]
    if not names:
        return []
    values = np.stack([found[name] for name in names], axis=1)
    first = np.abs(correlation(states[:half], values[:half]))  # (units, properties)
    second = correlation(states[half:], values[half:])
    chosen = first.argmax(axis=0)
    matches = [Match(name, int(u), float(second[u, k])) for k, (name, u) in enumerate(zip(names, chosen, strict=True))]
    return sorted(matches, key=lambda match: (match.property in LOCAL, -abs(match.correlation)))


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every column of a (N, n) with every column of b (N, m): (n, m); 0 for a constant one."""
    a, b = (x - x.mean(axis=0, dtype=float).astype(x.dtype) for x in (a, b))
    scale = np.outer(np.sqrt((a * a).sum(axis=0)), np.sqrt((b * b).sum(axis=0)))
    return np.divide(a.T @ b, scale, out=np.zeros(scale.shape), where=scale > 0)
