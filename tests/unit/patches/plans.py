"""Plans for the small store of `conftest`."""

from __future__ import annotations

from dataclasses import replace

from medseg.data.plan import Plan

MODALITIES = ("t1", "t2")


def volume_plan(**changes: object) -> Plan:
    plan = Plan(
        spatial_dims=3,
        modalities=MODALITIES,
        axes=(0, 1, 2),
        spacing=(1.0, 1.0, 1.5),
        patch_size=(16, 20, 12),
        batch_size=2,
        strides=((1, 1, 1), (2, 2, 2)),
        kernels=((3, 3, 3), (3, 3, 3)),
        widths=(4, 8),
        normalisation={
            m: {"method": "zscore", "nonzero": False, "lower": 0.0, "upper": 100.0} for m in MODALITIES
        },
        in_plane_only=False,
        precision="32-true",
    )
    return replace(plan, **changes)


def slice_plan() -> Plan:
    return volume_plan(
        spatial_dims=2,
        patch_size=(16, 20),
        strides=((1, 1), (2, 2)),
        kernels=((3, 3), (3, 3)),
    )


PLANS = {
    "3D": volume_plan(),
    "in-plane": volume_plan(in_plane_only=True),
    "2D": slice_plan(),
}
