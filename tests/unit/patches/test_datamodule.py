"""The data module in Lightning's own hands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from medseg.contracts import Batch
from medseg.errors import UserError
from medseg.patches.datamodule import PatchDataModule
from medseg.patches.patch_queue import PatchQueue
from medseg.patches.settings import AugmentationSettings

from .plans import volume_plan

Make = Callable[..., PatchQueue]


class Watcher(L.LightningModule):
    """Learns nothing; remembers which samples it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, int]] = []
        self.validated: list[list[tuple[int, int]]] = []
        self.batches: list[Batch] = []

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> torch.Tensor:
        self.batches.append(batch["labelled"])
        self.seen += [tuple(row) for row in batch["labelled"].index.tolist()]
        return self.weight.sum() * batch["labelled"].image.mean()

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])

    def validation_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        self.validated[-1] += [tuple(row) for row in batch["labelled"].index.tolist()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def datamodule(make_queue: Make, workers: int = 0, augment_on: str = "cpu") -> PatchDataModule:
    plan = volume_plan()
    watched = make_queue(plan, AugmentationSettings.off(), augment_on=augment_on)
    queues = {"labelled": make_queue(plan, augment_on=augment_on)}
    return PatchDataModule(queues, watched, 2, 5, workers, validation_samples=3)


def test_epochs_and_validation(make_queue: Make, tmp_path: Path) -> None:
    model, data = Watcher(), datamodule(make_queue, workers=2)
    trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(model, data)
    assert model.seen == [(e, i) for e in range(3) for i in range(10)]
    assert model.validated == [[(0, i) for i in range(4)]] * 3
    assert data.loader is not None
    assert data.loader.waited_seconds > 0


@pytest.mark.parametrize("stop", [2, 5, 7, 10])
def test_resume_continues_with_the_exact_next_sample(make_queue: Make, tmp_path: Path, stop: int) -> None:
    first = Watcher()
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=3, callbacks=[saver], max_steps=stop).fit(first, datamodule(make_queue, 1))
    second = Watcher()
    trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(
        second, datamodule(make_queue, 2), ckpt_path=str(tmp_path / f"step={stop}.ckpt"), weights_only=True
    )
    assert first.seen + second.seen == [(e, i) for e in range(3) for i in range(10)]


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_augmenting_on_the_device_gives_one_stream(make_queue: Make, tmp_path: Path, stop: int) -> None:
    """Whatever the workers, and through a restart in the middle of an epoch; training sees plain batches."""
    whole, first, second = Watcher(), Watcher(), Watcher()
    options: dict[str, Any] = {"max_epochs": 3, "enable_checkpointing": False}
    trainer(tmp_path, **options).fit(whole, datamodule(make_queue, 0, "device"))
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    begun = trainer(tmp_path, max_epochs=3, callbacks=[saver], max_steps=stop)
    begun.fit(first, datamodule(make_queue, 1, "device"))
    trainer(tmp_path, **options).fit(
        second,
        datamodule(make_queue, 2, "device"),
        ckpt_path=str(tmp_path / f"step={stop}.ckpt"),
        weights_only=True,
    )
    assert whole.seen == first.seen + second.seen == [(e, i) for e in range(3) for i in range(10)]
    assert whole.validated == [[(0, i) for i in range(4)]] * 3
    for one, other in zip(whole.batches, first.batches + second.batches, strict=True):
        assert type(one) is Batch
        assert one.case == other.case
        assert torch.equal(one.image, other.image)
        assert one.label is not None
        assert other.label is not None
        assert torch.equal(one.label, other.label)


def test_validation_patches_are_the_same_wherever_they_are_made(make_queue: Make) -> None:
    loaders = [datamodule(make_queue, 0, a) for a in ("cpu", "device")]
    here, there = (
        [data.on_after_batch_transfer(b, 0)["labelled"] for b in data.val_dataloader()] for data in loaders
    )
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.label is not None
        assert other.label is not None
        assert torch.equal(one.label, other.label)


def test_state_before_and_after_loaders_exist(make_queue: Make) -> None:
    data = datamodule(make_queue)
    assert data.state_dict() == {"epoch": 0, "batch": 0}
    data.load_state_dict({"epoch": 1, "batch": 4})
    batches = list(data.train_dataloader())
    assert [b["labelled"].index.tolist() for b in batches] == [[[1, 8], [1, 9]]]
    assert data.state_dict() == {"epoch": 2, "batch": 0}


def test_streams_have_their_own_batch_sizes(make_queue: Make) -> None:
    plan = volume_plan()
    queues = {"labelled": make_queue(plan), "unlabelled": make_queue(plan, labelled=False)}
    batch = next(
        iter(PatchDataModule(queues, None, {"labelled": 1, "unlabelled": 3}, 2, 1).train_dataloader())
    )
    assert {name: len(part.case) for name, part in batch.items()} == {"labelled": 1, "unlabelled": 3}


def test_no_validation(make_queue: Make) -> None:
    assert PatchDataModule({"labelled": make_queue(volume_plan())}, None, 2, 2).val_dataloader() == []


def test_wrong_numbers_are_refused(make_queue: Make) -> None:
    queues = {"labelled": make_queue(volume_plan())}
    with pytest.raises(UserError, match="batch_size"):
        PatchDataModule(queues, None, 0, 5)
    with pytest.raises(UserError, match="batch_size"):
        PatchDataModule(queues, None, {"unlabelled": 2}, 5)
    with pytest.raises(UserError, match="steps"):
        PatchDataModule(queues, None, 2, 0)
