"""One real optimizer step of every network that ``conf/`` offers with every fusion that takes it.

Built as a training builds them, tiny and in 2D where the network exists in 2D. Of several choices of one
class, which differ in size alone, the first is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from medseg.config.check import bind, config_problems
from medseg.config.folders import options
from medseg.contracts import Batch, Labels, Progress
from medseg.data.plan import Plan
from medseg.inference.assemble import assemble_encoding, assemble_network
from medseg.targets import build
from medseg.training.finetuning import Stages
from medseg.training.optimizers import build_optimizer
from medseg.training.settings import FinetuningSettings

from .choices import chosen, composed, facts_of

LABELS = Labels(("a", "b"), ((1,), (2,)))
TINY = {
    "encoder_name": "resnet18", "feature_size": 12, "hidden_size": 12, "mlp_size": 24, "layers": 4,
    "decoder_widths": [4, 4, 8, 8, 8], "width": 16, "proposals": 20, "regions_per_image": 16, "detections": 5,
}  # fmt: skip
"""Smaller values of options that parts have."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def objective_for(network: str) -> str:
    """The first that trains such a network on labels alone."""
    finds = facts_of("network", network).get("INSTANCES", False)
    return next(
        name
        for name in options("objective")
        if (facts := facts_of("objective", name)).get("NEEDS_INSTANCES", False) == finds
        and facts["STREAMS"] == ("labelled",)
    )


def configuration(network: str, fusion: str) -> dict[str, Any]:
    return composed({"network": network, "fusion": fusion, "objective": objective_for(network)})


def of_one_class() -> list[str]:
    seen: dict[str, str] = {}
    for name in options("network"):
        seen.setdefault(chosen("network", name)["network"]["_target_"], name)
    return list(seen.values())


PAIRS = [
    pair
    for pair in itertools.product(of_one_class(), options("fusion"))
    if not config_problems("train", configuration(*pair))
]


def make_plan(network: str) -> Plan:
    """Two levels more than one, or what the network's own depth asks for."""
    facts = facts_of("network", network)
    dims = min(facts.get("DIMS", (2, 3)))
    side, levels = max(16, 2 * facts.get("DIVISOR", 1)), max(3, facts.get("MIN_LEVELS", 1))
    return Plan(
        spatial_dims=dims,
        modalities=("t1", "t2"),
        axes=(0, 1, 2),
        spacing=(1.0, 1.0, 1.0),
        patch_size=(side,) * dims,
        batch_size=2,
        strides=((1,) * dims, *[(2,) * dims] * (levels - 1)),
        kernels=((3,) * dims,) * levels,
        widths=tuple(4 * 2**level for level in range(levels)),
        normalisation={"t1": {"method": "none"}, "t2": {"method": "none"}},
        in_plane_only=False,
        precision="32-true",
        multiple=facts.get("DIVISOR", 1),
    )


def make_batch(plan: Plan) -> Batch:
    """Two patches with an object of each class, the second without its second modality."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 2, *plan.patch_size, generator=generator)
    label = torch.zeros(2, 1, *plan.patch_size, dtype=torch.uint8)
    half = plan.patch_size[0] // 2
    label[:, :, 1 : half - 1, 1 : half - 1] = 1
    label[:, :, half + 1 : -1, half + 1 : -1] = 2
    present = torch.tensor([[True, True], [True, False]])
    image[1, 1] = 0
    return Batch(image, label, present, torch.zeros(2, 2, dtype=torch.int64), ["case_0", "case_1"])


def test_no_network_and_no_fusion_is_left_out() -> None:
    assert {network for network, _ in PAIRS} == {*of_one_class()}
    assert {fusion for _, fusion in PAIRS} == {*options("fusion")}


@pytest.mark.parametrize(("network", "fusion"), PAIRS, ids=[f"{n}-{f}" for n, f in PAIRS])
def test_a_step_moves_the_weights(network: str, fusion: str) -> None:
    config, plan = configuration(network, fusion), make_plan(network)
    spec = {key: TINY.get(key, value) for key, value in config["network"].items()}
    torch.manual_seed(0)
    objective: Any = build(config["objective"], "objective", build(config["loss"], "loss", LABELS))
    built = assemble_network(spec, config["fusion"], plan, LABELS, objective.deep_supervision).train()
    stages = Stages(built, FinetuningSettings())
    objective.attach(built)
    optimizer = build_optimizer(bind("train", config)["optimizer"], stages.rates())
    trained = {name: weight for name, weight in built.named_parameters() if weight.requires_grad}
    before = {name: weight.detach().clone() for name, weight in trained.items()}

    progress = Progress(step=0, total_steps=10, epoch=0)
    loss = objective.step(built, {"labelled": make_batch(plan)}, progress)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    optimizer.step()
    assert all(weight.isfinite().all() for weight in trained.values())
    moved = {name for name, weight in trained.items() if not torch.equal(weight, before[name])}
    pushed = {name for name, weight in trained.items() if weight.grad is not None and weight.grad.any()}
    assert pushed <= moved
    assert len(moved) > len(trained) / 2


PRETRAINED = [
    (objective, *pair)
    for objective in options("objective")
    if facts_of("objective", objective).get("PRETRAINS", False)
    for pair in PAIRS
    if not config_problems(
        "train", configuration(*pair) | {"objective": chosen("objective", objective)["objective"]}
    )
]


def test_every_encoder_is_pretrained() -> None:
    modular = {name for name in of_one_class() if facts_of("network", name)["MODULAR"]}
    able = {name for name in options("fusion") if facts_of("fusion", name).get("ENCODING", False)}
    cells = set(itertools.product(modular, able))
    assert cells
    tokens = {
        (network, fusion)
        for network, fusion in cells
        if facts_of("network", network).get("GLOBAL_TOKENS") and facts_of("fusion", fusion).get("ONE_NETWORK")
    }
    assert tokens
    for objective in {cell[0] for cell in PRETRAINED}:
        expected = tokens if facts_of("objective", objective).get("NEEDS_TOKENS") else cells
        assert {cell[1:] for cell in PRETRAINED if cell[0] == objective} == expected


@pytest.mark.parametrize(
    ("name", "network", "fusion"), PRETRAINED, ids=["-".join(cell) for cell in PRETRAINED]
)
def test_a_step_without_labels_moves_the_encoder(name: str, network: str, fusion: str) -> None:
    config, plan = configuration(network, fusion), make_plan(network)
    spec = {key: TINY.get(key, value) for key, value in config["network"].items()}
    torch.manual_seed(0)
    objective: Any = build(
        chosen("objective", name)["objective"], "objective", build(config["loss"], "loss", LABELS)
    )
    encoding = assemble_encoding(spec, config["fusion"], plan, LABELS).train()
    objective.attach(encoding)
    stages = Stages(encoding, FinetuningSettings())
    own = list(objective.parameters())
    optimizer = build_optimizer(bind("train", config)["optimizer"], [*stages.rates(), (own, 1.0)])
    named = [*encoding.named_parameters(), *objective.named_parameters()]
    trained = {label: weight for label, weight in named if weight.requires_grad}
    before = {label: weight.detach().clone() for label, weight in trained.items()}

    batch = replace(make_batch(plan), label=None)
    loss = objective.step(encoding, {"unlabelled": batch}, Progress(step=0, total_steps=10, epoch=0))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert [label for label, weight in trained.items() if weight.grad is None] == []
    optimizer.step()
    assert all(weight.isfinite().all() for weight in trained.values())
    moved = {label for label, weight in trained.items() if not torch.equal(weight, before[label])}
    assert len(moved) > len(trained) / 2
