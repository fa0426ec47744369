"""Gaussian noise from a counter: equal names give equal noise on every thread.

Philox 4x32 with ten rounds (Salmon et al. 2011) makes four words of each count, and two pairs of
normals of those (Box and Muller 1958); both are sums and products, so sixteen counts run side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.patches.augment.float_math import log, sine_and_cosine
from medseg.patches.augment.kernel_types import Array

WORDS = 128
"""Normals per block of counts."""
_COUNTS = WORDS // 4
_U32, _U64, _F = np.uint32, np.uint64, np.float32
_M0, _M1 = _U64(0xD2511F53), _U64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_TO_UNIT, _HALF, _MINUS_TWO = _F(2.0**-32), _F(0.5), _F(-2)


@inner
def _round(c: Any, k0: Any, k1: Any, number: int) -> Any:
    """One round of Philox on the words ``c``."""
    a, b = _U64(c[0]) * _M0, _U64(c[2]) * _M1
    k0, k1 = _U32(k0 + _U32(number * _W0)), _U32(k1 + _U32(number * _W1))
    return _U32(b >> _U64(32)) ^ c[1] ^ k0, _U32(b), _U32(a >> _U64(32)) ^ c[3] ^ k1, _U32(a)


@inner
def philox(c: Any, k0: Any, k1: Any) -> Any:
    """Four uint32 of four under a key; without a loop, as only then loops over it become vectors."""
    c = _round(c, k0, k1, 0)
    c = _round(_round(_round(c, k0, k1, 1), k0, k1, 2), k0, k1, 3)
    c = _round(_round(_round(c, k0, k1, 4), k0, k1, 5), k0, k1, 6)
    return _round(_round(_round(c, k0, k1, 7), k0, k1, 8), k0, k1, 9)


@inner
def _pair(radius: Any, turn: Any) -> Any:
    """Two independent normals of two uniform words."""
    r = np.sqrt(_MINUS_TWO * log((_F(radius) + _HALF) * _TO_UNIT))
    sine, cosine = sine_and_cosine(turn)
    return r * sine, r * cosine


def add_noise(values: Array, std: Any, seed: Any, stream: Any, block: Array) -> None:
    """Adds noise to ``values`` ``(n,)`` float32, in place; ``block`` ``(WORDS,)`` float32 is to work in."""
    k0, k1, stream = _U32(seed & _U64(0xFFFFFFFF)), _U32(seed >> _U64(32)), _U32(stream)
    for start in range(0, values.size, WORDS):
        first = _U32(start // 4)
        for j in range(_COUNTS):
            a, b, c, d = philox((_U32(first + _U32(j)), stream, _U32(0), _U32(0)), k0, k1)
            w, x = _pair(a, b)
            y, z = _pair(c, d)
            block[j], block[_COUNTS + j] = w, x
            block[2 * _COUNTS + j], block[3 * _COUNTS + j] = y, z
        for j in range(min(WORDS, values.size - start)):
            values[_U64(start + j)] += std * block[_U64(j)]
