"""The least of many squared distances, eight side by side: a compiler does not find that by itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_F64, _I32 = ir.DoubleType(), ir.IntType(32)
_VECTOR = ir.VectorType(_F64, LANES)


def _spread(builder: Any, value: Any) -> Any:
    """The value in every lane."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
    order = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, order)


def _lower(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _lowest(builder: Any, vector: Any) -> Any:
    """The least lane."""
    half = LANES // 2
    while half:
        order = ir.Constant(ir.VectorType(_I32, LANES), [(k + half) % LANES for k in range(LANES)])
        vector = _lower(builder, vector, builder.shuffle_vector(vector, vector, order))
        half //= 2
    return builder.extract_element(vector, ir.Constant(_I32, 0))


@intrinsic  # type: ignore[untyped-decorator]
def least_square(_t: Any, x: Any, y: Any, z: Any, targets: Any, first: Any, last: Any, best: Any) -> Any:
    """The least of ``best`` and the squared distances of a point to some of the targets.

    Up to ``LANES - 1`` targets after the last one are looked at as well.

    Args:
        x, y, z: float64, the point.
        targets: ``(3, n)`` float64.
        first: of the targets.
        last: the one after the last, at most ``n - LANES + 1``.
        best: float64.
    """
    whole = types.intp
    signature = types.float64(
        types.float64, types.float64, types.float64, targets, whole, whole, types.float64
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[3])(context, builder, arguments[3])
        length, first = builder.extract_value(array.shape, 1), arguments[4]
        lanes = ir.Constant(first.type, LANES)
        found = cgutils.alloca_once_value(builder, _spread(builder, arguments[6]))
        point = [_spread(builder, value) for value in arguments[:3]]
        span = builder.sub(arguments[5], first)
        turns = builder.sdiv(builder.add(span, ir.Constant(first.type, LANES - 1)), lanes)
        with cgutils.for_range(builder, turns) as loop:
            at, total = builder.add(first, builder.mul(loop.index, lanes)), None
            for axis, value in enumerate(point):
                place = builder.add(at, builder.mul(length, ir.Constant(length.type, axis)))
                pointer = builder.bitcast(builder.gep(array.data, [place]), _VECTOR.as_pointer())
                apart = builder.fsub(builder.load(pointer, align=8), value)
                square = builder.fmul(apart, apart)
                total = square if total is None else builder.fadd(total, square, flags=("contract",))
            builder.store(_lower(builder, total, builder.load(found)), found)
        return _lowest(builder, builder.load(found))

    return signature, generate
