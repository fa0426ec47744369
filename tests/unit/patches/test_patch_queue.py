"""Sample i of epoch e depends on (seed, e, i) alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.data.plan import Plan
from medseg.data.store import Store
from medseg.errors import UserError
from medseg.patches.patch_queue import PatchQueue, SampleError
from medseg.patches.sample import Sample
from medseg.patches.settings import AugmentationSettings

from .conftest import EVERYTHING
from .plans import volume_plan

Make = Callable[..., PatchQueue]


def digest(sample: Sample) -> str:
    label = b"" if sample.label is None else sample.label.tobytes()
    return hashlib.sha256(sample.image.tobytes() + label + sample.case.encode()).hexdigest()


def test_fields_follow_the_contract(make_queue: Make, plan: Plan) -> None:
    sample = make_queue(plan).sample(2, 9)
    assert sample.image.shape == (2, *plan.patch_size)
    assert sample.image.dtype == np.float32
    assert sample.label is not None
    assert sample.label.shape == (1, *plan.patch_size)
    assert sample.label.dtype == np.uint8
    assert sample.present.dtype == np.bool_
    assert sample.index.tolist() == [2, 9]


def test_samples_can_be_made_again_in_any_order(make_queue: Make, plan: Plan) -> None:
    keys = [(e, i) for e in (0, 3) for i in range(8)]
    first, second = make_queue(plan), make_queue(plan)
    forwards = {key: digest(first[key]) for key in keys}
    backwards = {key: digest(second[key]) for key in reversed(keys)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(keys)
    assert digest(make_queue(plan, seed=8).sample(0, 0)) != forwards[0, 0]


def test_another_process_makes_the_same_sample(make_queue: Make, store: Store) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from patches.conftest import EVERYTHING\n"
        "from patches.plans import volume_plan\n"
        "from patches.test_patch_queue import digest\n"
        "from medseg.data.store import Store\n"
        "from medseg.patches.patch_queue import PatchQueue\n"
        "store = Store.open(Path(sys.argv[2]))\n"
        "print(digest(PatchQueue(store, store.ids, volume_plan(), EVERYTHING, 7, True).sample(5, 11)))\n"
    )
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", code, str(tests), str(store.folder)]
    there = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert there == digest(make_queue(volume_plan()).sample(5, 11))


def test_without_augmentation_a_patch_is_a_copy(make_queue: Make, store: Store) -> None:
    queue = make_queue(volume_plan(), AugmentationSettings.off())
    for i in range(10):
        sample = queue.sample(0, i)
        case = store.case(sample.case)
        start = queue.sampler.start(0, i, case.shape, case.foreground)
        box = tuple(slice(s, s + p) for s, p in zip(start, queue.patch, strict=True))
        assert all(s >= 0 for s in start)
        np.testing.assert_array_equal(sample.image, case.image[(slice(None), *box)])
        np.testing.assert_array_equal(sample.label[0], case.label[box])


def test_missing_modality_is_zero_and_declared(make_queue: Make, plan: Plan) -> None:
    queue = make_queue(plan, torchio_transforms={"RandomNoise": {"std": 3}})
    seen = set()
    for i in range(10):
        sample = queue.sample(0, i)
        seen.add((sample.case, *sample.present.tolist()))
        assert sample.image[~sample.present].any() == False  # noqa: E712
        assert all(channel.any() for channel in sample.image[sample.present])
    assert ("case1", True, False) in seen


def test_patch_larger_than_the_case_is_padded_evenly(make_queue: Make, store: Store) -> None:
    plan = volume_plan(patch_size=(48, 48, 48))
    sample = make_queue(plan, AugmentationSettings.off(), label_outside=255).sample(0, 0)
    w, h, d = store.case(sample.case).shape
    assert (sample.label != 255).sum() == w * h * d
    inside = np.argwhere(sample.label[0] != 255)
    np.testing.assert_array_less(np.abs(inside.min(0) - (47 - inside.max(0))), 2)
    assert not sample.image[:, sample.label[0] == 255].any()


def test_foreground_share_and_classes(make_queue: Make) -> None:
    plan = volume_plan(patch_size=(4, 4, 4))
    for share in (0.0, 0.5, 1.0):
        queue = make_queue(plan, AugmentationSettings.off(), foreground_share=share)
        centres = [int(queue.sample(0, i).label[0, 2, 2, 2]) for i in range(200)]
        hit = np.mean([c > 0 for c in centres])
        assert hit >= share - 0.02
        assert hit <= share + 0.2
        if share == 1:
            assert {1, 2} == set(centres)


def test_unlabelled_stream_reads_no_label(make_queue: Make, plan: Plan) -> None:
    queue = make_queue(plan, labelled=False)
    assert queue.sample(0, 0).label is None
    labelled = make_queue(plan)
    assert [queue.sampler.case(0, i) for i in range(50)] != [labelled.sampler.case(0, i) for i in range(50)]


def test_in_plane_plans_keep_slices_whole(make_queue: Make, store: Store) -> None:
    """With only spatial changes, a patch of a scan that is constant in-plane stays so."""
    bent = AugmentationSettings(
        **{**vars(AugmentationSettings.off()), "rotation_probability": 1.0, "elastic_probability": 1.0}
    )
    sample = make_queue(volume_plan(in_plane_only=True), bent).sample(0, 0)
    other = make_queue(volume_plan(), bent).sample(0, 0)
    assert sample.image.shape == other.image.shape
    assert not np.array_equal(sample.image, other.image)


QUIET = replace(
    EVERYTHING, noise_probability=0.0, synthesis_probability=0.0, modality_dropout_probability=0.5
)


@pytest.mark.parametrize("changed", [QUIET, AugmentationSettings.off(), AugmentationSettings()])
@pytest.mark.parametrize("labels", ["linear", "nearest"])
def test_the_device_makes_the_patches_of_the_workers(
    make_queue: Make, plan: Plan, changed: AugmentationSettings, labels: str
) -> None:
    options = {"label_interpolation": labels, "label_outside": 255}
    changed = replace(changed, noise_probability=0.0)
    here, there = (make_queue(plan, changed, augment_on=a, **options) for a in ("device", "cpu"))
    for number in range(6):
        one, other = here.sample(1, number), there.sample(1, number)
        np.testing.assert_allclose(one.image, other.image, atol=1e-4)
        assert one.label is not None
        assert (one.label != other.label).mean() < 1e-3  # exact ties
        assert one.case == other.case
        assert one.present.tolist() == other.present.tolist()
        assert one.index.tolist() == other.index.tolist()


def test_what_the_device_makes_can_be_made_again(make_queue: Make, plan: Plan) -> None:
    once, again = (make_queue(plan, augment_on="device") for _ in range(2))
    keys = [(e, i) for e in (0, 3) for i in range(5)]
    forwards = {key: digest(once[key]) for key in keys}
    assert forwards == {key: digest(again[key]) for key in reversed(keys)}
    assert len(set(forwards.values())) == len(keys)


def test_hidden_modalities_are_zero_and_declared(make_queue: Make, plan: Plan, store: Store) -> None:
    hiding = replace(AugmentationSettings(), modality_dropout_probability=1.0)
    for augment_on in ("cpu", "device"):
        queue = make_queue(plan, hiding, augment_on=augment_on)
        for number in range(10):
            sample = queue.sample(0, number)
            assert sample.present.sum() == 1
            assert not (sample.present & ~store.case(sample.case).present).any()
            assert not sample.image[~sample.present].any()
            assert sample.image[sample.present].any()


def test_torchio_transforms_are_seeded_and_leave_no_trace(make_queue: Make, plan: Plan) -> None:
    plain = make_queue(plan, AugmentationSettings.off()).sample(0, 0)
    queue = make_queue(plan, AugmentationSettings.off(), torchio_transforms={"RandomNoise": {"std": 2}})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    sample = queue.sample(0, 0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    np.testing.assert_array_equal(sample.image, queue.sample(0, 0).image)
    assert not np.array_equal(sample.image, plain.image)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ids": ()}, "no labelled cases"),
        ({"foreground_share": 1.5}, "foreground_share"),
        ({"label_outside": 300}, "label_outside"),
        ({"torchio_transforms": {"RandomNoize": {}}}, "RandomNoise"),
        ({"torchio_transforms": {"RandomAffine": {}}}, "no random intensity transform"),
        ({"torchio_transforms": {"RandomNoise": {"sigma": 1}}}, "sigma"),
        ({"torchio_transforms": {"HistogramStandardization": {"landmarks": "x.pth"}}}, "no random intensity"),
        ({"ids": ("nobody",)}, "nobody"),
        ({"torchio_transforms": {"RandomNoise": {}}, "augment_on": "device"}, "augment_on=cpu"),
    ],
)
def test_wrong_options_are_refused(make_queue: Make, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        make_queue(volume_plan(), **options)


@pytest.mark.parametrize("augment_on", ["cpu", "device"])
def test_a_broken_case_is_named(make_queue: Make, augment_on: str) -> None:
    queue = make_queue(volume_plan(modalities=("t1",)), augment_on=augment_on)  # the store has two
    with pytest.raises(SampleError, match=r"case case\d: sample 3 of epoch 1"):
        queue.sample(1, 3)
