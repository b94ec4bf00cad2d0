"""Words that threads share, and calls by address: what the team's two kernels are written with.

A word is 8 bytes of memory, known by its address. Everything here is sequentially consistent: a thread that says that it
sleeps and then looks for work, and one that gives work and then looks for sleepers, cannot both miss each other.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

fingerprint = sha256(Path(__file__).read_bytes()).hexdigest()[:16]
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LINUX, _POSIX = sys.platform == "linux", sys.platform != "win32"


def _word(b: Any, address: Any) -> Any:
    return b.inttoptr(address, _I64.as_pointer())


def _c(b: Any, name: str, kind: Any, *args: Any) -> Any:
    """Call a function of the C library."""
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), args)


@intrinsic
def look(typing: Any, address: Any) -> Any:
    """The word."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.load_atomic(_word(b, args[0]), "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def swap(typing: Any, address: Any, value: Any) -> Any:
    """Write a word; what it was."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("xchg", _word(b, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def add(typing: Any, address: Any, value: Any) -> Any:
    """Add to a word; what it was."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", _word(b, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


def _give_way(b: Any) -> None:
    if _POSIX:
        _c(b, "sched_yield", ir.FunctionType(_I32, []))


@intrinsic
def give_way(typing: Any) -> Any:
    """Let another thread have this core, where one wants it."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _give_way(b)
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def core(typing: Any) -> Any:
    """The core this thread runs on; -1 where nobody tells."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.sext(_c(b, "sched_getcpu", ir.FunctionType(_I32, [])), _I64) if _LINUX else _I64(-1)

    return types.int64(), emit


@intrinsic
def stay_on(typing: Any, size: Any, mask: Any) -> Any:
    """Keep this thread on the cores whose bits are set in a mask of `size` bytes at an address."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if _LINUX:
            _c(b, "sched_setaffinity", ir.FunctionType(_I32, [_I32, _I64, _I64]), _I32(0), *args)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def invoke(typing: Any, function: Any, call: Any, count: Any, lo: Any, hi: Any) -> Any:
    """Call the function at an address with the `count` words that lie at `call`, and with lo and hi."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        function, call, count, lo, hi = args
        words = _word(b, call)
        done = b.append_basic_block("invoked")
        choice = b.switch(count, done)
        for n in range(WORDS + 1):
            block = b.append_basic_block(f"with {n}")
            choice.add_case(_I64(n), block)
            b.position_at_end(block)
            kind = ir.FunctionType(ir.VoidType(), [_I64] * (n + 2))
            given = [b.load(b.gep(words, [_I64(k)])) for k in range(n)]
            b.call(b.inttoptr(function, kind.as_pointer()), [*given, lo, hi])
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


WORDS = 40  # the most that a call can have


@intrinsic
def lock_call(typing: Any, function: Any, lock: Any, flag: Any) -> Any:
    """Call PyThread_acquire_lock or PyThread_release_lock by its address; neither asks for Python's own lock."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I64, _I32])  # the one that takes no flag does not look at it
        b.call(b.inttoptr(args[0], kind.as_pointer()), [args[1], b.trunc(args[2], _I32)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def meet(typing: Any, place: Any, count: Any) -> Any:
    """meet(address, n): say that one is here, and wait until n have said so in all. For threads that share one step.

    Spins, for a step takes microseconds; a thread that has waited long gives its core away.
    """

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        counter = _word(b, args[0])
        b.atomic_rmw("add", counter, _I64(1), "seq_cst")
        before, wait, idle, after = b.basic_block, *(b.append_basic_block(n) for n in ("wait", "idle", "met"))
        b.branch(wait)
        b.position_at_end(wait)
        turns = b.phi(_I64)
        turns.add_incoming(_I64(0), before)
        here = b.load_atomic(counter, "acquire", 8)
        more = b.add(turns, _I64(1))
        still = b.append_basic_block("still")
        b.cbranch(b.icmp_signed(">=", here, args[1]), after, still)
        b.position_at_end(still)
        turns.add_incoming(more, still)
        b.cbranch(b.icmp_signed(">", turns, _I64(PATIENCE)), idle, wait)
        b.position_at_end(idle)
        _give_way(b)
        turns.add_incoming(more, idle)
        b.branch(wait)
        b.position_at_end(after)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


PATIENCE = 20_000  # looks at the counter before the core is given away: some 20 us

# ------------------------------------------------------------------------------------------------------ the team's kernels
# The board: a line of 64 bytes for what changes together. Line 0: pieces left, pieces done, and the job; line 1: the cores
# this process may use; then for every helper a line [asleep, lock, stop] and one for the mask it asks for.
LINE = 128
SOURCE = f"""from tinygrad_lstm.atomics import add, core, give_way, invoke, lock_call, look, stay_on, swap  # {fingerprint}

LEFT, DONE, FUNCTION, CALL, COUNT, N, PIECES, CORE = 0, {LINE}, {LINE + 8}, {LINE + 16}, {LINE + 24}, {LINE + 32}, {LINE + 40}, {LINE + 48}
CORES, HELPERS, LINE = {2 * LINE}, {3 * LINE}, {LINE}
ASLEEP, LOCK, STOP, MASK = 0, 8, 16, {LINE}


"""
DISPATCH = """def {function}(board, table, jobs, words, helpers, release):
    # Jobs one after the other, a row each: function, first word, words, n, pieces, whether all pieces run at the same time.
    # The pieces of a job are taken as threads come; the next job begins when all are done.
    for j in range(jobs):
        row = table + j * 48
        function, call, count = look(row), words + look(row + 8) * 8, look(row + 16)
        n, pieces = look(row + 24), look(row + 32)
        if look(row + 40):  # its last two words: how many they are, and where they meet: at the word behind
            n = pieces = min(n, helpers + 1)
            behind = call + count * 8
            swap(behind - 16, n)
            swap(behind - 8, behind)
            swap(behind, 0)
        if pieces == 0:
            continue
        if pieces == 1 or helpers == 0:
            invoke(function, call, count, 0, n)
            continue
        swap(board + DONE, 0)
        swap(board + FUNCTION, function)
        swap(board + CALL, call)
        swap(board + COUNT, count)
        swap(board + N, n)
        swap(board + PIECES, pieces)
        swap(board + CORE, core())
        swap(board + LEFT, pieces)
        for k in range(min(helpers, pieces - 1)):
            own = board + HELPERS + 2 * k * LINE
            if look(own + ASLEEP) and swap(own + ASLEEP, 0):
                lock_call(release, look(own + LOCK), 0)
        mine = 0
        while look(board + LEFT) > 0:
            left = add(board + LEFT, -1)
            if left > 0:
                piece = pieces - left
                invoke(function, call, count, n * piece // pieces, n * (piece + 1) // pieces)
                mine += 1
        turns = 0
        while look(board + DONE) + mine < pieces:
            turns += 1
            if turns > 10_000:
                give_way()
"""
HELP = """def {function}(board, k, acquire, patience):
    # A helper's life: take pieces; look for more for a while; sleep until there is some.
    own = board + HELPERS + 2 * k * LINE
    turns = 0
    while True:
        if look(board + LEFT) > 0:
            left = add(board + LEFT, -1)
            if left > 0:
                at = look(board + CORE)
                if at >= 0 and at == core():  # Linux likes to wake a thread on its waker's core
                    for j in range(0, LINE, 8):
                        bits = look(board + CORES + j)
                        swap(own + MASK + j, bits & ~(1 << (at % 64)) if at // 64 == j // 8 else bits)
                    stay_on(LINE, own + MASK)
                n, pieces = look(board + N), look(board + PIECES)
                piece = pieces - left
                function, call, count = look(board + FUNCTION), look(board + CALL), look(board + COUNT)
                invoke(function, call, count, n * piece // pieces, n * (piece + 1) // pieces)
                add(board + DONE, 1)
                turns = 0
            continue
        turns += 1
        if turns % 64 == 0:
            give_way()
        if turns > patience:
            turns = 0
            swap(own + ASLEEP, 1)
            if (look(board + LEFT) > 0 or look(own + STOP)) and swap(own + ASLEEP, 0):
                continue
            lock_call(acquire, look(own + LOCK), 1)
        if look(own + STOP):
            return
"""
