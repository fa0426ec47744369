"""Every loss equals its definition, written as loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import IGNORE, Labels
from medseg.losses.cross_entropy import CrossEntropy
from medseg.losses.dice import Dice
from medseg.losses.dice_ce import DiceCE
from medseg.losses.dice_focal import DiceFocal
from medseg.losses.focal import Focal
from medseg.losses.term import LossTerm
from medseg.losses.tversky import Tversky

from .naive_losses import KINDS, overlap_loss, voxel_loss


@st.composite
def problem(draw: st.DrawFn) -> tuple[Labels, np.ndarray, np.ndarray]:
    labels = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    space = draw(st.sampled_from([(3, 2), (2, 3, 2), (1, 1, 4)]))
    batch = draw(st.integers(1, 3))
    rng = np.random.Generator(np.random.Philox(draw(st.integers(0, 2**32))))
    logits = rng.normal(size=(batch, labels.out_channels, *space)) * draw(st.sampled_from([0.1, 2.0, 8.0]))
    codes = [0, 1, 2, IGNORE] if not labels.overlapping else [0, 1, 2, 3, IGNORE]
    used = draw(st.lists(st.sampled_from(codes), min_size=1, unique=True))
    return labels, logits, rng.choice(used, size=(batch, 1, *space)).astype(np.uint8)


def value(loss: LossTerm, logits: np.ndarray, label: np.ndarray) -> float:
    return float(loss(torch.from_numpy(logits), torch.from_numpy(label)))


def weights_for(labels: Labels, flag: bool) -> list[float] | None:
    return [0.5, 2.0, 3.0][: labels.out_channels] if flag else None


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), st.booleans(), st.sampled_from([1e-5, 1.0]))
def test_dice(given_: tuple, background: bool, batch: bool, smooth: float) -> None:
    labels, logits, label = given_
    loss = Dice(labels, background=background, batch=batch, smooth=smooth)
    score = lambda tp, fp, fn: (2 * tp + smooth) / (2 * tp + fp + fn + smooth)  # noqa: E731
    expected = overlap_loss(logits, label, labels, score, background=background, batch=batch)
    assert value(loss, logits, label) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), st.booleans(), st.sampled_from([(0.3, 0.7), (0.5, 0.5), (1.0, 0.0)]))
def test_tversky(given_: tuple, background: bool, batch: bool, prices: tuple[float, float]) -> None:
    labels, logits, label = given_
    loss = Tversky(labels, alpha=prices[0], beta=prices[1], background=background, batch=batch, smooth=0.1)
    score = lambda tp, fp, fn: (tp + 0.1) / (tp + prices[0] * fp + prices[1] * fn + 0.1)  # noqa: E731
    expected = overlap_loss(logits, label, labels, score, background=background, batch=batch)
    assert value(loss, logits, label) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans())
def test_cross_entropy(given_: tuple, weighted: bool) -> None:
    labels, logits, label = given_
    weights = weights_for(labels, weighted)
    expected = voxel_loss(logits, label, labels, lambda p: -math.log(p), weights)
    found = value(CrossEntropy(labels, class_weights=weights), logits, label)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), st.sampled_from([0.0, 1.0, 2.0, 3.5]))
def test_focal(given_: tuple, weighted: bool, gamma: float) -> None:
    labels, logits, label = given_
    weights = weights_for(labels, weighted)
    expected = voxel_loss(logits, label, labels, lambda p: -((1 - p) ** gamma) * math.log(p), weights)
    found = value(Focal(labels, gamma=gamma, class_weights=weights), logits, label)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(problem(), st.booleans())
def test_sums_are_the_sum_of_their_terms(given_: tuple, flag: bool) -> None:
    labels, logits, label = given_
    weights = weights_for(labels, flag)
    dice = value(Dice(labels, background=flag, batch=flag, smooth=0.5), logits, label)
    ce = value(CrossEntropy(labels, class_weights=weights), logits, label)
    focal = value(Focal(labels, gamma=3.0, class_weights=weights), logits, label)
    common = {"background": flag, "batch": flag, "smooth": 0.5, "class_weights": weights, "dice_weight": 0.25}
    dice_ce = value(DiceCE(labels, ce_weight=4.0, **common), logits, label)
    dice_focal = value(DiceFocal(labels, focal_weight=3.0, gamma=3.0, **common), logits, label)
    assert dice_ce == pytest.approx(0.25 * dice + 4 * ce, rel=1e-9, abs=1e-12)
    assert dice_focal == pytest.approx(0.25 * dice + 3 * focal, rel=1e-9, abs=1e-12)
