"""Plans and networks small enough to run everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import nn

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
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


def write_scan(path: Path, seed: int = 0, shape: tuple[int, ...] = (10, 9, 12)) -> Path:
    array = np.random.Generator(np.random.Philox(seed)).normal(size=shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1.0, 1.0, 1.0])), path)
    return path


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def toy_cohort(scans: Path, labels: Labels = TWO_CLASSES) -> Cohort:
    cases = tuple(
        Case(path.name[:5], path.name[:5], {"MRI": path}, label=scans / "no_such_label.nii.gz")
        for path in sorted(scans.glob("case*"))
    )
    return Cohort("toy", cases, ("MRI",), labels, scans, 3)
