"""Every choice that ``conf/`` offers: it composes and is accepted, or it is refused with the reason.

The choices are found by listing the folders, so that a new one is tested without being named here.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from medseg.config.bindings import SETTINGS
from medseg.config.check import bind, config_problems
from medseg.config.compose import compose
from medseg.config.folders import groups, options, read_root
from medseg.config.verbs import VERBS
from medseg.targets import SLOTS

from .choices import chosen, composed, facts_of

PARTS = ("network", "fusion", "loss", "objective", "queue")
TRAIN = [(group, option) for group in read_root("train").defaults for option in options(group)]
EVERY = itertools.product(*(options(group) for group in PARTS))
COMMON = {"loss": "dice_ce", "objective": ("supervised", "instances"), "queue": "patch"}


def looked_at(network: str, fusion: str, loss: str, objective: str, queue: str) -> bool:
    """Whole planes of the product, since no rule reads more than three parts: every network and fusion
    with every loss and with every objective, and every loss, objective and queue with each other."""
    usual = (loss == COMMON["loss"], objective in COMMON["objective"], queue == COMMON["queue"])
    return (usual[2] and (usual[0] or usual[1])) or (network, fusion) == ("unet", "early")


GRID = [parts for parts in EVERY if looked_at(*parts)]
WRITTEN = sorted({*SETTINGS} & {*groups()} - {"data"})  # a preset of data says what is known of the cohort
CELLS = list(itertools.product(*(options(group) for group in ("network", "fusion"))))


def cell(parts: tuple[str, ...], dims: int) -> dict[str, Any]:
    """The configuration that these choices compose to."""
    base = composed(dict(zip(PARTS, parts, strict=True)))
    return base | {"plan": {**base["plan"], "spatial_dims": dims}}


def company(group: str, option: str) -> list[str]:
    """What a choice cannot be without: networks that find objects and objectives for them go together, and
    what leaves tokens out needs a network that has some."""
    for constant in (
        {"network": "INSTANCES", "objective": "NEEDS_INSTANCES"},
        {"objective": "NEEDS_TOKENS", "network": None},
    ):
        wanted = constant.get(group)
        if wanted and facts_of(group, option).get(wanted, False):
            other = next(slot for slot in constant if slot != group)
            has = constant[other] or "GLOBAL_TOKENS"
            return [next(f"{other}={name}" for name in options(other) if facts_of(other, name).get(has))]
    return []


def drops_features(objective: str) -> bool:
    """Whether it works between an encoder and a decoder."""
    return bool(chosen("objective", objective)["objective"].get("feature_dropout"))


@pytest.mark.parametrize(("group", "option"), TRAIN, ids=[f"{g}={o}" for g, o in TRAIN])
def test_each_choice_alone_is_accepted(group: str, option: str) -> None:
    found = compose("train", [f"{group}={option}", *company(group, option)])
    assert found.problems == ()
    assert bind("train", found.config)


def test_every_group_belongs_to_a_verb() -> None:
    used = {group for verb in VERBS for group in read_root(verb).defaults}
    assert {*groups()} == used


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("network", "fusion"), CELLS, ids=[f"{n}-{f}" for n, f in CELLS])
def test_the_whole_grid(network: str, fusion: str, dims: int) -> None:
    """network x fusion x loss, network x fusion x objective, loss x objective x queue, in 2D and 3D."""
    of_network, of_fusion = facts_of("network", network), facts_of("fusion", fusion)
    finds = of_network.get("INSTANCES", False)
    joined = dims in of_network["DIMS"]
    joined = joined and (of_network["MODULAR"] or not of_fusion.get("NEEDS_MODULAR", False))
    joined = joined and (of_fusion.get("ONE_NETWORK", False) or not finds)
    for parts in GRID:
        if parts[:2] != (network, fusion):
            continue
        of_objective = facts_of("objective", parts[3])
        legal = joined and finds == of_objective.get("NEEDS_INSTANCES", False)
        if of_objective.get("PRETRAINS", False) or drops_features(parts[3]):
            legal = legal and of_network["MODULAR"] and of_fusion.get("ENCODING", False)
        if of_objective.get("NEEDS_TOKENS", False):
            legal = legal and of_network.get("GLOBAL_TOKENS", False) and of_fusion.get("ONE_NETWORK", False)
        found = config_problems("train", cell(parts, dims))
        if legal:
            assert found == [], parts
        else:
            assert found, parts
            slots = ("network:", "fusion:", "objective:")
            assert all(line.startswith(slots) and "; use " in line for line in found), found


def test_cells_compose_to_what_their_choices_say() -> None:
    """A seeded sample of the grid through Hydra itself."""
    for parts in random.Random(0).sample(GRID, min(8, len(GRID))):
        words = [f"{group}={option}" for group, option in zip(PARTS, parts, strict=True)]
        found = compose("train", [*words, "plan.spatial_dims=3"])
        assert found.config == cell(parts, 3)
        assert list(found.problems) == config_problems("train", cell(parts, 3))


@pytest.mark.parametrize("slot", sorted(SLOTS))
def test_every_option_of_a_part_is_written_in_its_file(slot: str) -> None:
    """The files are the documentation of the choices: no option may be known to the code alone."""
    from medseg.config.bindings import PROVIDED
    from medseg.targets import parameters

    for name in options(slot):
        spec = chosen(slot, name)[slot]
        known = {p.name for p in parameters(spec["_target_"]) if not p.variadic} - {*PROVIDED[slot]}
        assert known == spec.keys() - {"_target_"}, f"conf/{slot}/{name}.yaml"


@pytest.mark.parametrize("group", WRITTEN)
def test_every_field_of_the_settings_is_written_in_its_files(group: str) -> None:
    from medseg.config.bindings import fields

    for name in options(group):
        assert chosen(group, name)[group].keys() == fields(group).keys(), f"conf/{group}/{name}.yaml"


def test_every_network_and_objective_publishes_its_constants() -> None:
    for name in options("network"):
        facts = facts_of("network", name)
        assert isinstance(facts["MODULAR"], bool)
        assert {*facts["DIMS"]} <= {2, 3}
    for name in options("objective"):
        facts = facts_of("objective", name)
        assert {*facts["STREAMS"]} <= {"labelled", "unlabelled"}
        assert isinstance(facts["DEEP_SUPERVISION"], bool)
