from __future__ import annotations

from dataclasses import replace

import pytest

from medseg.data.plan import Plan
from medseg.training.fitting import augments_on_device, bare

PLAN = Plan(
    spatial_dims=2,
    modalities=("T1",),
    axes=(0, 1, 2),
    spacing=(1.0, 1.0, 5.0),
    patch_size=(32, 32),
    batch_size=2,
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
    widths=(4, 8),
    normalisation={"T1": {"method": "none"}},
    in_plane_only=True,
    precision="32-true",
)
QUEUE = {"_target_": "medseg.patches.patch_queue.PatchQueue", "augment_on": "cpu", "torchio_transforms": None}


def test_validation_patches_are_spared_the_appended_transforms() -> None:
    noisy = QUEUE | {"torchio_transforms": {"RandomNoise": {"std": 2}}, "foreground_share": 0.5}
    assert bare(noisy) == QUEUE | {"foreground_share": 0.5}
    assert "torchio_transforms" in noisy


@pytest.mark.parametrize(
    ("queue", "slices", "possible"),
    [
        (QUEUE, 1, True),
        (QUEUE, 3, False),
        (QUEUE | {"torchio_transforms": {"RandomNoise": {}}}, 1, False),
        ({"_target_": "medseg.patches.torchio_queue.TorchIOQueue"}, 1, False),
    ],
)
def test_where_the_augmentation_may_run(queue: dict[str, object], slices: int, possible: bool) -> None:
    assert augments_on_device(queue, replace(PLAN, slices=slices)) is possible
