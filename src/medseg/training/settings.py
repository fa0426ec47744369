"""The choices of a training: how long, how often it is validated, optimizer and schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "polynomial", "constant")
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed")
STRATEGIES = ("auto", "ddp", "fsdp")
LR_SCALINGS = ("none", "linear", "sqrt")


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train, on what, and how often to look.

    Attributes:
        minutes: time budget; the number of steps is measured on this machine before the first step and
            kept in the record, so that a resumed or repeated run takes the same number.
        steps: optimizer steps; given, ``minutes`` is not used and nothing is measured.
        epoch_steps: optimizer steps between two looks at validation patches and two checkpoints.
        accumulate: parts in which each rank computes its share of a batch, one after the other, to save
            memory; the optimizer steps once per whole batch.
        unlabelled_batch_size: samples of the unlabelled stream per batch; ``None`` takes the plan's.
        devices: processes on each machine, one per GPU; they share each batch, whose size stays the plan's.
        num_nodes: machines; each process on them is started by srun or torchrun.
        strategy: ``ddp`` keeps the network whole on every rank, ``fsdp`` a part of it; ``auto`` is ``ddp``.
        sync_batchnorm: whether batch norms see the batch of all ranks; on GPUs alone.
        lr_scaling: of the learning rate with the size of the batch, against ``lr_reference_batch``:
            ``none``, ``linear`` or ``sqrt``.
        lr_reference_batch: the batch that ``optimizer.lr`` was chosen for.
        clip_norm: largest norm of the gradient, 0 for none.
        precision: ``auto`` takes the plan's.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        workers: threads that make patches; 0 makes them in the training thread.
        threads: CPU threads of torch; ``None`` takes torch's own choice, which the run then keeps.
        deterministic: refuse operations that do not repeat bit for bit.
        validation_patches: patches of the validation cases looked at every epoch.
        volume_validations: how many times whole volumes are validated, spread over the training.
        volume_cases: validation cases in each of these; 0 takes all.
        patience: stop after so many volume validations without a better Dice; ``None`` never stops.
        verify: check the cohort before the first step.
    """

    minutes: float | None = 30.0
    steps: int | None = None
    epoch_steps: int = 50
    accumulate: int = 1
    unlabelled_batch_size: int | None = None
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = False
    lr_scaling: str = "none"
    lr_reference_batch: int | None = None
    clip_norm: float = 12.0
    precision: str = "auto"
    accelerator: str = "auto"
    workers: int = 1
    threads: int | None = None
    deterministic: bool = True
    validation_patches: int = 16
    volume_validations: int = 8
    volume_cases: int = 16
    patience: int | None = None
    verify: bool = True

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.devices * self.num_nodes

    def lr_factor(self, batch_size: int) -> float:
        """What ``optimizer.lr`` is multiplied with for a batch of this size."""
        if self.lr_scaling == "none" or self.lr_reference_batch is None:
            return 1.0
        ratio = batch_size / self.lr_reference_batch
        return ratio if self.lr_scaling == "linear" else math.sqrt(ratio)

    def problems(self) -> list[str]:
        """What is wrong with the values, one line each."""
        found = self._problems_of_ranks()
        if self.minutes is None and self.steps is None:
            found.append("steps: neither steps nor minutes is given; set one of them")
        for name in (
            "steps", "minutes", "threads", "patience", "unlabelled_batch_size", "lr_reference_batch"
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                found.append(f"{name}: {value} is not positive and finite; give a number above 0")
        for name in ("epoch_steps", "accumulate", "devices", "num_nodes"):
            if getattr(self, name) < 1:
                found.append(f"{name}: {getattr(self, name)} is less than 1; give 1 or more")
        for name in ("clip_norm", "workers", "validation_patches", "volume_validations", "volume_cases"):
            if getattr(self, name) < 0:
                found.append(f"{name}: {getattr(self, name)} is negative; give 0 or more")
        if self.precision not in PRECISIONS:
            found.append(f"precision: {self.precision!r} is unknown; use one of {', '.join(PRECISIONS)}")
        if self.accelerator not in ("auto", "cpu", "gpu"):
            found.append(f"accelerator: {self.accelerator!r} is unknown; use auto, cpu or gpu")
        if self.patience is not None and self.volume_validations == 0:
            found.append("patience: early stopping needs volume_validations above 0")
        return found

    def _problems_of_ranks(self) -> list[str]:
        found = []
        if self.strategy not in STRATEGIES:
            found.append(f"strategy: {self.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
        if self.strategy == "fsdp" and self.world == 1:
            found.append("strategy: fsdp shares a network between ranks and there is one; set devices")
        if self.lr_scaling not in LR_SCALINGS:
            found.append(f"lr_scaling: {self.lr_scaling!r} is unknown; use one of {', '.join(LR_SCALINGS)}")
        elif (self.lr_scaling == "none") != (self.lr_reference_batch is None):
            found.append(
                f"lr_scaling: is {self.lr_scaling} and lr_reference_batch {self.lr_reference_batch}; "
                "give both, or neither"
            )
        return found


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer.

    Attributes:
        name: ``adamw``, ``adam`` or ``sgd``.
        lr: the highest learning rate of the schedule.
        weight_decay: on weights with two or more axes; biases and norms are left alone.
        momentum: of SGD.
        nesterov: of SGD.
        betas: of Adam and AdamW.
        eps: of Adam and AdamW.
    """

    name: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 1e-2
    momentum: float = 0.99
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def problems(self) -> list[str]:
        """What is wrong with the values, one line each."""
        found = []
        if self.name not in OPTIMIZERS:
            found.append(f"name: {self.name!r} is unknown; use one of {', '.join(OPTIMIZERS)}")
        if not 0 < self.lr < math.inf:
            found.append(f"lr: {self.lr} is not positive and finite; give a learning rate above 0")
        if self.weight_decay < 0:
            found.append(f"weight_decay: {self.weight_decay} is negative; give 0 or more")
        for name, values in (("momentum", (self.momentum,)), ("betas", self.betas)):
            if not all(0 <= value < 1 for value in values):
                found.append(f"{name}: {getattr(self, name)} is outside 0..1; give numbers from 0 to below 1")
        if self.eps <= 0:
            found.append(f"eps: {self.eps} is not positive; give a number above 0")
        return found


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate goes over a training.

    Attributes:
        name: ``cosine``, ``polynomial`` or ``constant``, after the warm-up.
        warmup_share: share of the steps in which the rate rises from 0 linearly.
        final_share: the rate at the end, as a share of the highest.
        power: of the polynomial; nnU-Net uses 0.9.
    """

    name: str = "cosine"
    warmup_share: float = 0.03
    final_share: float = 0.0
    power: float = 0.9

    def problems(self) -> list[str]:
        """What is wrong with the values, one line each."""
        found = []
        if self.name not in SCHEDULES:
            found.append(f"name: {self.name!r} is unknown; use one of {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup_share < 1:
            found.append(f"warmup_share: {self.warmup_share} is outside 0..1; give a share of the steps")
        if not 0 <= self.final_share <= 1:
            found.append(f"final_share: {self.final_share} is outside 0..1; give a share of the rate")
        if self.power <= 0:
            found.append(f"power: {self.power} is not positive; give a number above 0")
        return found


@dataclass(frozen=True)
class FinetuningSettings:
    """How gently an encoder is trained, above all one with pretrained weights.

    Attributes:
        frozen_stages: stages of the encoder, counted from the image, that are frozen at first; -1 for all.
        unfreeze_epochs: at each of these epochs the deepest stage that is still frozen is freed.
        encoder_rate: learning rate of the encoder's deepest stage as a share of the decoder's.
        stage_decay: rate of each stage as a share of the next deeper one's (Howard and Ruder 2018).
        pretrained: the run, or the model folder, of a pretraining whose encoder this training starts from.
    """

    frozen_stages: int = 0
    unfreeze_epochs: tuple[int, ...] = ()
    encoder_rate: float = 1.0
    stage_decay: float = 1.0
    pretrained: str | None = None

    @property
    def active(self) -> bool:
        """Whether anything differs from training all alike, whatever the weights it starts from."""
        return self != FinetuningSettings(pretrained=self.pretrained)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unfreeze_epochs", tuple(self.unfreeze_epochs))  # YAML has no tuples

    def problems(self) -> list[str]:
        """What is wrong with the values, one line each."""
        found = []
        if self.frozen_stages < -1:
            found.append(f"frozen_stages: {self.frozen_stages} is no count; give 0 or more, or -1 for all")
        if any(k < 1 for k in self.unfreeze_epochs):
            found.append(f"unfreeze_epochs: {list(self.unfreeze_epochs)} has one below 1; give 1 or more")
        if 0 <= self.frozen_stages < len(self.unfreeze_epochs):
            problem = f"names {len(self.unfreeze_epochs)} and {self.frozen_stages} stages are frozen"
            found.append(f"unfreeze_epochs: {problem}; give one epoch per frozen stage at most")
        for name in ("encoder_rate", "stage_decay"):
            if not 0 < getattr(self, name) <= 1:
                found.append(f"{name}: {getattr(self, name)} is no share; give a number above 0 and up to 1")
        return found
