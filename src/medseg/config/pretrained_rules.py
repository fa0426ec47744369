"""Rules about pretrained weights and how gently they are trained on."""

from __future__ import annotations

from pathlib import Path

from medseg.config.folders import options
from medseg.config.freeze import frozen
from medseg.config.part_facts import Config, of_choice, of_option, short
from medseg.training.recipe import id_of
from medseg.training.settings import FinetuningSettings

_NO_FILE = (None, "imagenet")


def network_weights(config: Config) -> list[str]:
    """A weight file that is not there, a hash without a file, norms that do not go with the weights."""
    spec = config["network"]
    if "weights" not in spec:
        return []
    weights, found = spec["weights"], []
    if weights not in _NO_FILE and not Path(weights).is_file() and not goes_on(config):
        fix = "give a .safetensors or .pth file, imagenet or null"
        found.append(f"network.weights: {weights} is not a file; {fix}")
    if weights in _NO_FILE and spec.get("weights_sha256") is not None:
        found.append(
            f"network.weights_sha256: there is no file to check, network.weights is {weights or 'null'}; "
            "give network.weights=FILE, or leave it null"
        )
    if of_choice(config, "network").get("INSTANCES", False):
        found += _encoder_norm(spec.get("norm"), weights)
    return found


def goes_on(config: Config) -> bool:
    """Whether a training has a checkpoint or a model already, which hold the weights."""
    if "runs" not in config:
        return False
    name = config["id"] or id_of(frozen(config))
    run = Path(config["runs"]) / config["name"] / name
    return (run / "model").is_dir() or any((run / "checkpoints").glob("*.ckpt"))


def _encoder_norm(norm: str | None, weights: str | None) -> list[str]:
    if norm == "frozen" and weights is None:
        told, fix = "frozen norms of random weights normalise nothing", "network.norm=batch or group"
        return [f"network.norm: {told}; give network.weights, or use {fix}"]
    if norm == "group" and weights is not None:
        told, fix = "weights are of batch norms, not of group norms", "network.norm=batch or frozen"
        return [f"network.norm: {told}; use {fix}, or network.weights=null"]
    return []


def finetuned_stages(config: Config) -> list[str]:
    """Stages that the network does not have; how many it has at most, the plan's levels tell."""
    settings, plan = FinetuningSettings(**config["finetuning"]), config["plan"]
    if not settings.active:
        return []
    facts, name = of_choice(config, "network"), short(config, "network")
    if not facts.get("STAGES", True):
        alike = {option: of_option("network", option) for option in options("network")}
        able = [
            option
            for option, its in alike.items()
            if its.get("STAGES", True) and its.get("INSTANCES", False) == facts.get("INSTANCES", False)
        ]
        return [
            f"finetuning: {name} has no encoder stages to freeze or to train at other rates; "
            f"use finetuning=none, or a network of {', '.join(able)}"
        ]
    # encoders with a name have levels of their own
    levels = None if "encoder_name" in config["network"] or plan.get("file") else plan.get("max_levels")
    return [
        f"finetuning.{field}: names {count} stages and {name} has at most {levels}, plan.max_levels; "
        f"give at most {levels}"
        for field, count in (
            ("frozen_stages", settings.frozen_stages),
            ("unfreeze_epochs", len(settings.unfreeze_epochs)),
        )
        if levels is not None and count > levels
    ]
