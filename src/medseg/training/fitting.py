"""The parts of one training, put together from its recipe."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from rich.console import Console
from torch import nn

from medseg.data.machine import usable_cores
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.inference.assemble import assemble_encoding, assemble_network
from medseg.patches.datamodule import PatchDataModule
from medseg.patches.loader import PatchLoader
from medseg.patches.settings import AugmentationSettings
from medseg.targets import build, constants
from medseg.tracking.local import LocalLogger
from medseg.tracking.weights_and_biases import Pseudonyms, build_wandb, finish_wandb, send_pictures
from medseg.training.budget import seconds_per_step, steps_for
from medseg.training.checkpoints import AtomicCheckpointIO, CheckpointEveryEpoch, LastStep
from medseg.training.console import ConsoleProgress
from medseg.training.data_advice import Loading, advice
from medseg.training.finetuning import Unfreezing, load_pretrained
from medseg.training.finite_loss import FiniteLoss
from medseg.training.module import SegmentationModule
from medseg.training.preparation import Prepared
from medseg.training.pretraining import pretrains, start_from_encoder
from medseg.training.probes import PROBED, Probes, probe_epochs
from medseg.training.recipe import Recipe, Spec
from medseg.training.run_folder import RunFolder
from medseg.training.volumes import VolumeValidation, look_epochs
from medseg.training.waiting import DataWait


class Fitting:
    """Builds what a training needs, each part seeded by the run's seed alone.

    Args:
        recipe: what to train.
        run: where its files go.
        prepared: the data.
        console: what a person watches.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console) -> None:
        self.recipe, self.run, self.prepared, self.console = recipe, run, prepared, console
        self.local, self.waiting = LocalLogger(run.metrics), DataWait()
        self.pretrains = pretrains(recipe)
        self.wandb: WandbLogger | None = None
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
            objective: Any = build(recipe.objective, "objective", build(recipe.loss, "loss", labels))
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
            recipe.optimizer,
            recipe.schedule,
            recipe.seed,
            steps,
            recipe.finetuning,
        )

    def datamodule(self, steps: int) -> PatchDataModule:
        """The streams that the objective reads, and the validation patches."""
        recipe, prepared = self.recipe, self.prepared
        ids = {"labelled": prepared.labelled, "unlabelled": prepared.unlabelled}
        queues = {
            name: self._queue(recipe.queue, ids[name], recipe.augmentation, labelled=name == "labelled")
            for name in constants(recipe.objective["_target_"])["STREAMS"]
        }
        unlabelled = recipe.training.unlabelled_batch_size or prepared.plan.batch_size
        looked_at = tuple(case.id for case in prepared.validation)
        off, labelled = AugmentationSettings.off(), not self.pretrains
        return PatchDataModule(
            queues,
            self._queue(bare(recipe.queue), looked_at, off, labelled) if self._looks_at_patches else None,
            batch_size={"labelled": prepared.plan.batch_size, "unlabelled": unlabelled},
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
        training = self.recipe.training
        device = device_of(training.accelerator)
        return L.Trainer(
            max_epochs=math.ceil(steps / self._epoch_steps(steps)),
            accelerator=training.accelerator,
            devices=1,
            precision=self.precision,  # type: ignore[arg-type]
            gradient_clip_val=training.clip_norm or None,
            accumulate_grad_batches=training.accumulate,
            deterministic=("warn" if device.type == "cuda" else True) if training.deterministic else False,
            logger=self._loggers(),
            callbacks=self._callbacks(steps),
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if self._looks_at_patches else 0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            default_root_dir=self.run.path,
        )

    def _loggers(self) -> list[Logger]:
        recipe = self.recipe
        if recipe.tracking.wandb == "disabled":
            return [self.local]
        if self.wandb is None:
            self.wandb = build_wandb(
                recipe.tracking, self.run.path, recipe.run_id, recipe.name, recipe.config
            )
        return [self.local, self.wandb]

    def _show(self, pictures: list[tuple[str, bytes]], step: int) -> None:
        """Sends pictures to W&B under pseudonyms."""
        if self.wandb is not None:
            pseudonym = Pseudonyms(self.run.path / "pseudonym-salt.txt")
            named = [(pseudonym(case), png) for case, png in pictures]
            send_pictures(self.wandb, "validation_volume/pictures", named, step)

    def _callbacks(self, steps: int) -> list[L.Callback]:
        training, prepared = self.recipe.training, self.prepared
        callbacks: list[L.Callback] = [FiniteLoss(), LastStep(steps), Unfreezing(), self.waiting]
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
                    show=self._show if self.recipe.tracking.wandb != "disabled" else None,
                    pictures=self.recipe.tracking.overlays,
                )
            )
        if prepared.probed:
            looks = probe_epochs(epochs, self.recipe.objective["probe_epochs"])
            callbacks.append(Probes(self._probe_batches(), prepared.probed[::2], looks))
        checkpoints = CheckpointEveryEpoch(self.run.checkpoints, self.local.complete, looks)
        return [*callbacks, ConsoleProgress(self.console, steps), checkpoints]

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

    def rewind(self, step: int) -> None:
        """Drops what was logged beyond the step that training goes on from."""
        self.local.rewind(step)

    def close(self) -> None:
        """Ends the W&B run, so that its files are whole."""
        if self.recipe.tracking.wandb != "disabled":
            finish_wandb()


def bare(queue: Spec) -> Spec:
    """The queue without the TorchIO transforms that its options add to the augmentation."""
    return {name: None if name == "torchio_transforms" else value for name, value in queue.items()}


def augments_on_device(queue: Spec, plan: Plan) -> bool:
    """Whether ``queue.augment_on=device`` would be accepted for this queue and plan."""
    return "augment_on" in queue and not queue.get("torchio_transforms") and plan.slices == 1


def device_of(accelerator: str) -> torch.device:
    """The device that ``training.accelerator`` means here.

    Raises:
        UserError: it is ``gpu`` and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("training.accelerator", "there is no GPU here", "use auto or cpu")
    wants_gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wants_gpu else "cpu")
