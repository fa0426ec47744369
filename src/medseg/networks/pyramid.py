"""Reading a `Topology` and a `Pyramid`: total strides, steps between levels, the way up, a level's kernel."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError


def make_pyramid(topology: Topology) -> Pyramid:
    """The pyramid of an encoder with one level per row of the topology."""
    total = (1,) * topology.spatial_dims
    strides = []
    for stride in topology.strides:
        total = tuple(t * s for t, s in zip(total, stride, strict=True))
        strides.append(total)
    return Pyramid(topology.spatial_dims, tuple(topology.widths), tuple(strides))


def find_steps(pyramid: Pyramid) -> tuple[tuple[int, ...], ...]:
    """Per level the step from the level above it; for the first, from the input.

    Raises:
        UserError: where a stride is no multiple of the one before.
    """
    above = ((1,) * pyramid.spatial_dims, *pyramid.strides[:-1])
    for fine, coarse in zip(above, pyramid.strides, strict=True):
        if any(c % f for f, c in zip(fine, coarse, strict=True)):
            raise UserError(
                "network", f"the stride {coarse} is no multiple of {fine}, the one of the level above"
            )
    return tuple(
        tuple(c // f for f, c in zip(fine, coarse, strict=True))
        for fine, coarse in zip(above, pyramid.strides, strict=True)
    )


@dataclass(frozen=True)
class Climb:
    """One step of a way up, from a level to the next finer one.

    Attributes:
        below: the encoder's channels where it starts.
        here: the channels that belong where it ends: the encoder's, or where it has no such level
            those of its finest.
        skip: the encoder's channels where it ends, 0 where it has no such level.
        step: how many times larger each axis becomes.
        stride: the total stride where it ends.
    """

    below: int
    here: int
    skip: int
    step: tuple[int, ...]
    stride: tuple[int, ...]


def find_climbs(pyramid: Pyramid) -> tuple[Climb, ...]:
    """The steps from the coarsest level up to the input's resolution, finest first.

    A pyramid that starts below that resolution has a last step to it, without a skip.

    Raises:
        UserError: where a stride is no multiple of the one before.
    """
    steps, channels, full = find_steps(pyramid), pyramid.channels, (1,) * pyramid.spatial_dims
    climbs = [
        Climb(below, here, here, step, stride)
        for below, here, step, stride in zip(channels[1:], channels, steps[1:], pyramid.strides, strict=False)
    ]
    if pyramid.strides[0] != full:
        climbs.insert(0, Climb(channels[0], channels[0], 0, steps[0], full))
    return tuple(climbs)


def kernel_at(topology: Topology, stride: tuple[int, ...]) -> tuple[int, ...]:
    """The topology's kernel for features of this total stride: of its coarsest level not beyond it."""
    levels = make_pyramid(topology).strides
    fitting = [i for i, level in enumerate(levels) if all(a <= b for a, b in zip(level, stride, strict=True))]
    return topology.kernels[max(fitting, default=0)]
