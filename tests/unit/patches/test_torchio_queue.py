"""The stock queue gives the same kind of batches."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from medseg.data.plan import Plan
from medseg.data.store import Store
from medseg.errors import UserError
from medseg.patches.interface import Crew, Part
from medseg.patches.loader import PatchLoader
from medseg.patches.settings import AugmentationSettings
from medseg.patches.torchio_queue import TorchIOQueue

from .conftest import EVERYTHING
from .plans import volume_plan


def make(store: Store, plan: Plan, augmentation: AugmentationSettings, **options: Any) -> TorchIOQueue:
    labelled = options.pop("labelled", True)
    return TorchIOQueue(store, store.ids, plan, augmentation, 7, labelled, **options)


@pytest.mark.parametrize("augmentation", [EVERYTHING, AugmentationSettings.off()], ids=["all", "none"])
def test_batches_follow_the_contract(store: Store, plan: Plan, augmentation: AugmentationSettings) -> None:
    queue = make(store, plan, augmentation, torchio_transforms={"RandomNoise": {"std": 1}})
    before = torch.get_rng_state()
    (batch, second) = list(queue.batches(Part(1, 0, 2, 6), Crew()))
    assert torch.equal(before, torch.get_rng_state())
    assert batch.image.shape == (6, 2, *plan.patch_size)
    assert batch.image.dtype == torch.float32
    assert batch.label is not None
    assert batch.label.shape == (6, 1, *plan.patch_size)
    assert batch.label.dtype == torch.uint8
    assert second.index.tolist() == [[1, i] for i in range(6, 12)]
    for k, case_id in enumerate(batch.case):
        assert batch.present[k].tolist() == store.case(case_id).present.tolist()
        assert not batch.image[k][~batch.present[k]].any()
        assert torch.isfinite(batch.image[k]).all()


def test_the_seed_decides_the_stream(store: Store) -> None:
    queue = make(store, volume_plan(), EVERYTHING)
    once, again = (list(queue.batches(Part(2, 0, 2, 3), Crew())) for _ in range(2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(once, again, strict=True))
    other = next(queue.batches(Part(3, 0, 2, 3), Crew()))
    assert not torch.equal(once[0].image, other.image)


def test_subjects_are_shared_out_among_ranks(store: Store) -> None:
    queue = make(store, volume_plan(), AugmentationSettings.off(), samples_per_volume=2)
    shards = [queue.shard(rank, 2) for rank in range(2)]
    assert sorted(shards[0] + shards[1]) == sorted(store.ids)
    for rank, shard in enumerate(shards):
        cases = {c for b in queue.batches(Part(0, 0, 6, 2, rank, 2), Crew()) for c in b.case}
        assert cases == set(shard)
    with pytest.raises(UserError, match="ranks"):
        queue.shard(0, 99)


def test_foreground_share(store: Store) -> None:
    plan = volume_plan(patch_size=(4, 4, 4))
    queue = make(store, plan, AugmentationSettings.off(), foreground_share=1.0, samples_per_volume=8)
    labels = torch.cat([b.label for b in queue.batches(Part(0, 0, 10, 4), Crew()) if b.label is not None])
    assert labels.flatten(1).any(1).float().mean() > 0.95


def test_patches_are_copies_of_the_store_without_augmentation(store: Store) -> None:
    queue = make(store, volume_plan(), AugmentationSettings.off())
    batch = next(queue.batches(Part(0, 0, 1, 2), Crew()))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.asarray(store.case(batch.case[0]).image[0]), volume_plan().patch_size
    )
    corner = float(batch.image[0, 0, 0, 0, 0])
    found = [tuple(at) for at in np.argwhere(windows[..., 0, 0, 0] == corner)]
    assert any(np.array_equal(windows[at], batch.image[0, 0].numpy()) for at in found)


def test_unlabelled_and_padded_and_in_a_loader(store: Store) -> None:
    plan = volume_plan(patch_size=(40, 44, 36))
    queue = make(store, plan, EVERYTHING, labelled=False, length=4)
    batches = list(PatchLoader({"unlabelled": queue}, {"unlabelled": 2}, 2))
    assert len(batches) == 2
    assert batches[0]["unlabelled"].label is None
    assert batches[0]["unlabelled"].image.shape == (2, 2, 40, 44, 36)


def test_subjects_can_be_sent_to_worker_processes(store: Store) -> None:
    dataset = make(store, volume_plan(), EVERYTHING)._queue(store.ids, 0).subjects_dataset
    sent = pickle.loads(pickle.dumps(dataset))
    assert sent[0]["case"] == store.ids[0]
    assert sent.dry_iter()[1]["label"].shape == (1, *store.case(store.ids[1]).shape)


def test_wrong_options_are_refused(store: Store) -> None:
    with pytest.raises(UserError, match="length"):
        make(store, volume_plan(), EVERYTHING, samples_per_volume=8, length=4)
