"""Where MONAI defines a loss as we do, the numbers are the same."""

from __future__ import annotations

import pytest
import torch
from monai.losses import (
    DiceCELoss,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
    HausdorffDTLoss,
    SoftclDiceLoss,
    TverskyLoss,
)

from medseg.losses.cross_entropy import CrossEntropy
from medseg.losses.dice import Dice
from medseg.losses.dice_ce import DiceCE
from medseg.losses.focal import Focal
from medseg.losses.generalised_dice import GeneralisedDice
from medseg.losses.hausdorff import Hausdorff
from medseg.losses.soft_cldice import SoftClDice
from medseg.losses.target import prepare
from medseg.losses.tversky import Tversky

from .naive_losses import CLASSES, REGIONS

CLOSE = {"rel": 1e-5, "abs": 1e-6}


@pytest.fixture(params=[(6, 5), (6, 5, 4)], ids=["2d", "3d"])
def space(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def logits(space: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(3, 3, *space, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def label(space: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 3, (3, 1, *space), generator=torch.Generator().manual_seed(2)).byte()


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_dice(logits: torch.Tensor, label: torch.Tensor, background: bool, batch: bool) -> None:
    theirs = DiceLoss(softmax=True, to_onehot_y=True, include_background=background, batch=batch)
    ours = Dice(CLASSES, background=background, batch=batch)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label)), **CLOSE)


def test_dice_of_regions(logits: torch.Tensor, label: torch.Tensor) -> None:
    rows = prepare(logits[:, :2], label, REGIONS).one_hot.float()
    theirs = DiceLoss(sigmoid=True)(logits[:, :2], rows)
    assert float(Dice(REGIONS)(logits[:, :2], label)) == pytest.approx(float(theirs), **CLOSE)


def test_tversky(logits: torch.Tensor, label: torch.Tensor) -> None:
    options = {"alpha": 0.3, "beta": 0.7}
    theirs = TverskyLoss(softmax=True, to_onehot_y=True, include_background=False, **options)
    ours = Tversky(CLASSES, **options)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label)), **CLOSE)


def test_dice_ce(logits: torch.Tensor, label: torch.Tensor) -> None:
    weights = [0.2, 1.0, 3.0]
    theirs = DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0.5, lambda_ce=2.0)
    theirs.cross_entropy.weight = torch.tensor(weights)  # its own `weight` would weigh the Dice too
    ours = DiceCE(CLASSES, background=True, dice_weight=0.5, ce_weight=2.0, class_weights=weights)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label)), **CLOSE)


def test_focal_of_classes_times_their_mean_over_rows(logits: torch.Tensor, label: torch.Tensor) -> None:
    # MONAI averages over all K rows, of which K - 1 are zero in every voxel
    theirs = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0)(logits, label) * 3
    assert float(Focal(CLASSES)(logits, label)) == pytest.approx(float(theirs), **CLOSE)


def test_focal_of_regions(logits: torch.Tensor, label: torch.Tensor) -> None:
    rows = prepare(logits[:, :2], label, REGIONS).one_hot.float()
    theirs = FocalLoss(gamma=3.0)(logits[:, :2], rows)
    assert float(Focal(REGIONS, gamma=3.0)(logits[:, :2], label)) == pytest.approx(float(theirs), **CLOSE)


def test_cross_entropy_with_ignored_voxels_is_torchs(logits: torch.Tensor, label: torch.Tensor) -> None:
    label[0, 0, :2] = 255
    weights = [0.2, 1.0, 3.0]
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights), ignore_index=255)
    ours = CrossEntropy(CLASSES, class_weights=weights)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label[:, 0].long())), **CLOSE)


@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
@pytest.mark.parametrize("batch", [False, True])
def test_generalised_dice(logits: torch.Tensor, label: torch.Tensor, weighting: str, batch: bool) -> None:
    # MONAI adds its smoothing to sums that it has divided by squared volumes, where 1e-5 is much
    few = {"smooth_nr": 1e-12, "smooth_dr": 1e-12}
    theirs = GeneralizedDiceLoss(softmax=True, to_onehot_y=True, w_type=weighting, batch=batch, **few)
    ours = GeneralisedDice(CLASSES, weighting=weighting, batch=batch, smooth=1e-9)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label)), **CLOSE)


def test_generalised_dice_without_a_class(logits: torch.Tensor, label: torch.Tensor) -> None:
    label[label == 2] = 1
    few = {"smooth_nr": 1e-12, "smooth_dr": 1e-12}
    theirs = GeneralizedDiceLoss(softmax=True, to_onehot_y=True, **few)
    assert float(GeneralisedDice(CLASSES, smooth=1e-9)(logits, label)) == pytest.approx(
        float(theirs(logits, label)), **CLOSE
    )


def test_generalised_dice_sees_false_alarms_in_an_empty_sample(
    logits: torch.Tensor, label: torch.Tensor
) -> None:
    rows = torch.zeros(*label.shape[:1], 2, *label.shape[2:])
    theirs = float(GeneralizedDiceLoss(sigmoid=True)(logits[:, :2], rows))
    ours = float(GeneralisedDice(REGIONS)(logits[:, :2], torch.zeros_like(label)))
    assert theirs == pytest.approx(0, abs=1e-6), "MONAI weighs every row by 0"
    assert ours > 0.9


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_hausdorff(logits: torch.Tensor, label: torch.Tensor, background: bool, alpha: float) -> None:
    theirs = HausdorffDTLoss(softmax=True, to_onehot_y=True, include_background=background, alpha=alpha)
    ours = Hausdorff(CLASSES, background=background, alpha=alpha)
    assert float(ours(logits, label)) == pytest.approx(float(theirs(logits, label)), **CLOSE)


def test_hausdorff_of_regions(logits: torch.Tensor, label: torch.Tensor) -> None:
    rows = prepare(logits[:, :2], label, REGIONS).one_hot.float()
    theirs = HausdorffDTLoss(sigmoid=True, include_background=True)(logits[:, :2], rows)
    assert float(Hausdorff(REGIONS)(logits[:, :2], label)) == pytest.approx(float(theirs), **CLOSE)


def test_cldice_row_by_row(logits: torch.Tensor, label: torch.Tensor) -> None:
    # MONAI adds the centre lines of all classes up before it divides; its harmonic mean has a smoothing too
    rows, probabilities = (
        prepare(logits, label, CLASSES).one_hot.float(),
        prepare(logits, label, CLASSES).probabilities,
    )
    theirs = [
        float(SoftclDiceLoss(smooth=1e-9)(probabilities[:, [k]], rows[:, [k]]))
        for k in range(1, logits.shape[1])
    ]
    ours = float(SoftClDice(CLASSES, alpha=1.0)(logits, label))
    assert ours == pytest.approx(sum(theirs) / len(theirs), **CLOSE)
