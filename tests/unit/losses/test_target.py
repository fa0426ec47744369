from __future__ import annotations

import torch

from medseg.contracts import IGNORE
from medseg.losses.target import prepare

from .naive_losses import CLASSES, REGIONS

LABEL = torch.tensor([0, 1, 2, 3, IGNORE], dtype=torch.uint8).reshape(1, 1, 5, 1)


def test_classes_have_a_row_each_and_ignored_voxels_none() -> None:
    rows = prepare(torch.zeros(1, 3, 4, 1), LABEL[:, :, [0, 1, 2, 4]], CLASSES).one_hot
    assert rows[0, :, :, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_regions_are_unions_of_codes() -> None:
    # values 1, 2, 4 have codes 1, 2, 3; whole = {1, 2, 4}, core = {1, 4}
    rows = prepare(torch.zeros(1, 2, 5, 1), LABEL, REGIONS).one_hot
    assert rows[0, :, :, 0].int().tolist() == [[0, 1, 1, 1, 0], [0, 1, 0, 1, 0]]


def test_probabilities_are_softmax_for_classes_and_sigmoid_for_regions() -> None:
    logits = torch.randn(1, 3, 5, 1, generator=torch.Generator().manual_seed(0))
    mask = LABEL != IGNORE
    torch.testing.assert_close(prepare(logits, LABEL, CLASSES).probabilities, logits.softmax(1) * mask)
    torch.testing.assert_close(
        prepare(logits[:, :2], LABEL, REGIONS).probabilities, logits[:, :2].sigmoid() * mask
    )


def test_each_view_is_made_once() -> None:
    target = prepare(torch.zeros(1, 3, 4, 1), LABEL[:, :, [0, 1, 2, 4]], CLASSES)
    assert target.probabilities is target.probabilities
    assert target.log_likelihood is target.log_likelihood
