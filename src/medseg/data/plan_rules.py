"""The rules by which a plan's spacing, axes and normalisation follow from a fingerprint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.data.fingerprint import PERCENTILES, Fingerprint
from medseg.data.normalise import learn_landmarks
from medseg.data.resample import ANISOTROPY
from medseg.errors import Problems, UserError

CT_WORDS = {"ct", "cta", "cect", "ncct", "ldct", "ctp", "cbct"}
CROPPED_AWAY = 0.25
"""Share of the volume that cropping must remove before zeros count as "outside" (nnU-Net's rule)."""
LANDMARKS = slice(1, -1)
"""The part of `PERCENTILES` that histogram standardisation uses: 1, 10, 20 ... 90, 99."""


def store_axes(fp: Fingerprint, dims: int) -> tuple[tuple[int, int, int], str]:
    """The order of axes, the slice axis last, and why.

    The slice axis is the one with the coarsest median spacing, of several the last; in a cohort of pictures
    the one with a single voxel.

    Raises:
        Problems: cases that are not one slice in the plane of the others.
    """
    if fp.spatial_dims == 2:
        return _picture_axes(fp)
    spacing = np.median([case.spacing for case in fp.cases], axis=0)
    # A tenth is noise, not a slice distance.
    coarse = max(axis for axis in range(3) if spacing[axis] >= 0.9 * spacing.max())
    if dims == 3 and spacing.max() < 1.1 * spacing.min():
        return (0, 1, 2), "isotropic: right, front, up"
    order = [axis for axis in range(3) if axis != coarse]
    why = f"the axis of {spacing[coarse]:.3g} mm is the slice axis and comes last"
    return (order[0], order[1], coarse), why


def _picture_axes(fp: Fingerprint) -> tuple[tuple[int, int, int], str]:
    shape = np.median([case.shape for case in fp.cases], axis=0)
    thin = min(range(3), key=lambda axis: (shape[axis], -axis))
    direction = ("right-left", "front-back", "up-down")[thin]
    fix = "leave it out, or put it into a cohort of its own"
    if problems := [
        f"{case.id}: has {case.shape[thin]} voxels {direction}, where the cohort has one slice; {fix}"
        for case in fp.cases
        if case.shape[thin] > 1
    ]:
        raise Problems(sorted(problems))
    i, j = (axis for axis in range(3) if axis != thin)
    return (i, j, thin), "the axis of one voxel comes last" if thin != 2 else "pictures have one slice"


def target_spacing(fp: Fingerprint, axes: Sequence[int]) -> tuple[tuple[float, float, float], str]:
    """The spacing to resample to, in store order, and why.

    The median; where one axis is three times as coarse and has a third of the voxels, its 10th percentile,
    so that thin-sliced cases keep their slices, but never finer than the other axes (nnU-Net's rule).
    """
    spacings = np.array([[case.spacing[a] for a in axes] for case in fp.cases])
    shapes = np.array([[case.cropped[a] for a in axes] for case in fp.cases])
    target = np.median(spacings, axis=0)
    size = np.median(shapes * spacings, axis=0) / target
    coarse = int(target.argmax())
    others = [axis for axis in range(3) if axis != coarse]
    why = "the median of the cases"
    anisotropic = target[coarse] > ANISOTROPY * target[others].max()
    if fp.spatial_dims == 3 and anisotropic and size[coarse] * ANISOTROPY < size[others].min():
        fine = float(np.percentile(spacings[:, coarse], 10))
        target[coarse] = max(fine, target[others].max())
        why = "the median of the cases, and their 10th percentile along the coarse axis"
    i, j, k = (float(f"{value:.6g}") for value in target)
    return (i, j, k), why


def median_shape(
    fp: Fingerprint, axes: Sequence[int], spacing: Sequence[float], dims: int
) -> tuple[float, float, float]:
    """Voxels per axis of the median case after cropping and resampling, in store order."""
    rows = []
    for case in fp.cases:
        row = [case.cropped[a] * case.spacing[a] / s for a, s in zip(axes, spacing, strict=True)]
        rows.append([*row[:2], float(case.cropped[axes[2]])] if dims == 2 else row)
    i, j, k = (float(value) for value in np.median(rows, axis=0))
    return i, j, k


def normalisation(
    fp: Fingerprint, asked: Mapping[str, str] | str | None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Modality -> scheme, and modality -> why.

    Raises:
        UserError: a setting names a modality that is not there, or a method that is not known.
    """
    if isinstance(asked, Mapping) and (unknown := sorted(set(asked) - set(fp.modalities))):
        raise UserError(
            "plan.normalisation", f"no modality {unknown[0]!r}", f"the cohort has {list(fp.modalities)}"
        )
    schemes, why = {}, {}
    for modality in fp.modalities:
        wish = asked.get(modality) if isinstance(asked, Mapping) else asked
        ct = bool(CT_WORDS & set(re.split(r"[^a-z]+", modality.lower())))
        method = wish or ("ct" if ct else "zscore")
        schemes[modality], why[modality] = _scheme(fp, modality, method)
        if wish:
            why[modality] = f"{method}, as asked"
    return schemes, why


def _scheme(fp: Fingerprint, modality: str, method: str) -> tuple[dict[str, Any], str]:
    nonzero, outside = _zeros_are_outside(fp, modality)
    if method == "ct":
        return _ct(fp, modality)
    if method == "zscore":
        why = (
            f"no absolute scale: z-score per image after clipping to its 0.5 and 99.5 percentiles; {outside}"
        )
        return {"method": method, "lower": 0.5, "upper": 99.5, "nonzero": nonzero}, why
    if method == "percentile":
        return {"method": method, "lower": 1.0, "upper": 99.0, "nonzero": nonzero}, outside
    if method == "histogram":
        return _histogram(fp, modality, nonzero), outside
    if method == "none":
        return {"method": method}, ""
    raise UserError(
        "plan.normalisation", f"{method!r} is not known", "use zscore, ct, percentile, histogram or none"
    )


def _ct(fp: Fingerprint, modality: str) -> tuple[dict[str, Any], str]:
    if (inside := fp.foreground.get(modality)) is not None:
        values = (inside.p0_5, inside.p99_5, inside.mean, inside.std)
        why = "Hounsfield units: clipped to the foreground's 0.5 and 99.5 percentiles, its mean and std"
    else:
        curves = np.median(
            [c.images[modality].curve for c in fp.cases if modality in c.images] or [(-1000, 0, 1000)], axis=0
        )
        middle = np.interp(np.linspace(0, 1, 1001), np.linspace(0, 1, len(curves)), curves)
        values = (float(curves[0]), float(curves[-1]), float(middle.mean()), float(middle.std()))
        why = "Hounsfield units, but no labels: clipped to the images' own percentiles"
    lower, upper, mean, std = (float(f"{value:.6g}") for value in values)
    # A foreground of one value has no width; a Hounsfield unit is as fine as CT goes.
    upper, std = max(upper, lower + 1.0), max(std, 1.0)
    return {"method": "ct", "lower": lower, "upper": upper, "mean": mean, "std": std}, why


def _histogram(fp: Fingerprint, modality: str, nonzero: bool) -> dict[str, Any]:
    images = [case.images[modality] for case in fp.cases if modality in case.images]
    curves = np.array([i.nonzero_curve if nonzero else i.curve for i in images], dtype=np.float64)
    percentiles = list(PERCENTILES)[LANDMARKS]
    landmarks = learn_landmarks(curves.reshape(-1, len(PERCENTILES))[:, LANDMARKS], percentiles)
    return {"method": "histogram", "percentiles": percentiles, "landmarks": landmarks, "nonzero": nonzero}


def _zeros_are_outside(fp: Fingerprint, modality: str) -> tuple[bool, str]:
    """Whether zeros are the surroundings of a cut-out organ rather than dark tissue."""
    cases = [case for case in fp.cases if modality in case.images]
    if not cases:
        return False, "no training case has it"
    kept = [np.prod(case.cropped) / np.prod(case.shape) for case in cases]
    zeros = float(
        np.median([1 - k * (1 - case.images[modality].zeros) for k, case in zip(kept, cases, strict=True)])
    )
    if float(np.median(kept)) < 1 - CROPPED_AWAY or zeros > 0.5:
        return True, f"{zeros:.0%} of the voxels are zero: only the others count"
    return False, "all voxels count"
