"""What a processor does with 64 bits at once and numba does not offer.

A word of codes holds eight voxels, a word of a bit mask 64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from medseg.data.machine_code import inner

ONE, EVERY = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
BYTE, EVERY_BYTE = np.uint64(0xFF), np.uint64(0x0101010101010101)


@intrinsic  # type: ignore[untyped-decorator]
def _load(_typing: Any, codes: Any, place: Any) -> Any:
    """Eight uint8 from ``place`` on, wherever they begin."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(codes, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest(_typing: Any, word: Any) -> Any:
    """The number of the lowest bit that is set; 64 if none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@inner
def eight(codes: Any, place: Any, n: Any) -> Any:
    """The ``n`` <= 8 codes from ``place`` on as one word, the first in the lowest byte, zeros after the last.

    Args:
        codes: ``(V,)`` uint8.
        place: of the first.
        n: how many.
    """
    if n == 8:
        return _load(codes, place)
    if place >= 8 - n:
        return _load(codes, place - (8 - n)) >> np.uint64(8 * (8 - n))
    word = np.uint64(0)
    for k in range(n):
        word |= np.uint64(codes[place + k]) << np.uint64(8 * k)
    return word


@inner
def uniform(word: Any) -> Any:
    """Whether all eight codes are the same."""
    return word == (word & BYTE) * EVERY_BYTE


@inner
def shifted(row: Any, w: Any, step: Any) -> Any:
    """Word ``w`` of a row whose bit ``z`` is bit ``z + step`` of ``row``; beyond the row is nothing.

    Args:
        row: ``(words,)`` uint64.
        w: which word.
        step: from -63 to 63.
    """
    word = row[w]
    if step > 0:
        word >>= np.uint64(step)
        if w + 1 < row.shape[0]:
            word |= row[w + 1] << np.uint64(64 - step)
    elif step < 0:
        word <<= np.uint64(-step)
        if w > 0:
            word |= row[w - 1] >> np.uint64(64 + step)
    return word
