"""Topologies to test networks on: 2D and 3D, isotropic and not, deep and flat; all are tiny."""

from __future__ import annotations

from medseg.contracts import Topology

TOPOLOGIES = {
    "2d": Topology(2, (16, 12), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 8)),
    "2d-anisotropic": Topology(
        2, (16, 6), ((1, 1), (2, 1), (2, 2), (2, 1)), ((3, 1), (3, 3), (3, 3), (3, 3)), (4, 4, 8, 8)
    ),
    "3d": Topology(3, (8, 12, 8), ((1, 1, 1), (2, 2, 2), (2, 2, 2)), ((3, 3, 3),) * 3, (4, 6, 8)),
    "3d-anisotropic": Topology(
        3,
        (16, 24, 5),
        ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 3, 1)),
        ((3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)),
        (4, 8, 8, 12),
    ),
    "two-levels": Topology(3, (6, 6, 4), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3),) * 2, (4, 6)),
    "starts-coarse": Topology(3, (12, 8, 4), ((2, 2, 1), (1, 2, 2), (3, 2, 2)), ((3, 3, 3),) * 3, (4, 6, 8)),
}
