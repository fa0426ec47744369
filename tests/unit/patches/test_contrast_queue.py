"""New contrasts through the whole queue: they follow the labels of the patch that they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medseg.data.plan import Plan
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings

from .plans import slice_plan, volume_plan

Make = Callable[..., PatchQueue]
PLANS = {
    "3D": volume_plan(),
    "in-plane": volume_plan(in_plane_only=True),
    "2D": slice_plan(),
    "2.5D": replace(slice_plan(), slices=3),
}
# Gaussians without width, hardly blurred: every label and every cluster is of one value.
PAINTED = replace(
    AugmentationSettings.off(),
    rotation_probability=1.0,
    synthesis_probability=1.0,
    synthesis_std=(0.0, 0.0),
    synthesis_blur=(0.01, 0.01),
    synthesis_clusters=(2, 2),
)


def slices_of(plan: Plan, image: np.ndarray) -> np.ndarray:
    """The images that lie on the label itself, one per modality."""
    return image[plan.slices // 2 :: plan.slices]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("place", ["cpu", "device"])
def test_every_label_has_a_value_of_its_own(make_queue: Make, plan: Plan, place: str) -> None:
    if place == "device" and plan.slices > 1:
        pytest.skip("neighbouring slices are stacked on the CPU")
    queue = make_queue(plan, PAINTED, augment_on=place, foreground_share=1.0)
    several = 0
    for number in range(12):
        sample = queue.sample(0, number)
        assert sample.label is not None
        label = sample.label[0]
        for image in slices_of(plan, sample.image)[sample.present]:
            found = [image[label == code] for code in np.unique(label[label > 0])]
            assert all(np.ptp(values) == pytest.approx(0, abs=1e-4) for values in found)
            several += len({round(float(values[0]), 3) for values in found}) > 1
        assert not sample.image.reshape(len(sample.present), -1)[~sample.present].any()
    assert several


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_labels_stay_and_a_sample_is_the_same_again(make_queue: Make, plan: Plan) -> None:
    plain = make_queue(plan, replace(PAINTED, synthesis_probability=0.0))
    changed = make_queue(plan, replace(PAINTED, remap_probability=1.0))
    unlabelled = make_queue(plan, PAINTED, labelled=False)
    for number in range(3):
        one, again, old = changed.sample(1, number), changed.sample(1, number), plain.sample(1, number)
        np.testing.assert_array_equal(one.image, again.image)
        np.testing.assert_array_equal(one.label, old.label)
        assert not np.array_equal(one.image, old.image)
        assert np.isfinite(unlabelled.sample(1, number).image).all()
