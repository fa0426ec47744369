"""Reading a `Topology` and a `Pyramid`: total strides, steps between levels, kernels of a level."""

from __future__ import annotations

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


def kernel_at(topology: Topology, stride: tuple[int, ...]) -> tuple[int, ...]:
    """The topology's kernel for features of this total stride: of its coarsest level not beyond it."""
    levels = make_pyramid(topology).strides
    fitting = [i for i, level in enumerate(levels) if all(a <= b for a, b in zip(level, stride, strict=True))]
    return topology.kernels[max(fitting, default=0)]
