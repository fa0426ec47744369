"""Gathers that a compiler does not find by itself: eight voxels side by side, two neighbours per load.

Written as LLVM's own vectors, which any processor runs with the registers that it has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES = 8
_F32, _I32 = ir.FloatType(), ir.IntType(32)
_EVERY_BYTE = 0x0101010101010101


def _lanes(n: int) -> Any:
    return ir.VectorType(_F32, n)


def _pick(builder: Any, first: Any, second: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_I32, len(order)), order))


def _at(builder: Any, pointer: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


def _lerp(builder: Any, low: Any, high: Any, share: Any) -> Any:
    flags = ("contract",)
    rise = builder.fmul(share, builder.fsub(high, low, flags=flags), flags=flags)
    return builder.fadd(low, rise, flags=flags)


def _neighbours(builder: Any, pointer: Any, starts: list[Any]) -> Any:
    """``(2 * LANES,)``: the voxel at each start and the one after it."""
    parts = [builder.load(_at(builder, pointer, start, _lanes(2)), align=4) for start in starts]
    while len(parts) > 1:
        order = list(range(2 * parts[0].type.count))
        parts = [_pick(builder, a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _fetch(builder: Any, pointer: Any, index: Any) -> None:
    """Asks for what will be read soon; harmless where there is nothing."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    prefetch = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    place = builder.bitcast(builder.gep(pointer, [index]), byte)
    builder.call(prefetch, [place, ir.Constant(_I32, 0), ir.Constant(_I32, 3), ir.Constant(_I32, 1)])


def _starts(builder: Any, bases: Any, z: Any) -> list[Any]:
    return [builder.load(builder.gep(bases, [builder.add(z, ir.Constant(z.type, k))])) for k in range(LANES)]


