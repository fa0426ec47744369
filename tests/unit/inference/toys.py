"""Plans and networks small enough to run everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.inference.assemble import assemble_network

UNET = {"_target_": "medseg.networks.unet.UNet"}
EARLY = {"_target_": "medseg.fusion.early.EarlyFusion"}
TWO_CLASSES = Labels(("organ", "lesion"), ((1,), (2,)))


def tiny_plan(**changes: Any) -> Plan:
    """A plan of one 3D modality with two levels, no normalisation and 1 mm voxels."""
    values: dict[str, Any] = {
        "spatial_dims": 3,
        "modalities": ("MRI",),
        "axes": (0, 1, 2),
        "spacing": (1.0, 1.0, 1.0),
        "patch_size": (8, 8, 8),
        "batch_size": 2,
        "strides": ((1, 1, 1), (2, 2, 2)),
        "kernels": ((3, 3, 3), (3, 3, 3)),
        "widths": (4, 6),
        "in_plane_only": False,
        "precision": "32-true",
    } | changes
    values.setdefault("normalisation", {name: {"method": "none"} for name in values["modalities"]})
    return Plan(**values)


def flat_plan(**changes: Any) -> Plan:
    """The same for slices."""
    flat = {
        "spatial_dims": 2,
        "patch_size": (8, 8),
        "strides": ((1, 1), (2, 2)),
        "kernels": ((3, 3), (3, 3)),
    }
    return tiny_plan(**(flat | changes))


def make_network(plan: Plan, labels: Labels, seed: int = 0, deep_supervision: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return assemble_network(UNET, EARLY, plan, labels, deep_supervision)
