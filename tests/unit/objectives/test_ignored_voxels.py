"""Partial labels and scribbles: what lies under ignored voxels has no say in what is learned from labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import IGNORE, Batch, Labels, Progress
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.components import find_instances

LABELS = Labels(("a", "b"), ((1,), (2,)))
LATE = Progress(step=90, total_steps=100, epoch=3)
SPECS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "conf" / "objective").glob("*.yaml"))
}


def learns_voxels(name: str) -> bool:
    facts = targets.constants(SPECS[name]["_target_"])
    return "labelled" in facts["STREAMS"] and not facts.get("NEEDS_INSTANCES", False)


NAMES = [name for name in SPECS if learns_voxels(name)]


class Pointwise(nn.Module):
    """Looks at one voxel at a time, so that a voxel can say something in its own place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 3, 1)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.decode(self.encoding()(image, present))

    def encoding(self) -> Any:
        return lambda image, present: [self.first(image).tanh()]

    def decode(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        logits = self.last(features[0])
        return logits, logits[..., ::2, ::2]


def scribbled(filler: float) -> dict[str, Batch]:
    """Four of five voxels of the labelled stream are ignored, and show ``filler``."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 2, 8, 8, generator=generator)
    label = torch.randint(0, 3, (3, 1, 8, 8), generator=generator).byte()
    ignored = torch.rand(label.shape, generator=generator) < 0.8
    there, index, cases = torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.int64), ["x"] * 3
    labelled = Batch(
        torch.where(ignored, filler, image), label.masked_fill(ignored, IGNORE), there, index, cases
    )
    unlabelled = replace(labelled, image=torch.randn(3, 2, 8, 8, generator=generator), label=None)
    return {"labelled": labelled, "unlabelled": unlabelled}


def learned(name: str, filler: float, **changed: float) -> tuple[dict[str, Tensor], list[Tensor]]:
    torch.manual_seed(0)
    objective: Any = targets.build(SPECS[name] | changed, "objective", DiceCE(LABELS))
    network = Pointwise()
    objective.attach(network)
    torch.manual_seed(5)
    found = objective.step(network, scribbled(filler), LATE)
    found["loss"].backward()
    return found, [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_from_labels_does_not_depend_on_ignored_voxels(name: str) -> None:
    """Of objectives of two streams the labelled term: the other learns from images, labelled or not."""
    alone = {"weight": 0.0} if "weight" in SPECS[name] else {}
    found = [learned(name, filler, **alone) for filler in (0.0, 3.0)]
    key = "loss_labelled" if alone else "loss"
    assert float(found[0][0][key].detach()) == pytest.approx(float(found[1][0][key].detach()), rel=1e-6)
    assert found[0][1]
    for mine, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


USE_LABELLED_IMAGES = {"cross_pseudo_supervision", "copy_paste"}
"""Their second term sees the images of labelled patches too: beliefs of the other network, mixtures."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in USE_LABELLED_IMAGES])
def test_nor_does_all_that_the_others_learn(name: str) -> None:
    changed = {"confidence": 0.0} if "confidence" in SPECS[name] else {}
    found = [learned(name, filler, **changed) for filler in (0.0, 3.0)]
    assert float(found[0][0]["loss"].detach()) == pytest.approx(float(found[1][0]["loss"].detach()), rel=1e-6)
    for mine, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_a_batch_of_ignored_voxels_alone_teaches_nothing() -> None:
    for name in NAMES:
        torch.manual_seed(0)
        objective: Any = targets.build(SPECS[name], "objective", DiceCE(LABELS))
        network, given = Pointwise(), scribbled(1.0)
        assert given["labelled"].label is not None
        given["labelled"].label.fill_(IGNORE)
        objective.attach(network)
        found = objective.step(network, given, LATE)
        assert float(found.get("loss_labelled", found["loss"]).detach()) == 0, name
        found["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_objects_that_touch_the_unknown_are_no_examples() -> None:
    codes = torch.zeros(9, 9, dtype=torch.uint8)
    codes[1:5, 1:5], codes[6:8, 6:8], codes[:, 5] = 1, 2, IGNORE
    found = find_instances(codes)
    assert found.labels.tolist() == []
    codes[:, 5] = 0
    codes[0, 8] = IGNORE
    assert find_instances(codes).labels.tolist() == [1, 2]
