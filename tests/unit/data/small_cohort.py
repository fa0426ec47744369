"""Cohorts for the tests of this folder: bare ones without files, and small real ones of NIfTI files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
from medseg.data.formats.volume import Header, Volume, voxel_size
from medseg.data.plan import Plan

ZSCORE = {"method": "zscore", "lower": 0.5, "upper": 99.5, "nonzero": False}
LABELS = Labels(("organ", "lesion"), ((1,), (2,)))


def bare(patients: Sequence[tuple[str, str | None, bool]], fold_of: dict[str, int] | None = None) -> Cohort:
    """A cohort that is never read: (patient, centre, labelled) for each case."""
    cases = tuple(
        Case(
            f"case{number:03d}",
            patient,
            {"MR": Path("none.nii.gz")},
            Path("none.nii.gz") if labelled else None,
            centre,
            (fold_of or {}).get(patient),
        )
        for number, (patient, centre, labelled) in enumerate(patients)
    )
    return Cohort("bare", cases, ("MR",), LABELS, Path(), 3)


def a_plan(spacing=(1.0, 1.0, 1.0), axes=(0, 1, 2), dims=3, modalities=("MR",)) -> Plan:
    """A plan of this grid and a network of one level."""
    ones = (1,) * dims
    return Plan(
        dims, modalities, axes, spacing, (8,) * dims, 1, (ones,), (ones,), (4,),
        dict.fromkeys(modalities, ZSCORE), False, "32-true",
    )  # fmt: skip


def volume(array: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    """Voxels as the readers give them."""
    affine = np.eye(4) if affine is None else affine
    return Volume(array, affine, Header(array.shape, affine, voxel_size(affine), array.dtype.name))


def axis_affine(permutation: Sequence[int], flips: Sequence[bool], spacing: Sequence[float]) -> np.ndarray:
    """The affine of a file whose axis ``a`` runs along ``permutation[a]`` of RAS, against it if flipped."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis in range(3):
        affine[permutation[axis], axis] = spacing[axis] * (-1 if flips[axis] else 1)
    affine[:3, 3] = (12.5, -30.0, 7.0)
    return affine


def on_disk(
    root: Path,
    cases: int = 4,
    shape: tuple[int, int, int] = (18, 16, 12),
    modalities: Sequence[str] = ("T1", "T2"),
    write: bool = True,
) -> Cohort:
    """A cohort of NIfTI files: a box of an organ with a lesion in noise; every third case lacks T2.

    Without ``write`` the files are those of an earlier call.
    """
    root.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(cases):
        random = np.random.Generator(np.random.Philox(number))
        label = np.zeros(shape, dtype=np.uint8)
        label[4:12, 4:10, 3:9] = 1
        label[6:9, 6:8, 4:7] = 2
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        images = {}
        for channel, modality in enumerate(modalities):
            if channel and number % 3 == 2:
                continue
            image = random.normal(100, 10, shape) + (label == channel + 1) * 80
            images[modality] = root / f"case{number}_{modality}.nii.gz"
            if write:
                nib.save(nib.Nifti1Image(image.astype(np.float32), affine), images[modality])
        reference = root / f"case{number}_label.nii.gz"
        if write:
            nib.save(nib.Nifti1Image(label, affine), reference)
        made.append(Case(f"case{number}", f"patient{number}", images, reference, "AB"[number % 2]))
    return Cohort("small", tuple(made), tuple(modalities), LABELS, root, 3)
