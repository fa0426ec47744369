"""Three planes through a volume with the outlines of masks drawn over them, as one PNG picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Mask = NDArray[np.bool_]
Outlines = Sequence[tuple[Mask, str]]

PALETTE = ("#ffb000", "#3ddbd9", "#ff5ca8", "#7bd148", "#8f8dff", "#ff7a45", "#f4e04d", "#c792ea")
"""Colours that stay apart on grey, also for most colour-blind readers; use them in this order."""

_GAP = 6
_SMOOTHING = 2  # drawn at twice the size and reduced, which smooths the lines
_GROUND = (14, 17, 22)
_PLANES = (  # name, horizontal axis, vertical axis, letters left, right, top, bottom
    ("axial", 0, 1, "RLAP"),
    ("coronal", 0, 2, "RLSI"),
    ("sagittal", 1, 2, "APSI"),
)


def render_planes(
    image: NDArray[Any],
    spacing: tuple[float, float, float],
    outlines: Outlines,
    centre: tuple[int, int, int] | None = None,
    width_px: int = 900,
    title: str | None = None,
) -> bytes:
    """Draws axial, coronal and sagittal planes side by side, to scale in mm.

    Radiological convention for canonical (RAS+) axes: the patient's right on the left, anterior
    and superior up, anterior on the left of the sagittal plane. A volume of depth 1 is a picture: it
    is drawn alone, first axis to the right, second axis down.

    Args:
        image: ``(W, H, D)``, any numeric type; NaN and infinity are drawn black.
        spacing: mm per voxel along each axis.
        outlines: pairs of a ``(W, H, D)`` mask and a colour such as ``"#ffb000"``, drawn in order.
        centre: the voxel that the planes pass through; default `busiest_voxel`.
        width_px: the width of the picture in pixels.
        title: a line above the planes.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: a mask has another shape than the image, or the image is not 3D.
    """
    from PIL import Image

    _check(image, outlines)
    centre = centre or busiest_voxel([mask for mask, _ in outlines], image.shape)
    planes = _PLANES[:1] if image.shape[2] == 1 else _PLANES
    low, high = _window(image)
    scale = _scale(image.shape, spacing, planes, width_px)
    panels = [_panel(image, spacing, outlines, centre, plane, scale, (low, high)) for plane in planes]
    top = 26 if title else 0
    sheet = Image.new("RGB", (width_px, top + max(panel.height for panel in panels)), _GROUND)
    used = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    left = max(0, (width_px - used) // 2)
    for panel in panels:
        sheet.paste(panel, (left, top + (sheet.height - top - panel.height) // 2))
        left += panel.width + _GAP
    if title:
        _write(sheet, (8, 5), title, 14)
    target = io.BytesIO()
    sheet.save(target, format="PNG", optimize=True)
    return target.getvalue()


def busiest_voxel(masks: Sequence[Mask], shape: Sequence[int]) -> tuple[int, int, int]:
    """The voxel whose three planes cut the most of the masks; the middle where they are empty."""
    union = np.zeros(tuple(shape), dtype=bool)
    for mask in masks:
        union |= mask
    if not union.any():
        return (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    i, j, k = (int(union.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3))
    return (i, j, k)


def _check(image: NDArray[Any], outlines: Outlines) -> None:
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image: shape {image.shape}, expected (W, H, D)")
    for mask, _ in outlines:
        if mask.shape != image.shape:
            raise ValueError(f"mask of shape {mask.shape} over an image of shape {image.shape}")


def _window(image: NDArray[Any]) -> tuple[float, float]:
    """The grey window: percentiles, so that a single hot voxel does not blacken the picture."""
    # A stride keeps the percentile cheap on large volumes.
    sample = image[tuple(slice(None, None, max(1, n // 128)) for n in image.shape)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(sample, (0.5, 99.7))
    return float(low), float(high if high > low else low + 1.0)


def _scale(
    shape: Sequence[int], spacing: Sequence[float], planes: Sequence[tuple[str, int, int, str]], width_px: int
) -> float:
    """Pixels per mm, the same in all planes, so that they can be compared by eye."""
    size = [max(1e-6, n * step) for n, step in zip(shape, spacing, strict=True)]
    wide = (width_px - _GAP * (len(planes) - 1)) / sum(size[plane[1]] for plane in planes)
    return min(wide, 0.75 * width_px / max(size[plane[2]] for plane in planes))


def _panel(
    image: NDArray[Any],
    spacing: tuple[float, float, float],
    outlines: Outlines,
    centre: tuple[int, int, int],
    plane: tuple[str, int, int, str],
    scale: float,
    window: tuple[float, float],
) -> Image.Image:
    from PIL import Image, ImageDraw

    _, across, down, letters = plane
    picture = image.shape[2] == 1
    cut = _cut(image, across, down, centre, picture)
    pixels = [
        max(1, round(n * spacing[axis] * scale)) for n, axis in zip(cut.shape, (across, down), strict=True)
    ]
    low, high = window
    grey = np.clip(
        (np.nan_to_num(cut.astype(np.float64), nan=low, posinf=low, neginf=low) - low) / (high - low), 0, 1
    )
    panel = Image.fromarray((grey.T * 255).astype(np.uint8))
    panel = panel.resize((pixels[0] * _SMOOTHING, pixels[1] * _SMOOTHING), Image.Resampling.BICUBIC).convert(
        "RGB"
    )
    draw = ImageDraw.Draw(panel)
    step = (panel.width / cut.shape[0], panel.height / cut.shape[1])
    for mask, colour in outlines:
        for line in _contours(_cut(mask, across, down, centre, picture)):
            # Voxel centres lie half a voxel inside the panel's edge.
            points = [((x + 0.5) * step[0], (y + 0.5) * step[1]) for x, y in line]
            draw.line(points, fill=colour, width=2 * _SMOOTHING - 1, joint="curve")
    panel = panel.resize((pixels[0], pixels[1]), Image.Resampling.LANCZOS)
    if not picture and min(panel.size) > 60:
        _letters(panel, letters)
    return panel


def _cut(
    volume: NDArray[Any], across: int, down: int, centre: tuple[int, int, int], picture: bool
) -> NDArray[Any]:
    """The plane as ``(horizontal, vertical)``, the first element at the top left of the picture."""
    through = 3 - across - down
    cut: NDArray[Any] = np.take(volume, min(centre[through], volume.shape[through] - 1), axis=through)
    return cut if picture else cut[::-1, ::-1]


def _contours(mask: Mask) -> list[NDArray[np.float64]]:
    from skimage.measure import find_contours

    if not mask.any():
        return []
    # A frame of background closes the outline of a mask that touches the edge.
    return [line - 1 for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]


def _letters(panel: Image.Image, letters: str) -> None:
    middle_x, middle_y = panel.width // 2 - 4, panel.height // 2 - 8
    places = ((4, middle_y), (panel.width - 13, middle_y), (middle_x, 2), (middle_x, panel.height - 18))
    for letter, place in zip(letters, places, strict=True):
        _write(panel, place, letter, 12)


def _write(picture: Image.Image, place: tuple[int, int], text: str, size: int) -> None:
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(picture).text(
        place,
        text,
        fill=(232, 236, 241),
        font=ImageFont.load_default(size),
        stroke_width=1,
        stroke_fill=_GROUND,
    )
