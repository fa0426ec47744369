"""Choices that are each legal and do not go together, told from the source and the settings alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from itertools import product
from pathlib import Path
from typing import Any

from medseg.config.folders import options
from medseg.config.halves_rules import perturbed_features
from medseg.config.inference_rules import dropout_passes, finished_run
from medseg.config.part_facts import Config, of_choice, of_option, short
from medseg.config.pretrained_rules import finetuned_stages, network_weights
from medseg.config.pretraining_rules import lone_patch, pretrained_encoder, pretraining, stops_on_volumes
from medseg.config.rank_rules import sharded, shared_batch, synchronised_norm
from medseg.config.yaml_guard import check_yaml
from medseg.errors import UserError


def cross_problems(config: Config, faulty: Collection[str]) -> list[str]:
    """The lines of every rule whose groups are all there and free of problems of their own."""
    found: list[str] = []
    for groups, rule in _RULES:
        if all(group in config and group not in faulty for group in groups):
            found += rule(config)
    return found


def _fusion_network(config: Config) -> list[str]:
    """Where nothing is trained any other network of the same kind would do."""
    alone = of_choice(config, "network").get("INSTANCES", False)
    return [] if "objective" in config else _unsplit(config, alone)


def _fusion_network_trained(config: Config) -> list[str]:
    return _unsplit(config, of_choice(config, "objective").get("NEEDS_INSTANCES", False))


def _unsplit(config: Config, wanted: bool) -> list[str]:
    """Halves of a network that has none; other networks are named that the objective trains."""
    if not of_choice(config, "fusion").get("NEEDS_MODULAR", False):
        return []
    if of_choice(config, "network").get("MODULAR", True):
        return []
    alone = of_choice(config, "network").get("INSTANCES", False)
    fusions = [n for n in options("fusion") if _takes_whole(of_option("fusion", n), alone)]
    able = [
        name
        for name in options("network")
        if (facts := of_option("network", name)).get("MODULAR", True)
        and facts.get("INSTANCES", False) == wanted
    ]
    another = f", or a network of {', '.join(able)}" if able else ""
    return [
        f"fusion: {short(config, 'fusion')} needs an encoder and a decoder and {short(config, 'network')} "
        f"cannot be split; use fusion={' or '.join(fusions)}{another}"
    ]


def _takes_whole(fusion: dict[str, Any], alone: bool) -> bool:
    """Whether a fusion takes networks that cannot be split, and if need be a single one."""
    return not fusion.get("NEEDS_MODULAR", False) and (not alone or fusion.get("ONE_NETWORK", False))


def _instances(config: Config) -> list[str]:
    """Networks that find objects one by one are trained by an objective made for them, and by no other."""
    finds = of_choice(config, "network").get("INSTANCES", False)
    wants = of_choice(config, "objective").get("NEEDS_INSTANCES", False)
    if finds == wants:
        return []
    network, objective = short(config, "network"), short(config, "objective")
    can = [n for n in options("network") if of_option("network", n).get("INSTANCES", False) == wants]
    if wants:
        return [f"objective: {objective} is for networks that find objects, {network} does not; use network="
                f"{' or '.join(can)}, or objective=supervised"]  # fmt: skip
    made = [n for n in options("objective") if of_option("objective", n).get("NEEDS_INSTANCES")]
    return [f"network: {network} finds objects one by one and {objective} does not train that; use objective="
            f"{' or '.join(made)}, or a network of {', '.join(can)}"]  # fmt: skip


def _instances_fused(config: Config) -> list[str]:
    if not of_choice(config, "network").get("INSTANCES", False):
        return []
    fusion = of_choice(config, "fusion")
    if fusion.get("NEEDS_MODULAR", False) or fusion.get("ONE_NETWORK", False):
        return []  # the former is refused by another rule
    able = [n for n in options("fusion") if of_option("fusion", n).get("ONE_NETWORK", False)]
    return [
        f"fusion: {short(config, 'fusion')} joins several networks and {short(config, 'network')} must "
        f"find its objects alone; use fusion={' or '.join(able)}, or another network"
    ]


def _instances_of_regions(config: Config) -> list[str]:
    if not of_choice(config, "network").get("INSTANCES", False) or not config["data"].get("regions"):
        return []
    return [
        f"network: {short(config, 'network')} finds objects of exclusive classes and data.regions overlap; "
        "use data.labels, or another network"
    ]


def _exclusive(config: Config) -> list[str]:
    if not of_choice(config, "objective").get("EXCLUSIVE", False) or not config["data"].get("regions"):
        return []
    able = [n for n in options("objective") if not of_option("objective", n).get("EXCLUSIVE", False)]
    return [
        f"objective: {short(config, 'objective')} needs exclusive classes and data.regions overlap; "
        f"use data.labels, or one of {', '.join(able)}"
    ]


def _network_dims(config: Config) -> list[str]:
    dims, able = config["plan"].get("spatial_dims"), of_choice(config, "network").get("DIMS", (2, 3))
    if not isinstance(dims, int) or dims in able:
        return []
    others = [n for n in options("network") if dims in of_option("network", n).get("DIMS", (2, 3))]
    return [
        f"network: {short(config, 'network')} does not exist in {dims}D; use one of {', '.join(others)}, "
        f"or plan.spatial_dims={able[0]}"
    ]


def _patch_dims(config: Config) -> list[str]:
    patch, dims = config["plan"].get("patch_size"), config["plan"].get("spatial_dims")
    if patch is None or not isinstance(dims, int) or len(patch) == dims:
        return []
    return [f"plan.patch_size: {list(patch)} has {len(patch)} numbers and the plan is {dims}D; give {dims}"]


def _patch_strides(config: Config) -> list[str]:
    """The strides follow from patch and spacing; without a spacing, only what fits none is refused."""
    plan = config["plan"]
    patch, spacing = plan.get("patch_size"), plan.get("spacing")
    if patch is None or plan.get("file") is not None:
        return []
    from medseg.data.plan_topology import divisor, nearest_legal, pyramid

    known = spacing is not None and len(spacing) >= len(patch)
    guesses = [spacing[: len(patch)]] if known else product((1.0, 2.0, 4.0, 8.0), repeat=len(patch))
    shapes = [pyramid(patch, guess, plan.get("max_levels")) for guess in guesses]
    if any(not any(n % d for n, d in zip(patch, divisor(s.strides), strict=True)) for s in shapes):
        return []
    steps, legal = list(divisor(shapes[0].strides)), list(nearest_legal(patch, shapes[0].strides))
    return [
        f"plan.patch_size: {list(patch)} is not a multiple of {steps}, the product of the network's strides; "
        f"the nearest that is: {legal}"
    ]


def _patch_multiple(config: Config) -> list[str]:
    patch, multiple = config["plan"].get("patch_size"), of_choice(config, "network").get("DIVISOR", 1)
    if patch is None or not any(n % multiple for n in patch):
        return []
    legal = [max(multiple, round(n / multiple) * multiple) for n in patch]
    return [
        f"plan.patch_size: {short(config, 'network')} needs multiples of {multiple}, not {list(patch)}; "
        f"the nearest is {legal}"
    ]


def _network_fits(config: Config) -> list[str]:
    """What transformers ask for: divisible widths, several levels, not too many tokens."""
    plan, spec, facts = config["plan"], config["network"], of_choice(config, "network")
    name, levels = short(config, "network"), plan.get("max_levels")
    found = [
        f"network.{option}: {name} needs a multiple of {n}, not {spec[option]}; the nearest is "
        f"{max(n, round(spec[option] / n) * n)}"
        for option, n in facts.get("MULTIPLE_OF", {}).items()
        if spec.get(option) is not None and spec[option] % n
    ]
    least = facts.get("MIN_LEVELS", 1)
    if levels is not None and levels < least:
        found.append(f"plan.max_levels: {name} needs {least} levels, not {levels}; give {least} or more")
    patch, most = plan.get("patch_size"), facts.get("MAX_TOKENS")
    if patch is not None and most is not None and plan.get("file") is None:
        from medseg.data.plan_topology import divisor, pyramid

        spacing = (plan.get("spacing") or [1.0] * len(patch))[: len(patch)]
        strides = pyramid(patch, spacing, levels).strides[: spec.get("levels")]
        tokens = math.prod(n // d for n, d in zip(patch, divisor(strides), strict=True))
        if tokens > most:
            few = f"{name} would see {tokens:,} tokens, more than {most:,}"
            found.append(f"plan.patch_size: {few}; use a smaller patch or more levels")
    return found


def _plan_file(config: Config) -> list[str]:
    file = config["plan"].get("file")
    if file is None:
        return []
    if not Path(file).is_file():
        return [f"plan.file: {file} is not a file; write one with medseg plan"]
    from medseg.data.plan import Plan

    try:
        check_yaml(Path(file))
        plan = Plan.load(Path(file))
    except UserError as error:
        return [f"plan.file: {line}" for line in str(error).splitlines()]
    decided = {"spatial_dims": plan.spatial_dims, "patch_size": plan.patch_size}
    return _network_dims({**config, "plan": decided}) + _patch_multiple({**config, "plan": decided})


def _streams(config: Config) -> list[str]:
    facts = of_choice(config, "objective")
    streams = facts.get("STREAMS", ("labelled",))
    name = short(config, "objective")
    if facts.get("PRETRAINS", False):
        return []  # reads labelled cases as well, without their labels
    if "unlabelled" in streams and not config["data"].get("unlabelled_ok", True):
        return [
            f"objective: {name} reads unlabelled cases and data.unlabelled_ok is false; "
            "use data.unlabelled_ok=true or objective=supervised"
        ]
    return []


def _appended_on_device(config: Config) -> list[str]:
    queue = config["queue"]
    if queue.get("augment_on") != "device" or not queue.get("torchio_transforms"):
        return []
    return [
        "queue.torchio_transforms: run on the CPU alone and queue.augment_on is device; "
        "use queue.augment_on=cpu or leave them out"
    ]


def _dropped_modalities(config: Config) -> list[str]:
    share = config["augmentation"].get("modality_dropout_probability", 0)
    if not share or short(config, "queue") != "TorchIOQueue":
        return []
    return [
        f"augmentation.modality_dropout_probability: {share} is not done by queue=torchio; "
        "use queue=patch, or 0"
    ]


def _stacked_slices(config: Config) -> list[str]:
    queue, slices = config["queue"], config["plan"].get("slices", 1)
    own = short(config, "queue") == "PatchQueue" and queue.get("augment_on") != "device"
    if slices == 1 or (own and not queue.get("torchio_transforms")):
        return []
    return [
        f"plan.slices: {slices} neighbouring slices are stacked by queue=patch on the CPU alone; "
        "use queue=patch queue.augment_on=cpu queue.torchio_transforms=null, or plan.slices=1"
    ]


def _fold(config: Config) -> list[str]:
    fold, folds = config["fold"], config["split"].get("folds", 5)
    if config["split"].get("file") is not None or not isinstance(fold, int) or fold < folds:
        return []
    return [f"fold: {fold} does not exist in a split of {folds} folds; use 0 to {folds - 1}"]


def _scored_against(config: Config) -> list[str]:
    if config["predictions"] is None or "data" in config:
        return []
    return ["data: is missing: predictions need labels; add data=NAME or data.root=FOLDER"]


_RULES: tuple[tuple[tuple[str, ...], Callable[[Config], list[str]]], ...] = (
    (("fusion", "network"), _fusion_network),
    (("fusion", "network", "objective"), _fusion_network_trained),
    (("network", "objective"), _instances),
    (("fusion", "network"), _instances_fused),
    (("network", "data"), _instances_of_regions),
    (("plan", "network"), _network_dims),
    (("plan",), _patch_dims),
    (("plan",), _patch_strides),
    (("plan", "network"), _patch_multiple),
    (("plan", "network"), _network_fits),
    (("plan", "network"), _plan_file),
    (("objective", "data"), _streams),
    (("objective", "data"), _exclusive),
    (("network",), network_weights),
    (("finetuning", "network", "plan"), finetuned_stages),
    (("objective", "network", "fusion"), pretraining),
    (("objective", "network", "fusion"), perturbed_features),
    (("objective", "plan", "training"), lone_patch),
    (("objective", "training"), stops_on_volumes),
    (("finetuning", "network", "fusion"), pretrained_encoder),
    (("training", "plan"), shared_batch),
    (("training",), synchronised_norm),
    (("training", "objective", "finetuning"), sharded),
    (("inference", "network"), dropout_passes),
    (("postprocess", "run", "missing"), finished_run),
    (("queue",), _appended_on_device),
    (("queue", "augmentation"), _dropped_modalities),
    (("queue", "plan"), _stacked_slices),
    (("fold", "split"), _fold),
    (("predictions",), _scored_against),
)
"""Which keys a rule reads, and the rule."""
