"""Weights of losses that change with training follow its steps, also after a restart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Labels
from medseg.losses.compound import Compound
from medseg.losses.dice import Dice
from medseg.losses.top_k import TopK
from medseg.objectives.supervised import Supervised
from medseg.training.module import SegmentationModule
from medseg.training.settings import OptimizerSettings, ScheduleSettings

LABELS = Labels(("a",), ((1,),))
RAMP = {"shape": "linear", "from": 0.0, "to": 2.0, "begin": 0.0, "end": 0.5}


class Fixed(nn.Module):
    """A network of one convolution with two levels of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 2, 1)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        logits = self.head(image)
        return logits, logits[:, :, ::2, ::2]


def module() -> SegmentationModule:
    terms = {
        "dice": {"_target_": "medseg.losses.dice.Dice"},
        "top_k": {"_target_": "medseg.losses.top_k.TopK"},
    }
    loss = Compound(LABELS, terms=terms, weights={"dice": 1.0, "top_k": RAMP})
    torch.manual_seed(0)
    return SegmentationModule(
        Fixed(), Supervised(loss), LABELS, OptimizerSettings(), ScheduleSettings(), seed=0, total_steps=20
    )


def a_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, 8, 8, generator=generator)
    label = torch.randint(0, 2, (2, 1, 8, 8), generator=generator).byte()
    present = torch.ones(2, 1, dtype=torch.bool)
    return Batch(image, label, present, torch.zeros(2, 2, dtype=torch.int64), ["a", "b"])


def expected(trained: SegmentationModule, weight: float) -> float:
    batch = a_batch()
    assert batch.label is not None
    finest, coarse = trained.network(batch.image)
    pairs = ((finest, batch.label, 2 / 3), (coarse, batch.label[:, :, ::2, ::2], 1 / 3))
    return sum(
        float(share * (Dice(LABELS)(x, y) + weight * TopK(LABELS)(x, y)).detach()) for x, y, share in pairs
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_the_weight_is_that_of_the_step(resumed: bool) -> None:
    trained: Any = module()
    for step, weight in ((0, 0.0), (3, 0.6), (10, 2.0), (20, 2.0), (3, 0.6)):
        if resumed:
            trained = module()
            trained.on_load_checkpoint({"steps_taken": step})
        else:
            trained.steps_taken = step
        loss = trained.training_step({"labelled": a_batch()}, 0)
        assert float(loss.detach()) == pytest.approx(expected(trained, weight), rel=1e-5)
