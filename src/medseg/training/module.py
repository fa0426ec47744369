"""The one LightningModule: any network, any objective."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from medseg.contracts import Batch, Deploys, Labels, Paced, Progress
from medseg.training.finetuning import Stages
from medseg.training.optimizers import build_optimizer, build_schedule
from medseg.training.overlap_counts import overlap_counts
from medseg.training.settings import FinetuningSettings, OptimizerSettings, ScheduleSettings
from medseg.training.sharding import shard


class SegmentationModule(L.LightningModule):
    """Calls ``objective.step`` and nothing else that would depend on what is trained.

    Before every step torch's generator is seeded from (seed, step, rank), so dropout and the like
    are the same after a restart as without one.

    Args:
        network: modalities in, logits out (`contracts.Network`).
        objective: what is optimised (`contracts.Objective`).
        labels: the classes or regions, for the Dice on validation patches.
        seed: of the run.
        total_steps: real optimizer steps of the whole training.
        finetuning: which stages of the encoder are frozen until when, and their learning rates.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: nn.Module,
        labels: Labels,
        optimizer: OptimizerSettings,
        schedule: ScheduleSettings,
        seed: int,
        total_steps: int,
        finetuning: FinetuningSettings | None = None,
    ) -> None:
        super().__init__()
        self.network, self.objective, self.labels = network, objective, labels
        self.optimizer_settings, self.schedule_settings = optimizer, schedule
        self.seed, self.total_steps = seed, total_steps
        self.steps_taken = 0
        self.cases: list[str] = []
        self._validation: list[tuple[Tensor, Tensor]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_drawn(seed, 0))  # not the seed that the network was made with
            objective.attach(network)  # type: ignore[operator]
        self.finetuning = finetuning or FinetuningSettings()
        self.stages = Stages(network, self.finetuning)
        self.unsharded: list[nn.Module] = []

    @property
    def progress(self) -> Progress:
        """Where training stands."""
        return Progress(self.steps_taken, self.total_steps, self.current_epoch)

    @property
    def deployed(self) -> nn.Module:
        """What is validated and published: the network, or what the objective makes of it."""
        return self.objective.deployed(self.network) if isinstance(self.objective, Deploys) else self.network

    def configure_model(self) -> None:
        """Shards the networks, where the strategy is one that does."""
        shard(self)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and schedule; real steps are counted by the optimizer itself."""
        own = [p for p in self.objective.parameters() if p.requires_grad]
        optimizer = build_optimizer(self.optimizer_settings, [*self.stages.rates(), (own, 1.0)])
        optimizer.register_step_post_hook(self._after_real_step)
        schedule = build_schedule(self.schedule_settings, optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _after_real_step(self, *_: Any) -> None:
        # The gradient scaler of 16-mixed skips optimizer.step on overflow: then this is not called.
        self.steps_taken += 1
        self.objective.after_step(self.network, self.progress)  # type: ignore[operator]

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> Tensor:
        """One batch of every stream that the objective reads."""
        self.cases = [case for stream in batch.values() for case in stream.case]
        torch.manual_seed(self._step_seed(batch_idx))
        self._tell_progress()
        terms: dict[str, Tensor] = self.objective.step(self.network, batch, self.progress)  # type: ignore[operator]
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            sync_dist=True,
            batch_size=len(self.cases),
        )
        return terms["loss"]

    def _tell_progress(self) -> None:
        """To every part of the objective that changes with it, however deep it is wrapped."""
        for part in self.objective.modules():
            if isinstance(part, Paced):
                part.progress(min(self.steps_taken / self.total_steps, 1.0))

    def _step_seed(self, batch_idx: int) -> int:
        return _drawn(self.seed, self.current_epoch, batch_idx, self.global_rank)

    def validation_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        """Counts overlaps on patches; Dice is made of the sums over all of them."""
        patches = batch["labelled"]
        if patches.label is None:
            self._watch_loss(patches, batch_idx)
            return
        logits = self.deployed(patches.image, patches.present)[0].float()
        self._validation.append(overlap_counts(logits, patches.label, self.labels))

    def _watch_loss(self, patches: Batch, batch_idx: int) -> None:
        """Where no label is read: the objective's own loss, with the same random numbers in every epoch."""
        torch.manual_seed(_drawn(self.seed, batch_idx, self.global_rank))
        terms = self.objective.step(self.network, {"unlabelled": patches}, self.progress)  # type: ignore[operator]
        count = len(patches.case)
        self.log("validation/loss", terms["loss"], prog_bar=True, sync_dist=True, batch_size=count)

    def on_validation_epoch_end(self) -> None:
        """Logs the Dice over all validation patches, the mean over the classes that occur."""
        if not self._validation:
            return
        shared, sizes = (torch.stack(column).sum(0) for column in zip(*self._validation, strict=True))
        self._validation.clear()
        over_ranks = self.trainer.strategy.reduce
        shared, sizes = (over_ranks(value, reduce_op="sum") for value in (shared, sizes))
        dice = torch.where(sizes > 0, 2 * shared / sizes.clamp(min=1), torch.nan)
        self.log("validation/dice", dice.nanmean(), prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the count of real steps."""
        checkpoint["steps_taken"] = self.steps_taken

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the count of real steps back."""
        self.steps_taken = int(checkpoint["steps_taken"])


def _drawn(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
