from __future__ import annotations

import pytest
import torch

from medseg.contracts import IGNORE
from medseg.errors import UserError
from medseg.losses.deep_supervision import DeepSupervision, shrink_label
from medseg.losses.dice_ce import DiceCE

from .naive_losses import CLASSES


def draw(*sizes: tuple[int, ...]) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = [torch.randn(2, 3, *size, generator=generator) for size in sizes]
    return logits, torch.randint(0, 3, (2, 1, *sizes[0]), generator=generator).byte()


def test_weights_are_halved_per_level_and_sum_to_one() -> None:
    logits, label = draw((8, 8, 4), (4, 4, 4), (2, 2, 2))
    loss = DiceCE(CLASSES)
    terms = [
        float(loss(logits[0], label)),
        float(loss(logits[1], label[:, :, ::2, ::2, :])),
        float(loss(logits[2], label[:, :, ::4, ::4, ::2])),
    ]
    expected = (4 * terms[0] + 2 * terms[1] + terms[2]) / 7
    assert float(DeepSupervision(loss)(logits, label)) == pytest.approx(expected, rel=1e-6)


def test_one_level_is_the_loss_itself() -> None:
    logits, label = draw((6, 5))
    loss = DiceCE(CLASSES)
    assert float(DeepSupervision(loss)(logits, label)) == float(loss(logits[0], label))


def test_labels_are_never_mixed() -> None:
    label = torch.tensor([0, 2, IGNORE], dtype=torch.uint8)[torch.randint(0, 3, (1, 1, 12, 9, 6))]
    small = shrink_label(label, (4, 3, 3))
    assert small.dtype == torch.uint8
    torch.testing.assert_close(small, label[:, :, ::3, ::3, ::2])


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match="decay"):
        DeepSupervision(DiceCE(CLASSES), decay=decay)