def _trilinear(builder: Any, pointer: Any, starts: list[Any], steps: list[Any], shares: list[Any]) -> Any:
    """``(LANES,)`` values at the ``shares`` of the cells that begin at ``starts``."""

    def corners(step: Any) -> Any:
        return _neighbours(builder, pointer, [builder.add(start, step) for start in starts])

    twice = [k // 2 for k in range(2 * LANES)]
    x, y = (_pick(builder, share, share, twice) for share in shares[:2])
    s1, s2 = steps
    near = _lerp(builder, corners(ir.Constant(s1.type, 0)), corners(s1), y)
    far = _lerp(builder, corners(s2), corners(builder.add(s1, s2)), y)
    pairs = _lerp(builder, near, far, x)
    low = _pick(builder, pairs, pairs, list(range(0, 2 * LANES, 2)))
    high = _pick(builder, pairs, pairs, list(range(1, 2 * LANES, 2)))
    return _lerp(builder, low, high, shares[2])


@intrinsic  # type: ignore[untyped-decorator]
def interpolate(
    _t: Any, source: Any, offset: Any, base: Any, share: Any, z: Any, steps: Any, out: Any
) -> Any:
    """Trilinear interpolation of voxels ``z`` to ``z + LANES`` of a row.

    Args:
        source: ``(V,)`` float32, of which ``source[offset + base[z]]`` is the first of the eight corners.
        offset: of the channel.
        base: ``(n,)`` int64.
        share: ``(3, n)`` float32, the position within the cell.
        z: first voxel.
        steps: distance of neighbours along the second and the first axis, and how far ahead to ask for what
            later rows will read.
        out: ``(n,)`` float32, of which ``LANES`` elements are written.
    """
    whole = types.intp
    signature = types.void(source, whole, base, share, whole, types.UniTuple(whole, 3), out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, bases, shares, written = (
            context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2, 3, 6)
        )
        z = arguments[4]
        s1, s2, ahead = (builder.extract_value(arguments[5], k) for k in range(3))
        pointer = builder.gep(first.data, [arguments[1]])
        length = builder.extract_value(shares.shape, 1)
        starts = _starts(builder, bases.data, z)
        for start in starts[::2]:  # neighbours share their cache lines
            _fetch(builder, pointer, builder.add(start, ahead))
        fractions = []
        for axis in range(3):
            place = builder.add(z, builder.mul(length, ir.Constant(z.type, axis)))
            fractions.append(builder.load(_at(builder, shares.data, place, _lanes(LANES)), align=4))
        found = _trilinear(builder, pointer, starts, [s1, s2], fractions)
        builder.store(found, _at(builder, written.data, z, _lanes(LANES)), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def pair(_typing: Any, codes: Any, index: Any) -> Any:
    """The uint8 codes at ``index`` and after it as one uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load(_at(builder, array.data, arguments[1], ir.IntType(16)), align=1)

    return types.uint16(codes, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def one_code(_typing: Any, label: Any, base: Any, z: Any, steps: Any, out: Any, at: Any) -> Any:
    """Gives voxels ``z`` to ``z + LANES`` of a row the code of their cell's first corner.

    Arguments are those of `interpolate`. Returns a bit for each whose other corners have other codes too.
    """
    whole = types.intp
    signature = types.uint16(label, base, whole, types.UniTuple(whole, 3), out, whole)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, bases, written = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 1, 4)
        )
        z, at = arguments[2], arguments[5]
        s1, s2, ahead = (builder.extract_value(arguments[3], k) for k in range(3))
        short, word = ir.IntType(16), ir.VectorType(ir.IntType(16), LANES)
        starts = _starts(builder, bases, z)

        def pairs(step: Any) -> Any:
            found, pointer = ir.Constant(word, ir.Undefined), builder.gep(codes, [step])
            for k, start in enumerate(starts):
                two = builder.load(_at(builder, pointer, start, short), align=1)
                found = builder.insert_element(found, two, ir.Constant(_I32, k))
            return found

        near = pairs(ir.Constant(z.type, 0))
        turned = builder.or_(
            builder.shl(near, ir.Constant(word, [8] * LANES)),
            builder.lshr(near, ir.Constant(word, [8] * LANES)),
        )
        differ = builder.xor(near, turned)
        for step in (s1, s2, builder.add(s1, s2)):
            differ = builder.or_(differ, builder.xor(near, pairs(step)))
        first = ir.VectorType(ir.IntType(8), LANES)
        target = _at(builder, written, builder.add(at, z), first)
        builder.store(builder.trunc(near, first), target, align=1)
        for start in starts[::4]:
            _fetch(builder, codes, builder.add(start, ahead))
        zero = ir.Constant(word, [0] * LANES)
        several = builder.bitcast(builder.icmp_unsigned("!=", differ, zero), ir.IntType(LANES))
        return builder.zext(several, short)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def majority(_typing: Any, codes: Any, fx: Any, fy: Any, fz: Any) -> Any:
    """The code that wins in a cell with several, or -1 if there are more than two and none has half.

    Args:
        codes: the eight corners' as one uint64, the first axis as bit 2 of a corner's number, the last as 0.
        fx, fy, fz: the position within the cell.
    """
    signature = types.int32(types.uint64, types.float32, types.float32, types.float32)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8), ir.IntType(64)
        packed = arguments[0]
        corners = builder.bitcast(packed, ir.VectorType(byte, 8))

        def spread(value: Any, kind: Any, order: list[int]) -> Any:
            empty = ir.Constant(ir.VectorType(kind, 2), ir.Undefined)
            one = builder.insert_element(empty, value, ir.Constant(_I32, 1))
            if kind is _F32:
                rest = builder.fsub(ir.Constant(_F32, 1.0), value)
                one = builder.insert_element(one, rest, ir.Constant(_I32, 0))
            return _pick(builder, one, one, order)

        weight = builder.fmul(
            builder.fmul(
                spread(arguments[1], _F32, [k >> 2 for k in range(8)]),
                spread(arguments[2], _F32, [(k >> 1) & 1 for k in range(8)]),
            ),
            spread(arguments[3], _F32, [k & 1 for k in range(8)]),
        )
        first = builder.trunc(packed, byte)
        differ = builder.icmp_unsigned("!=", corners, spread(first, byte, [1] * 8))
        share = builder.select(differ, ir.Constant(weight.type, [0.0] * 8), weight)
        for half in (4, 2, 1):
            low, high = list(range(half)), list(range(half, 2 * half))
            share = builder.fadd(_pick(builder, share, share, low), _pick(builder, share, share, high))
        share = builder.extract_element(share, ir.Constant(_I32, 0))
        changed = builder.xor(packed, builder.mul(builder.zext(first, word), ir.Constant(word, _EVERY_BYTE)))
        place = builder.and_(builder.cttz(changed, ir.Constant(ir.IntType(1), 0)), ir.Constant(word, 56))
        other = builder.trunc(builder.lshr(packed, place), byte)
        third = builder.and_(differ, builder.icmp_unsigned("!=", corners, spread(other, byte, [1] * 8)))
        many = builder.icmp_unsigned("!=", builder.bitcast(third, byte), ir.Constant(byte, 0))
        rest = builder.select(many, ir.Constant(_I32, -1), builder.zext(other, _I32))
        wins = builder.fcmp_ordered(">=", share, ir.Constant(_F32, 0.5))
        return builder.select(wins, builder.zext(first, _I32), rest)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(_typing: Any, value: Any) -> Any:
    """The bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _c, builder, _s, a: builder.bitcast(a[0], _I32)


@intrinsic  # type: ignore[untyped-decorator]
def float_of(_typing: Any, bits: Any) -> Any:
    """The float32 with the bits of an int32."""
    return types.float32(types.int32), lambda _c, builder, _s, a: builder.bitcast(a[0], _F32)
