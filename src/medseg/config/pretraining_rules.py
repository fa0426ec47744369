"""Rules about objectives that pretrain an encoder, and about trainings that start from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.config.folders import options
from medseg.config.part_facts import Config, of_choice, of_option, short
from medseg.config.pretrained_rules import goes_on
from medseg.errors import UserError


def pretraining(config: Config) -> list[str]:
    """Networks and fusions without one encoder to pretrain, or without tokens where these are needed."""
    objective = of_choice(config, "objective")
    if not objective.get("PRETRAINS", False):
        return []
    if objective.get("NEEDS_TOKENS", False):
        return _without_tokens(config)
    return _without_encoder(config, f"objective: {short(config, 'objective')} pretrains an encoder and")


def _without_tokens(config: Config) -> list[str]:
    """Tokens can be left out only where each sees all others, in one encoder of all modalities."""
    name, found = short(config, "objective"), []
    if not of_choice(config, "network").get("GLOBAL_TOKENS", False):
        able = [n for n in options("network") if of_option("network", n).get("GLOBAL_TOKENS", False)]
        found.append(
            f"objective: {name} leaves tokens of a transformer over the whole patch out and "
            f"{short(config, 'network')} has no such tokens; use network={' or '.join(able)}, "
            "or objective=masked_image_modelling"
        )
    if not _of_one(of_choice(config, "fusion")):
        able = [n for n in options("fusion") if _of_one(of_option("fusion", n))]
        found.append(
            f"objective: {name} leaves the same tokens of all modalities out and {short(config, 'fusion')} "
            f"has no encoder that sees them together; use fusion={' or '.join(able)}"
        )
    return found


def _of_one(fusion: dict[str, Any]) -> bool:
    """Whether a fusion has one encoder, which sees all modalities together."""
    return bool(fusion.get("ENCODING", False) and fusion.get("ONE_NETWORK", False))


def _without_encoder(config: Config, told: str) -> list[str]:
    """A line that names what has one, where the choices have none."""
    network, fusion = of_choice(config, "network"), of_choice(config, "fusion")
    if not network.get("MODULAR", True):
        able = [n for n in options("network") if of_option("network", n).get("MODULAR", True)]
        return [f"{told} {short(config, 'network')} cannot be split; use one of network={', '.join(able)}"]
    if not fusion.get("ENCODING", False):
        able = [n for n in options("fusion") if of_option("fusion", n).get("ENCODING", False)]
        return [
            f"{told} {short(config, 'fusion')} has none of all modalities; use fusion={' or '.join(able)}"
        ]
    return []


def lone_patch(config: Config) -> list[str]:
    """A contrast needs other patches."""
    least, own = of_choice(config, "objective").get("MIN_BATCH", 1), "unlabelled_batch_size"
    own_size = config["training"].get(own)
    size = own_size or config["plan"].get("batch_size")
    if size is None or size >= least:
        return []
    where = f"training.{own}" if own_size else "plan.batch_size"
    return [
        f"{where}: {short(config, 'objective')} compares the patches of a batch and there is {size}; "
        f"use {least} or more"
    ]


def stops_on_volumes(config: Config) -> list[str]:
    """Early stopping looks at the Dice of volumes, which a pretraining has not."""
    patience = config["training"].get("patience")
    if patience is None or not of_choice(config, "objective").get("PRETRAINS", False):
        return []
    return [
        f"training.patience: {short(config, 'objective')} segments no volumes to stop by; "
        "use training.patience=null"
    ]


def pretrained_encoder(config: Config) -> list[str]:
    """An encoder that is not there, or is of another network; a run that has begun goes on without it."""
    path = config["finetuning"].get("pretrained")
    if path is None or goes_on(config):
        return []
    told = "finetuning.pretrained: gives the weights of an encoder and"
    if found := _without_encoder(config, told):
        return found
    from medseg.inference.encoder_facts import EncoderFacts

    try:
        EncoderFacts.read(Path(path)).refuse(config["network"])
    except UserError as error:
        return str(error).splitlines()
    return []
