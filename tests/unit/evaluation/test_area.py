"""DeepMind's definition against its own package, for masks that it can read (its 0.1 fails on empty ones)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from surface_distance import lookup_tables, metrics

from medseg.contracts import Labels
from medseg.evaluation import area
from medseg.evaluation.code_maps import CodeMaps
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

STEPS = st.sampled_from([0.4, 0.7, 1.0, 1.3, 5.0])
BY_AREA = EvaluationSettings(metrics=["hd95_area", "surface_dice_area"])


def elements(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]
) -> area.ElementDistances:
    maps = CodeMaps(reference.view(np.uint8), prediction.view(np.uint8))
    axes = [axis for axis, n in enumerate(reference.shape) if n > 1]
    return area.element_distances(maps, [1], spacing, axes)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(9, 8, 12), (3, 14, 6), (2, 2, 2), (15, 11), (2, 20)]),
    spacing=st.tuples(STEPS, STEPS, STEPS),
    smooth=st.sampled_from([0.0, 0.8, 2.0]),
    order=st.sampled_from("CF"),
)
def test_agrees_with_the_package(
    seed: int, shape: tuple[int, ...], spacing: tuple[float, ...], smooth: float, order: str
) -> None:
    noise = np.random.Generator(np.random.Philox(seed)).standard_normal((2, *shape))
    masks = [np.array(gaussian_filter(one, smooth) > 0.1 * (smooth == 0), order=order) for one in noise]
    spacing = spacing[: len(shape)]
    if not (masks[0].any() and masks[1].any()):
        return
    theirs = metrics.compute_surface_distances(*masks, spacing)
    ours = elements(*masks, spacing)
    for values, areas, name in (
        (ours.reference_to_prediction, ours.reference_areas, "gt"),
        (ours.prediction_to_reference, ours.prediction_areas, "pred"),
    ):
        other = "gt_to_pred" if name == "gt" else "pred_to_gt"
        assert sorted(values) == pytest.approx(sorted(theirs[f"distances_{other}"]))
        assert sorted(areas) == pytest.approx(sorted(theirs[f"surfel_areas_{name}"]))
    assert area.hausdorff_percentile(ours, 95) == pytest.approx(
        metrics.compute_robust_hausdorff(theirs, 95), abs=1e-5
    )
    for tolerance in (0.5, 1.0, 3.0):
        assert area.surface_dice(ours, tolerance) == pytest.approx(
            metrics.compute_surface_dice_at_tolerance(theirs, tolerance), abs=1e-5
        )


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9)])
def test_every_corner_has_the_area_of_their_table(spacing: tuple[float, float, float]) -> None:
    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    ours = area._areas((True, True, True), spacing)
    # Their bit of the voxel (0, 0, 0) is the highest, ours the lowest.
    reversed_bits = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    assert ours[reversed_bits] == pytest.approx(theirs)


def test_the_area_of_a_box_is_about_that_of_its_faces() -> None:
    box = np.zeros((20, 30, 25), bool)
    box[4:14, 5:25, 5:20] = True
    found = elements(box, box, (2.0, 1.0, 0.5))
    faces = 2 * (20 * 20 + 20 * 7.5 + 20 * 7.5)
    assert found.reference_areas.sum() == pytest.approx(faces, rel=0.05)


@pytest.mark.parametrize("flat", [(1, 12, 9), (12, 1, 9), (12, 9, 1)])
def test_a_flat_volume_is_the_image_it_holds(flat: tuple[int, ...]) -> None:
    rng = np.random.Generator(np.random.Philox(9))
    masks = rng.random((2, 12, 9)) < 0.4
    steps = iter((0.5, 2.0))
    spacing = tuple(7.0 if n == 1 else next(steps) for n in flat)
    plain = elements(*masks, (0.5, 2.0))
    thick = elements(masks[0].reshape(flat), masks[1].reshape(flat), spacing)
    assert area.hausdorff_percentile(thick) == area.hausdorff_percentile(plain)
    assert area.surface_dice(thick, 1.0) == pytest.approx(area.surface_dice(plain, 1.0))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 6), (1, 6), (6, 1, 1)])
def test_a_line_and_a_voxel_have_numbers_too(shape: tuple[int, ...]) -> None:
    volume = np.ones(shape, np.uint8)
    rows = score_case(volume, volume, Labels(("a",), ((1,),)), (1.0,) * len(shape), BY_AREA)
    assert [row.value for row in rows] == [0.0, 1.0]
