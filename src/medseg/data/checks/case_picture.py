"""A case as it is: three planes where its classes are largest, with the outline of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.data.checks.reading import BROKEN
from medseg.data.cohort import Case, Cohort, read_label
from medseg.data.formats import Volume, is_picture, read_volume
from medseg.data.geometry import orientation, turn
from medseg.data.overlay import PALETTE, render_planes
from medseg.errors import UserError

IGNORED_COLOUR = "#9aa7b4"


@dataclass(frozen=True)
class CasePicture:
    """A drawn case.

    Attributes:
        png: the bytes of the picture; ``None`` where no image can be read.
        modality: which image was drawn.
        shape: its voxels per axis, as stored.
        spacing: mm per axis.
        note: what could not be drawn, or how; empty where all is well.
    """

    png: bytes | None
    modality: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    note: str = ""


def colours(labels: Labels) -> list[tuple[str, str]]:
    """Each class or region and the colour of its outline, then the ignored voxels where there may be any."""
    named = [(name, PALETTE[k % len(PALETTE)]) for k, name in enumerate(labels.names)]
    return named if labels.ignore is None else [*named, ("ignored", IGNORED_COLOUR)]


def draw_case(cohort: Cohort, case: Case, width_px: int) -> CasePicture:
    """Draws a case's first readable image with its reference; never raises over its files."""
    modality, image = _first_image(cohort, case)
    if image is None:
        return CasePicture(None, note="no image of this case can be read")
    codes, note = _codes(cohort, case, image)
    facts = (modality, image.array.shape, image.spacing)
    try:
        png = _draw(image, codes, cohort.labels, width_px)
    except BROKEN as error:
        return CasePicture(None, *facts, note=f"cannot be drawn ({type(error).__name__})")
    return CasePicture(png, *facts, note)


def _first_image(cohort: Cohort, case: Case) -> tuple[str, Volume | None]:
    for modality in cohort.modalities:
        path = case.images.get(modality)
        try:
            if path is not None:
                # The colours of a picture are seen together, as its greys.
                component = None if is_picture(path) else case.components.get(modality)
                return "grey" if is_picture(path) and case.components else modality, read_volume(
                    path, component
                )
        except (UserError, *BROKEN):
            continue
    return "", None


def _codes(cohort: Cohort, case: Case, image: Volume) -> tuple[NDArray[np.uint8] | None, str]:
    """The reference as codes where it fits the image, and what must be said about it."""
    try:
        label = read_label(case, cohort.labels)
    except (UserError, *BROKEN):
        return None, "its label cannot be drawn: see the findings"
    if label is None:
        return None, "no label"
    if label.array.shape != image.array.shape:
        return None, f"its label has another shape, {label.array.shape}, and is not drawn"
    elsewhere = not np.allclose(label.affine, image.affine, atol=0.1 * min(image.spacing))
    return label.array, "drawn voxel on voxel, though the headers place them apart" if elsewhere else ""


def _draw(image: Volume, codes: NDArray[np.uint8] | None, labels: Labels, width_px: int) -> bytes:
    array: NDArray[Any] = image.array
    spacing = image.spacing
    if array.shape[2] > 1:  # a picture stays as it is stored
        order, flips = orientation(image.affine)
        array = turn(array, order, flips)
        codes = None if codes is None else turn(codes, order, flips)
        i, j, k = (spacing[axis] for axis in order)
        spacing = (i, j, k)
    outlines = [] if codes is None else _outlines(codes, labels)
    classes = [mask for mask, colour in outlines if colour != IGNORED_COLOUR]
    centre = telling_voxel(classes) if classes else None
    return render_planes(array, spacing, outlines, centre=centre, width_px=width_px)


def telling_voxel(masks: Sequence[NDArray[np.bool_]]) -> tuple[int, int, int]:
    """The voxel whose planes cut the classes where they are largest, each measured by its own largest cut.

    So a small class inside a large one is seen too. None of the masks may be empty.
    """
    place = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        areas = np.stack([np.count_nonzero(mask, axis=others) for mask in masks]).astype(np.float64)
        place.append(int((areas / areas.max(axis=1, keepdims=True)).sum(axis=0).argmax()))
    i, j, k = place
    return i, j, k


def _outlines(codes: NDArray[np.uint8], labels: Labels) -> list[tuple[NDArray[np.bool_], str]]:
    tones = [colour for _, colour in colours(labels)]
    members = [*labels.members, *([] if labels.ignore is None else [(IGNORE,)])]
    masks = ((np.isin(codes, row), colour) for row, colour in zip(members, tones, strict=True))
    return [(mask, colour) for mask, colour in masks if mask.any()]
