"""The parts of one training, put together from its recipe."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch import nn

from medseg.data.machine import usable_cores
from medseg.data.plan import Plan
from medseg.inference.assemble import assemble_encoding, assemble_network
from medseg.patches.datamodule import PatchDataModule
from medseg.patches.loader import PatchLoader
from medseg.patches.settings import AugmentationSettings
from medseg.targets import build, constants
from medseg.training.budget import seconds_per_step, steps_for
from medseg.training.checkpoints import AtomicCheckpointIO, CheckpointEveryEpoch, LastStep
from medseg.training.console import ConsoleProgress
from medseg.training.costs import Costs
from medseg.training.data_advice import Loading, advice
from medseg.training.finetuning import Unfreezing, load_pretrained
from medseg.training.finite_loss import FiniteLoss
from medseg.training.group import Group
from medseg.training.loggers import Loggers
from medseg.training.losses import build_loss
from medseg.training.module import SegmentationModule
from medseg.training.parallel import KnownRanks, device_of, part_of_batch, strategy_for
from medseg.training.preparation import Prepared
from medseg.training.pretraining import pretrains, start_from_encoder
from medseg.training.probes import PROBED, Probes, probe_epochs
from medseg.training.ranks import Ranks
from medseg.training.recipe import Recipe, Spec
from medseg.training.run_folder import RunFolder
from medseg.training.settings import OptimizerSettings
from medseg.training.signals import StopsBetweenSteps
from medseg.training.telling import TellsWhere
from medseg.training.volumes import VolumeValidation, look_epochs
from medseg.training.waiting import DataWait

_UNLABELLED = "training.unlabelled_batch_size"


class Fitting:
    """Builds what a training needs, each part seeded by the run's seed alone.

    Args:
        recipe: what to train.
        run: where its files go.
        prepared: the data.
        console: what a person watches.
        group: the ranks; ``None`` for this process alone.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        prepared: Prepared,
        console: Console,
        group: Group | None = None,
    ) -> None:
        self.recipe, self.run, self.prepared, self.console = recipe, run, prepared, console
        self.group = group or Group(Ranks())
        self.loggers = Loggers(recipe, run, self.group.leads)
        self.waiting, self.costs = DataWait(), Costs()
        self.pretrains = pretrains(recipe)
        asked = recipe.training.precision
        self.precision = prepared.plan.precision if asked == "auto" else asked

    @property
    def flip_axes(self) -> tuple[int, ...]:
        """The axes of a patch that the augmentation mirrors."""
        plan, augmentation = self.prepared.plan, self.recipe.augmentation
        if augmentation.flip_probability == 0:
            return ()
        return tuple(k for k in range(plan.spatial_dims) if plan.axes[k] in augmentation.flip_axes)

    def network_and_objective(self) -> tuple[nn.Module, nn.Module]:
        """Freshly initialised from the run's seed."""
        recipe, labels = self.recipe, self.prepared.cohort.labels
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            loss = build_loss(recipe.loss, labels, self.prepared.plan, self.run)
            objective: Any = build(recipe.objective, "objective", loss)
            if self.pretrains:
                return assemble_encoding(recipe.network, recipe.fusion, self.prepared.plan, labels), objective
            network = assemble_network(
                recipe.network, recipe.fusion, self.prepared.plan, labels, objective.deep_supervision
            )
        return network, objective

    def module(self, steps: int, fresh: bool = True) -> SegmentationModule:
        """The LightningModule; pretrained weights are loaded at a fresh start, else a checkpoint has them."""
        recipe = self.recipe
        network, objective = self.network_and_objective()
        if fresh:
            found = load_pretrained(network) + start_from_encoder(recipe, self.run, network, self.console)
            self.run.note(pretrained=found)
        return SegmentationModule(
            network,
            objective,
            self.prepared.cohort.labels,
            self._scaled(recipe.optimizer),
            recipe.schedule,
            recipe.seed,
            steps,
            recipe.finetuning,
        )

    def _scaled(self, optimizer: OptimizerSettings) -> OptimizerSettings:
        """With the learning rate for the plan's batch, where it is to follow that."""
        factor = self.recipe.training.lr_factor(self.prepared.plan.batch_size)
        if factor != 1.0:
            self.run.note(lr=optimizer.lr * factor)
            self.console.print(f"learning rate {optimizer.lr:g} x {factor:g} = {optimizer.lr * factor:g}")
        return replace(optimizer, lr=optimizer.lr * factor)

    def datamodule(self, steps: int) -> PatchDataModule:
        """The streams that the objective reads, and the validation patches."""
        recipe, prepared = self.recipe, self.prepared
        ids = {"labelled": prepared.labelled, "unlabelled": prepared.unlabelled}
        queues = {
            name: self._queue(recipe.queue, ids[name], recipe.augmentation, labelled=name == "labelled")
            for name in constants(recipe.objective["_target_"])["STREAMS"]
        }
        size = prepared.plan.batch_size
        unlabelled = recipe.training.unlabelled_batch_size or size
        sizes = {"labelled": ("plan.batch_size", size), "unlabelled": (_UNLABELLED, unlabelled)}
        looked_at = tuple(case.id for case in prepared.validation)
        off, labelled = AugmentationSettings.off(), not self.pretrains
        return PatchDataModule(
            queues,
            self._queue(bare(recipe.queue), looked_at, off, labelled) if self._looks_at_patches else None,
            batch_size={name: part_of_batch(*sizes[name], recipe.training) for name in {*queues, "labelled"}},
            steps_per_epoch=self._epoch_steps(steps) * recipe.training.accumulate,
            workers=recipe.training.workers,
            validation_samples=recipe.training.validation_patches,
        )

    @property
    def _looks_at_patches(self) -> bool:
        return bool(self.recipe.training.validation_patches and self.prepared.validation)

    def _queue(
        self, spec: Spec, ids: tuple[str, ...], augmentation: AugmentationSettings, labelled: bool
    ) -> Any:
        prepared = self.prepared
        return build(
            spec,
            "queue",
            prepared.store,
            ids,
            prepared.plan,
            augmentation,
            self.recipe.seed,
            labelled,
        )

    def _epoch_steps(self, steps: int) -> int:
        return min(self.recipe.training.epoch_steps, steps)

    def measure_steps(self) -> int:
        """The number of steps asked for, or as many as fit the minutes asked for on this machine."""
        training = self.recipe.training
        if training.steps is not None or training.minutes is None:
            return training.steps or training.epoch_steps
        network, objective = self.network_and_objective()
        device = device_of(training.accelerator)
        data = self.datamodule(training.epoch_steps)
        batches = data.train_dataloader()
        seconds = seconds_per_step(
            network, objective, self.recipe.optimizer, batches, self.precision, training.accumulate, device
        )
        steps = steps_for(training.minutes, seconds, training.epoch_steps)
        self.console.print(f"a step takes {seconds:.2f} s: {steps} steps in {training.minutes:g} minutes")
        self.run.note(seconds_per_step=round(seconds, 4))
        return steps

    def trainer(self, steps: int) -> L.Trainer:
        """Lightning's Trainer; it writes nothing but what the callbacks and loggers here write."""
        training, ranks = self.recipe.training, self.group.ranks
        device = device_of(training.accelerator)
        return L.Trainer(
            max_epochs=math.ceil(steps / self._epoch_steps(steps)),
            accelerator=training.accelerator,
            devices=ranks.local_world,
            num_nodes=ranks.world // ranks.local_world,
            strategy=strategy_for(training, ranks),
            sync_batchnorm=training.sync_batchnorm and ranks.world > 1,
            precision=self.precision,  # type: ignore[arg-type]
            gradient_clip_val=training.clip_norm or None,
            accumulate_grad_batches=training.accumulate,
            deterministic=("warn" if device.type == "cuda" else True) if training.deterministic else False,
            logger=self.loggers.all(),
            callbacks=self._callbacks(steps),
            plugins=[AtomicCheckpointIO(), KnownRanks(ranks)],
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if self._looks_at_patches else 0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            default_root_dir=self.run.path,
        )

    def _callbacks(self, steps: int) -> list[L.Callback]:
        training, prepared = self.recipe.training, self.prepared
        callbacks: list[L.Callback] = [TellsWhere(self.group), FiniteLoss(), LastStep(steps), Unfreezing()]
        callbacks += [self.waiting, self.costs]
        epochs = math.ceil(steps / self._epoch_steps(steps))
        looks = [] if self.pretrains else look_epochs(epochs, training.volume_validations)
        if looks:
            watched = prepared.validation[: training.volume_cases or None]
            callbacks.append(
                VolumeValidation(
                    prepared.cohort,
                    prepared.store,
                    prepared.plan,
                    watched,
                    looks,
                    self.recipe.inference,
                    training.patience,
                    show=self.loggers.show if self.loggers.wanted else None,
                    pictures=self.recipe.tracking.overlays,
                    group=self.group,
                )
            )
        if prepared.probed:
            looks = probe_epochs(epochs, self.recipe.objective["probe_epochs"])
            callbacks.append(Probes(self._probe_batches(), prepared.probed[::2], looks))
        checkpoints = CheckpointEveryEpoch(self.run.checkpoints, self.loggers.local.complete, looks)
        stops = StopsBetweenSteps(self.run, steps)
        return [*callbacks, ConsoleProgress(self.console, steps), checkpoints, stops]

    def _probe_batches(self) -> PatchLoader:
        """The same labelled patches each time."""
        queue = self._queue(
            bare(self.recipe.queue), self.prepared.probed, AugmentationSettings.off(), labelled=True
        )
        size = self.prepared.plan.batch_size
        return PatchLoader({"labelled": queue}, {"labelled": size}, math.ceil(PROBED / size), fixed=True)

    def tell_waiting(self) -> None:
        """Keeps how long the step waited for data in the record, and says which knob to turn."""
        recipe = self.recipe
        line = advice(
            Loading(
                self.waiting.share,
                recipe.training.workers,
                usable_cores(),
                device_of(recipe.training.accelerator).type == "cuda",
                recipe.queue.get("augment_on"),
                movable=augments_on_device(recipe.queue, self.prepared.plan),
            )
        )
        self.run.note(data_wait=self.waiting.facts() | {"advice": line})
        self.console.print(line, highlight=False, soft_wrap=True)

    def tell_costs(self) -> None:
        """Keeps what the training has cost in the record."""
        minutes = self.loggers.local.minutes
        self.run.note(minutes=round(minutes, 2), costs=self.costs.facts(minutes, self.run.record["steps"]))

    def rewind(self, step: int) -> None:
        """Drops what was logged beyond the step that training goes on from."""
        self.loggers.local.rewind(step)

    def close(self) -> None:
        """Ends the W&B run, so that its files are whole."""
        self.loggers.close()


def bare(queue: Spec) -> Spec:
    """The queue without the TorchIO transforms that its options add to the augmentation."""
    return {name: None if name == "torchio_transforms" else value for name, value in queue.items()}


def augments_on_device(queue: Spec, plan: Plan) -> bool:
    """Whether ``queue.augment_on=device`` would be accepted for this queue and plan."""
    return "augment_on" in queue and not queue.get("torchio_transforms") and plan.slices == 1
