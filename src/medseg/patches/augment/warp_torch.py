"""The same warp in plain torch: the definition that the compiled kernels are held against.

Slow and clear: every position, corner and weight is written out, and it runs on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.patches.augment.spatial import Elastic, Rules, Spatial


def positions(patch: Sequence[int], start: Sequence[int], spatial: Spatial) -> Tensor:
    """``(3, P0, P1, P2)`` float64: the source position that each voxel of the patch shows."""
    axes = [torch.arange(n, dtype=torch.float64) for n in patch]
    voxel = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    centre = torch.tensor([(n - 1) / 2 for n in patch], dtype=torch.float64).view(3, 1, 1, 1)
    sign = torch.tensor([-1.0 if flip else 1.0 for flip in spatial.flips], dtype=torch.float64)
    offset = sign.view(3, 1, 1, 1) * (voxel - centre)
    if spatial.matrix is not None:
        offset = torch.einsum("ij,jxyz->ixyz", torch.from_numpy(spatial.matrix), offset)
    position = torch.tensor(start, dtype=torch.float64).view(3, 1, 1, 1) + centre + offset
    return position if spatial.elastic is None else position + displacement(voxel, spatial.elastic)


def displacement(voxel: Tensor, elastic: Elastic) -> Tensor:
    """``(3, P0, P1, P2)``: the cubic B-spline through the control points, in source voxels."""
    control = torch.from_numpy(elastic.control).double()
    bases = []
    for axis, interval in enumerate(elastic.interval):
        count = control.shape[axis + 1]
        line = voxel[axis].movedim(axis, 0)[:, 0, 0] / interval
        distance = (line[:, None] - torch.arange(-1, count - 1)).abs()
        inner = 2 / 3 - distance**2 + distance**3 / 2
        outer = (2 - distance).clamp(min=0) ** 3 / 6
        basis = torch.where(distance < 1, inner, outer)
        # One control point along an axis means: the same displacement all along it.
        bases.append(torch.ones_like(basis) if count == 1 else basis)
    return torch.einsum("cijk,xi,yj,zk->cxyz", control, *bases)


def warp(
    image: Tensor,
    label: Tensor | None,
    patch: Sequence[int],
    start: Sequence[int],
    spatial: Spatial,
    rules: Rules,
) -> tuple[Tensor, Tensor | None]:
    """``(M, W, H, D)`` and ``(W, H, D)`` -> the patch of both."""
    position = positions(patch, start, spatial)
    floor = position.floor()
    fraction = position - floor
    out = image.new_zeros((len(image), *patch), dtype=torch.float64)
    codes = [] if label is None else sorted({int(c) for c in torch.unique(label)} | {rules.outside})
    votes = torch.zeros((len(codes), *patch), dtype=torch.float64)
    share = (fraction >= 0.5).double() if rules.nearest else fraction
    for k in range(8):
        bits = torch.tensor([(k >> 2) & 1, (k >> 1) & 1, k & 1]).view(3, 1, 1, 1)
        weight = torch.where(bits == 1, fraction, 1 - fraction).prod(0)
        corner = (floor + bits).long()
        size = torch.tensor(image.shape[1:]).view(3, 1, 1, 1)
        inside = ((corner >= 0) & (corner < size)).all(0)
        i, j, l = corner.clamp(min=0).minimum(size - 1)  # noqa: E741
        out += weight * inside * image[:, i, j, l]
        if label is not None:
            code = torch.where(inside, label[i, j, l], torch.tensor(rules.outside, dtype=label.dtype))
            vote = torch.where(bits == 1, share, 1 - share).prod(0)
            for row, name in enumerate(codes):
                votes[row] += vote * (code == name)
    found = None if label is None else torch.tensor(codes, dtype=label.dtype)[votes.argmax(0)]
    return out.to(image.dtype), found
