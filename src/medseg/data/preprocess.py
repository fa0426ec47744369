"""From a case's files to the store's arrays: turn, crop, normalise, resample; for prediction too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.data.geometry import Geometry, grid_difference, nonzero_box, store_turn, turn
from medseg.data.normalise import normalise
from medseg.data.resample import resample_codes, resample_image, resampled_shape
from medseg.errors import Problems, UserError

if TYPE_CHECKING:
    from medseg.data.formats.volume import Volume
    from medseg.data.plan import Plan


@dataclass(frozen=True)
class Prepared:
    """A case as the store holds it.

    Attributes:
        image: ``(M, W, H, D)`` float32 in store order; a missing modality is all zero.
        label: ``(W, H, D)`` uint8 codes, or ``None``.
        present: ``(M,)`` bool.
        geometry: the way back to the files' grid.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    present: NDArray[np.bool_]
    geometry: Geometry


def preprocess_case(
    volumes: Mapping[str, Volume],
    label: Volume | None,
    plan: Plan,
    labels: Labels,
    names: Mapping[str, str] | None = None,
) -> Prepared:
    """Prepares one case; pure.

    Args:
        volumes: modality -> voxels as read, for the modalities that the case has.
        label: codes on the same grid, if there are any.
        plan: what to do.
        labels: what the codes mean.
        names: what to call each modality (and ``"label"``) in messages, such as its file.

    Raises:
        UserError: no modality at all, different grids, NaN or infinite voxels, a singular affine, a single
            slice in another plane than a 2D plan's.
        Problems: several of these.
    """
    names = {key: key for key in (*volumes, "label")} | dict(names or {})
    _check(volumes, label, plan, labels, names)
    first = next(m for m in plan.modalities if m in volumes)
    affine = volumes[first].affine
    permutation, flips = store_turn(affine, plan.axes, names[first])
    _refuse_across(volumes[first], permutation, plan, names[first])
    turned = {m: turn(volumes[m].array, permutation, flips) for m in plan.modalities if m in volumes}
    codes = None if label is None else turn(label.array, permutation, flips)
    geometry = _geometry(volumes[first], permutation, flips, _box(turned, codes), plan)
    image = np.zeros((len(plan.modalities), *geometry.shape), dtype=np.float32)
    for channel, modality in enumerate(plan.modalities):
        if modality in turned:
            raw = np.ascontiguousarray(turned[modality][geometry.crop_slices], dtype=np.float32)
            normal = normalise(raw, plan.normalisation[modality])
            image[channel] = resample_image(normal, geometry.shape, geometry.orders(3))
    small = None
    if codes is not None:
        cropped = np.ascontiguousarray(codes[geometry.crop_slices], dtype=np.uint8)
        small = resample_codes(cropped, geometry.shape, geometry.orders(1))
    return Prepared(image, small, np.array([m in volumes for m in plan.modalities]), geometry)


def _check(
    volumes: Mapping[str, Volume],
    label: Volume | None,
    plan: Plan,
    labels: Labels,
    names: Mapping[str, str],
) -> None:
    """Raises everything that is wrong with a case's volumes."""
    if unknown := sorted(set(volumes) - set(plan.modalities)):
        raise UserError(names[unknown[0]], "is no modality of the plan", f"it has {list(plan.modalities)}")
    if not volumes:
        raise UserError(names["label"], "the case has no modality at all", "leave it out of the cohort")
    problems = []
    grids = {**volumes, **({} if label is None else {"label": label})}
    first = next(m for m in plan.modalities if m in volumes)
    for key, volume in grids.items():
        if difference := grid_difference(volumes[first], volume):
            fix = "resample one onto the other"
            problems.append(f"{names[key]}: {difference} than in {names[first]}; {fix}")
    for modality, volume in volumes.items():
        # Half precision is enough to store a scan, but values beyond float32 become infinite.
        bad = int(np.count_nonzero(~np.isfinite(volume.array.astype(np.float32, copy=False))))
        if bad:
            problems.append(
                f"{names[modality]}: {bad} voxels are NaN or infinite; mend or leave the case out"
            )
    if label is not None and (wrong := _unknown_codes(label.array, labels)):
        problems.append(f"{names['label']}: codes {wrong} are not declared; read it with the cohort's labels")
    if problems:
        raise Problems(problems)


def _refuse_across(volume: Volume, permutation: Sequence[int], plan: Plan, name: str) -> None:
    """Raises where a single slice would be cut into lines by the slices of a 2D plan."""
    w, h, d = (volume.array.shape[axis] for axis in permutation)
    if plan.spatial_dims == 2 and d > 1 and min(w, h) == 1:
        fix = "leave it out, or put it into a cohort of its own"
        raise UserError(name, f"its slice lies across those that the plan is made for ({w, h, d})", fix)


def _unknown_codes(codes: NDArray[Any], labels: Labels) -> list[int]:
    legal = {0, IGNORE, *labels.code_of.values()}
    return sorted(set(np.unique(codes).tolist()) - legal)


def _box(
    turned: Mapping[str, NDArray[Any]], codes: NDArray[Any] | None
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The box of every voxel that some modality shows or that has a class; ignored voxels do not widen it."""
    arrays = list(turned.values())
    if codes is not None:
        arrays.append((codes != 0) & (codes != IGNORE))
    return nonzero_box(arrays)


def _geometry(
    volume: Volume,
    permutation: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    crop: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    plan: Plan,
) -> Geometry:
    i, j, k = (volume.spacing[axis] for axis in permutation)
    # Slices of a 2D plan are learnt one by one, so the distance between them is left alone.
    target = (*plan.spacing[:2], k) if plan.spatial_dims == 2 else plan.spacing
    shape = resampled_shape([stop - start for start, stop in crop], (i, j, k), target)
    w, h, d = volume.array.shape
    affine = tuple(tuple(float(value) for value in row) for row in np.asarray(volume.affine))
    return Geometry((w, h, d), affine, permutation, flips, crop, (i, j, k), target, shape, plan.spatial_dims)


def labelled_positions(
    codes: NDArray[np.uint8], seed: Sequence[int], most: int = 10_000
) -> dict[int, NDArray[np.int32]]:
    """For each foreground code up to ``most`` of its voxels ``(n, 3)``, drawn evenly and in reading order.

    Args:
        codes: ``(W, H, D)``.
        seed: of the draw; the same for the same case.
        most: voxels per code.
    """
    found = {}
    flat = codes.ravel()
    for code in np.flatnonzero(np.bincount(flat, minlength=256)):
        if code in (0, IGNORE):
            continue
        where = np.flatnonzero(flat == code)
        if len(where) > most:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, int(code)])))
            where = np.sort(generator.choice(where, most, replace=False))
        found[int(code)] = np.stack(np.unravel_index(where, codes.shape), axis=1).astype(np.int32)
    return found
