"""2.5D: a slice comes with its neighbours, moved alike; the label is the middle one's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.data.store import Store
from medseg.errors import UserError
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings
from medseg.patches.torchio_queue import TorchIOQueue

from .plans import slice_plan

OFF = AugmentationSettings.off()
MOVED = replace(OFF, rotation_probability=1.0, scaling_probability=1.0, elastic_probability=1.0)


def queues(store: Store, settings: AugmentationSettings, slices: int) -> tuple[PatchQueue, PatchQueue]:
    plan = slice_plan()
    thick = replace(plan, slices=slices)
    return (
        PatchQueue(store, store.labelled, plan, settings, 3, True),
        PatchQueue(store, store.labelled, thick, settings, 3, True),
    )


@pytest.mark.parametrize("settings", [OFF, MOVED], ids=["cropped", "moved"])
@pytest.mark.parametrize("slices", [3, 5])
def test_the_middle_is_the_slice_itself_and_the_others_its_neighbours(
    store: Store, settings: AugmentationSettings, slices: int
) -> None:
    thin, thick = queues(store, settings, slices)
    seen = 0
    for number in range(60):
        one, several = thin.sample(0, number), thick.sample(0, number)
        modalities, *patch = one.image.shape
        stack = several.image.reshape(modalities, slices, *patch)
        np.testing.assert_allclose(stack[:, slices // 2], one.image, atol=1e-6)
        assert one.label is not None
        assert several.label is not None
        assert (several.label == one.label).all()
        if settings is OFF:
            case = store.case(one.case)
            i, j, k = thin.draw(case, 0, number).start
            for step in range(-(slices // 2), slices // 2 + 1):
                found = stack[:, slices // 2 + step]
                if not 0 <= k + step < case.shape[2]:
                    assert not found.any()
                    seen += 1
                    continue
                box = np.asarray(case.image)[:, max(i, 0) : i + patch[0], max(j, 0) : j + patch[1], k + step]
                x, y = max(-i, 0), max(-j, 0)
                inner = found[:, x : x + box.shape[1], y : y + box.shape[2]]
                np.testing.assert_array_equal(inner, box)
    assert settings is MOVED or seen


def test_intensity_changes_are_the_same_for_a_slice_and_its_neighbours(store: Store) -> None:
    bright = replace(OFF, brightness_probability=1.0)
    plain, changed = queues(store, OFF, 3)[1], queues(store, bright, 3)[1]
    for number in range(4):
        before, after = plain.sample(0, number), changed.sample(0, number)
        for m in range(len(before.present)):
            part = slice(3 * m, 3 * m + 3)
            if before.present[m] and before.image[part].any():
                hit = before.image[part] != 0
                ratio = after.image[part][hit] / before.image[part][hit]
                np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_what_cannot_stack_slices_says_so(store: Store) -> None:
    thick = replace(slice_plan(), slices=3)
    with pytest.raises(UserError, match=r"plan\.slices"):
        PatchQueue(store, store.labelled, thick, OFF, 3, True, augment_on="device")
    with pytest.raises(UserError, match=r"plan\.slices"):
        TorchIOQueue(store, store.labelled, thick, OFF, 3, True)
