"""Overlays: the right plane, the right way round, to scale."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medseg.data.overlay import busiest_voxel, render_planes

RED, GREEN, BLUE = (np.array(colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def where(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Pixels ``(n, 2)`` (x, y) nearly of a colour."""
    rows, columns = np.nonzero(np.abs(picture - colour).sum(axis=2) < 150)
    return np.stack([columns, rows], axis=1)


def box(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_the_patients_right_is_on_the_left_and_anterior_and_superior_are_up() -> None:
    shape = (30, 30, 30)
    right = box(shape, (22, 12, 12), (28, 18, 18))
    anterior = box(shape, (12, 22, 12), (18, 28, 18))
    superior = box(shape, (12, 12, 22), (18, 18, 28))
    image = np.zeros(shape, np.float32)
    outlines = [(right, "#ff0000"), (anterior, "#00ff00"), (superior, "#0000ff")]
    picture = pixels(render_planes(image, (1, 1, 1), outlines, centre=(15, 15, 15), width_px=906))
    axial, coronal, sagittal = picture[:, :298], picture[:, 304:602], picture[:, 608:]
    assert where(axial, RED)[:, 0].max() < 149
    assert where(axial, GREEN)[:, 1].max() < 149
    assert where(coronal, RED)[:, 0].max() < 149
    assert where(coronal, BLUE)[:, 1].max() < 149
    assert where(sagittal, GREEN)[:, 0].max() < 149
    assert where(sagittal, BLUE)[:, 1].max() < 149
    assert len(where(axial, BLUE)) == len(where(sagittal, RED)) == 0


def test_millimetres_are_to_scale() -> None:
    mask = box((40, 40, 10), (10, 10, 2), (30, 30, 7))  # 20 x 20 x 20 mm
    picture = pixels(render_planes(np.zeros(mask.shape), (1, 1, 4), [(mask, "#ff0000")], width_px=900))
    for left, right in ((0, 296), (302, 598), (604, 900)):
        found = where(picture[:, left:right], RED)
        width, height = np.ptp(found, axis=0)
        assert abs(width - height) < 12
        assert abs(width - 20 / 40 * 296) < 12


def test_an_outline_lies_on_the_edge_of_its_mask() -> None:
    mask = box((40, 40, 40), (10, 10, 10), (30, 30, 30))
    picture = pixels(render_planes(mask * 1000.0, (1, 1, 1), [(mask, "#ff0000")], width_px=900))
    found = where(picture[:, :296], RED)
    np.testing.assert_allclose([found.min(axis=0), found.max(axis=0)], [[74, 74], [222, 222]], atol=4)


def test_a_picture_is_drawn_alone_and_as_it_is() -> None:
    image = np.zeros((60, 30, 1))
    mask = box((60, 30, 1), (2, 2, 0), (12, 12, 1))
    picture = pixels(render_planes(image, (1, 1, 1), [(mask, "#ff0000")], width_px=600))
    assert picture.shape[:2] == (300, 600)
    found = where(picture, RED)
    assert found[:, 0].max() < 150
    assert found[:, 1].max() < 150


def test_nan_infinity_constants_and_hot_voxels_do_no_harm() -> None:
    rng = np.random.Generator(np.random.Philox(0))
    image = rng.normal(100, 10, (20, 20, 20))
    calm = pixels(render_planes(image, (1, 1, 1), [], width_px=300))
    image[3, 3, 3], image[4, 4, 4], image[5, 5, 5] = np.nan, np.inf, 1e9
    assert abs(pixels(render_planes(image, (1, 1, 1), [], width_px=300)).mean() - calm.mean()) < 10
    for strange in (np.full((5, 5, 5), np.nan), np.full((5, 5, 5), 7, np.int16)):
        assert pixels(render_planes(strange, (1, 1, 1), [], width_px=300)).shape[1] == 300


def test_a_tall_volume_does_not_make_a_tower() -> None:
    picture = pixels(render_planes(np.zeros((10, 10, 400)), (1, 1, 1), [], width_px=600, title="tall"))
    assert picture.shape[0] <= 0.75 * 600 + 26


def test_the_planes_cut_where_most_of_the_mask_is() -> None:
    mask = box((20, 20, 20), (2, 2, 2), (4, 4, 4))
    mask |= box((20, 20, 20), (10, 12, 14), (11, 19, 19))
    assert busiest_voxel([mask], mask.shape)[0] == 10
    assert busiest_voxel([np.zeros((4, 6, 8), bool)], (4, 6, 8)) == (2, 3, 4)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="over an image of shape"):
        render_planes(np.zeros((4, 4, 4)), (1, 1, 1), [(np.zeros((4, 4, 5), bool), "#ff0000")])
    with pytest.raises(ValueError, match="expected"):
        render_planes(np.zeros((4, 4)), (1, 1, 1), [])
