"""Rules about trainings on several ranks: batches that divide, and what a sharded network cannot do."""

from __future__ import annotations

import os
from pathlib import Path

from medseg.config.folders import options
from medseg.config.part_facts import Config, of_choice, of_option, short
from medseg.errors import UserError

_UNLABELLED = "training.unlabelled_batch_size"


def refuse_sweep_of_ranks() -> None:
    """A sweep runs its jobs in turn; ranks that something else has started are there for one training.

    Raises:
        UserError: torchrun or srun has started this process with others.
    """
    from medseg.training.ranks import told

    if told(os.environ) is not None:
        problem = "a sweep is one process, and torchrun or srun has started several"
        raise UserError("-m", problem, "leave the ranks to medseg (training.devices=N), or start one job")


def shared_batch(config: Config) -> list[str]:
    """Batches that ranks, and the parts of a rank's share, do not divide."""
    training = config["training"]
    ranks = training.get("devices", 1) * training.get("num_nodes", 1)
    parts = ranks * training.get("accumulate", 1)
    sizes = {"plan.batch_size": _planned(config), _UNLABELLED: training.get("unlabelled_batch_size")}
    return [
        f"{field}: {size} patches cannot be shared by {ranks} ranks in {parts // ranks} parts each; "
        f"give a multiple of {parts}, such as {-(-size // parts) * parts}"
        for field, size in sizes.items()
        if size is not None and size % parts
    ]


def _planned(config: Config) -> int | None:
    """The batch size that is known before the data are."""
    file = config["plan"].get("file")
    if file is None or not Path(file).is_file():
        size: int | None = config["plan"].get("batch_size")
        return size
    from medseg.data.plan import Plan

    try:
        return Plan.load(Path(file)).batch_size
    except UserError:
        return None  # another rule tells it


def synchronised_norm(config: Config) -> list[str]:
    """PyTorch has it for GPUs alone."""
    training = config["training"]
    several = training.get("devices", 1) * training.get("num_nodes", 1) > 1
    if not training.get("sync_batchnorm") or training.get("accelerator") != "cpu" or not several:
        return []
    return [
        "training.sync_batchnorm: runs on GPUs alone and training.accelerator is cpu; leave it out, or use "
        "network.norm=instance"
    ]


def sharded(config: Config) -> list[str]:
    """What does not go together with ``training.strategy=fsdp``."""
    if config["training"].get("strategy") != "fsdp":
        return []
    found = []
    facts, told = of_choice(config, "objective"), "training.strategy: fsdp cannot"
    if facts.get("PRETRAINS", False) or facts.get("NEEDS_INSTANCES", False):
        able = [name for name in options("objective") if _shardable(of_option("objective", name))]
        found.append(f"{told} train by {short(config, 'objective')}; use ddp, or one of {', '.join(able)}")
    if config["finetuning"].get("frozen_stages"):
        found.append(f"{told} freeze stages; use ddp, or finetuning.frozen_stages=0")
    if config["training"].get("precision") == "16-mixed":
        found.append(f"{told} scale the loss of 16-mixed; use bf16-mixed or 32-true")
    return found


def _shardable(objective: Config) -> bool:
    return not objective.get("PRETRAINS", False) and not objective.get("NEEDS_INSTANCES", False)
