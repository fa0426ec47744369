"""Elementary functions in float32 without a branch or a table, so that loops over them become vectors.

Cephes' polynomials (Moshier 1989), right to about 1e-7. numpy's and the C library's would be calls.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.patches.augment.lanes import bits_of, float_of

_F = np.float32
_ONE, _HALF = _F(1), _F(0.5)
_SQRT_HALF_BITS, _EXPONENT = np.int32(0x3F3504F3), np.int32(23)
_L0, _L1, _L2 = _F(7.0376836292e-2), _F(-1.1514610310e-1), _F(1.1676998740e-1)
_L3, _L4, _L5 = _F(-1.2420140846e-1), _F(1.4249322787e-1), _F(-1.6668057665e-1)
_L6, _L7, _L8 = _F(2.0000714765e-1), _F(-2.4999993993e-1), _F(3.3333331174e-1)
_E0, _E1, _E2 = _F(1.535336188319500e-4), _F(1.339887440266574e-3), _F(9.618437357674640e-3)
_E3, _E4, _E5 = _F(5.550332471162809e-2), _F(2.402264791363012e-1), _F(6.931472028550421e-1)
_S0, _S1, _S2 = _F(-1.9515295891e-4), _F(8.3321608736e-3), _F(-1.6666654611e-1)
_C0, _C1, _C2 = _F(2.443315711809948e-5), _F(-1.388731625493765e-3), _F(4.166664568298827e-2)
_LOWEST, _HIGHEST = _F(-126), _F(127)
_LOG2_E, _LN_2, _STEP = _F(1 / math.log(2)), _F(math.log(2)), _F(math.pi / 2**31)


@inner
def _mantissa(x: Any) -> tuple[Any, Any]:
    """``e`` and ``m`` of ``x = 2 ** e * (1 + m)``, with ``1 + m`` from sqrt(1/2) to sqrt(2)."""
    bits = bits_of(x)
    e = np.int32(bits - _SQRT_HALF_BITS) >> _EXPONENT
    return _F(e), float_of(bits - (e << _EXPONENT)) - _ONE


@inner
def _log_of_mantissa(m: Any) -> Any:
    z = m * m
    p = ((((((_L0 * m + _L1) * m + _L2) * m + _L3) * m + _L4) * m + _L5) * m + _L6) * m
    return m + (((p + _L7) * m + _L8) * m * z - _HALF * z)


@inner
def log(x: Any) -> Any:
    """The natural logarithm of a normal positive number."""
    e, m = _mantissa(x)
    return e * _LN_2 + _log_of_mantissa(m)


@inner
def log2(x: Any) -> Any:
    """The binary logarithm of a normal positive number."""
    e, m = _mantissa(x)
    return e + _log_of_mantissa(m) * _LOG2_E


@inner
def exp2(x: Any) -> Any:
    """2 to the power x; x is kept within -126 and 127."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    whole = np.floor(x + _HALF)
    f = x - whole
    p = ((((_E0 * f + _E1) * f + _E2) * f + _E3) * f + _E4) * f + _E5
    return (_ONE + f * p) * float_of((np.int32(whole) + np.int32(127)) << _EXPONENT)


@inner
def exp(x: Any) -> Any:
    """The exponential."""
    return exp2(x * _LOG2_E)


@inner
def sine_and_cosine(turn: Any) -> tuple[Any, Any]:
    """Of an angle in 2 ** -32 turns, a uint32."""
    quarter = np.uint32(turn + np.uint32(0x20000000)) >> np.uint32(30)
    x = _F(np.int32(turn - np.uint32(quarter << np.uint32(30)))) * _STEP
    z = x * x
    s = ((_S0 * z + _S1) * z + _S2) * z * x + x
    c = ((_C0 * z + _C1) * z + _C2) * z * z - _HALF * z + _ONE
    odd = (quarter & np.uint32(1)) != 0
    sine, cosine = (c, s) if odd else (s, c)
    sine = -sine if (quarter & np.uint32(2)) != 0 else sine
    return sine, -cosine if ((quarter + np.uint32(1)) & np.uint32(2)) != 0 else cosine
