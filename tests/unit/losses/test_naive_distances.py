"""Losses of boundaries, centre lines and hard voxels equal their definitions, written as loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import IGNORE, Labels
from medseg.errors import UserError
from medseg.losses.boundary import Boundary
from medseg.losses.compound import Compound
from medseg.losses.cross_entropy import CrossEntropy
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice import Dice
from medseg.losses.distance import distance_to_boundary
from medseg.losses.generalised_dice import POWERS, GeneralisedDice
from medseg.losses.hausdorff import Hausdorff
from medseg.losses.skeleton import soft_skeleton
from medseg.losses.soft_cldice import SoftClDice
from medseg.losses.term import LossTerm
from medseg.losses.top_k import TopK

from .naive_losses import (
    CLASSES,
    KINDS,
    REGIONS,
    cldice_loss,
    distance_loss,
    generalised_dice,
    skeleton,
    top_k_loss,
)


@st.composite
def problem(draw: st.DrawFn) -> tuple[Labels, np.ndarray, np.ndarray]:
    labels = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    space = draw(st.sampled_from([(5, 4), (3, 4, 2), (1, 1, 4), (6, 1)]))
    batch = draw(st.integers(1, 2))
    rng = np.random.Generator(np.random.Philox(draw(st.integers(0, 2**32))))
    logits = rng.normal(size=(batch, labels.out_channels, *space)) * draw(st.sampled_from([0.1, 2.0, 8.0]))
    codes = [0, 1, 2, IGNORE] if not labels.overlapping else [0, 1, 2, 3, IGNORE]
    used = draw(st.lists(st.sampled_from(codes), min_size=1, unique=True))
    return labels, logits, rng.choice(used, size=(batch, 1, *space)).astype(np.uint8)


def value(loss: LossTerm, logits: np.ndarray, label: np.ndarray) -> float:
    return float(loss(torch.from_numpy(logits), torch.from_numpy(label)))


spacings = st.sampled_from([None, (0.7, 2.5, 1.0), (5.0, 0.3, 12.0)])


def of_axes(spacing: tuple[float, ...] | None, label: np.ndarray) -> tuple[float, ...] | None:
    return None if spacing is None else spacing[: label.ndim - 2]


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), spacings)
def test_boundary(given_: tuple, background: bool, spacing: tuple[float, ...] | None) -> None:
    labels, logits, label = given_
    options = {"background": background, "spacing": of_axes(spacing, label)}
    expected = distance_loss(logits, label, labels, lambda p, g, _, d: d * abs(p - g), **options)
    found = value(Boundary(labels, **options), logits, label)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), st.sampled_from([1.0, 2.0, 0.5]), spacings)
def test_hausdorff(given_: tuple, background: bool, alpha: float, spacing: tuple[float, ...] | None) -> None:
    labels, logits, label = given_
    options = {"background": background, "spacing": of_axes(spacing, label)}
    expected = distance_loss(
        logits, label, labels, lambda p, g, a, b: (p - g) ** 2 * (a**alpha + b**alpha), **options
    )
    found = value(Hausdorff(labels, alpha=alpha, **options), logits, label)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(problem(), st.booleans(), st.booleans(), st.sampled_from(sorted(POWERS)))
def test_generalised_dice(given_: tuple, background: bool, batch: bool, weighting: str) -> None:
    labels, logits, label = given_
    options = {"background": background, "batch": batch, "smooth": 1e-3}
    loss = GeneralisedDice(labels, weighting=weighting, **options)
    expected = generalised_dice(logits, label, labels, power=POWERS[weighting], **options)
    assert value(loss, logits, label) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(problem(), st.booleans(), st.integers(1, 3), st.sampled_from([1.0, 0.01]))
def test_cldice(given_: tuple, background: bool, iterations: int, smooth: float) -> None:
    labels, logits, label = given_
    options = {"iterations": iterations, "background": background, "smooth": smooth}
    lines = cldice_loss(logits, label, labels, **options)
    assert value(SoftClDice(labels, alpha=1.0, **options), logits, label) == pytest.approx(lines, abs=1e-9)
    dice = value(Dice(labels, background=background, smooth=smooth), logits, label)
    mixed = value(SoftClDice(labels, alpha=0.3, **options), logits, label)
    assert mixed == pytest.approx(0.7 * dice + 0.3 * lines, abs=1e-9)
    assert value(SoftClDice(labels, alpha=0.0, **options), logits, label) == pytest.approx(dice, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(problem(), st.sampled_from([0.1, 10.0, 37.0, 100.0]), st.booleans())
def test_top_k(given_: tuple, k: float, weighted: bool) -> None:
    labels, logits, label = given_
    weights = [0.5, 2.0, 3.0][: labels.out_channels] if weighted else None
    expected = top_k_loss(logits, label, labels, k, weights)
    found = value(TopK(labels, k=k, class_weights=weights), logits, label)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    if k == 100:
        plain = CrossEntropy(labels, class_weights=weights)
        assert expected == pytest.approx(value(plain, logits, label), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(problem(), st.floats(0.1, 3), st.floats(0.1, 3))
def test_a_compound_is_the_sum_of_its_terms(given_: tuple, first: float, second: float) -> None:
    labels, logits, label = given_
    terms = {
        "dice": {"_target_": "medseg.losses.dice.Dice", "smooth": 0.5},
        "top_k": {"_target_": "medseg.losses.top_k.TopK", "k": 25.0},
    }
    loss = Compound(labels, terms=terms, weights={"top_k": second, "dice": first})
    dice, top_k = (value(term, logits, label) for term in (Dice(labels, smooth=0.5), TopK(labels, k=25.0)))
    assert value(loss, logits, label) == pytest.approx(first * dice + second * top_k, rel=1e-9, abs=1e-12)


def test_a_coarser_level_has_longer_voxels() -> None:
    """The loss of an enlarged picture is that of the picture with voxels as many times longer."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 6, 4, generator=generator)
    label = torch.zeros(1, 1, 18, 8, dtype=torch.uint8)
    label[..., 6:, 2:6] = 1
    coarse = label[..., ::3, ::2]
    deep = DeepSupervision(Boundary(CLASSES, spacing=(0.5, 2.0)))
    fine = torch.zeros(1, 3, 18, 8)
    found = deep.levels([fine, logits], label)
    assert float(found[0]) == float(Boundary(CLASSES, spacing=(0.5, 2.0))(fine, label))
    assert float(found[1]) == float(Boundary(CLASSES, spacing=(1.5, 4.0))(logits, coarse))
    assert float(deep.levels([fine], label)[0]) == float(found[0]), "the next step begins at the finest again"


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, float("inf"))])
def test_what_is_no_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    label = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    for kind in (Boundary, Hausdorff):
        with pytest.raises(UserError, match=r"loss\.spacing"):
            kind(CLASSES, spacing=spacing)(torch.zeros(1, 3, 4, 4), label)


def test_distances_do_not_look_at_ignored_voxels() -> None:
    label = torch.tensor([1, IGNORE, 0, 0, IGNORE, 1, 1], dtype=torch.uint8).reshape(1, 1, 7, 1)
    found = distance_to_boundary(label == 1, label != IGNORE).flatten().tolist()
    assert found == [2, 0, 2, 2, 0, 2, 3]


@pytest.mark.parametrize("code", [0, 1])
def test_a_row_on_one_side_has_no_distances(code: int) -> None:
    label = torch.full((2, 1, 4, 3), code, dtype=torch.uint8)
    assert (distance_to_boundary(label == 1, label != IGNORE) == 0).all()


def test_false_alarms_in_an_empty_reference_cost_the_hausdorff_loss_something() -> None:
    logits = torch.zeros(1, 2, 6, 6)
    logits[0, 1, 2:4, 2:4] = 9
    logits[0, 0] = 5 - logits[0, 1]
    label = torch.zeros(1, 1, 6, 6, dtype=torch.uint8)
    binary = Labels(("vessel",), ((1,),))
    assert float(Hausdorff(binary)(logits, label)) > 0.1
    assert float(Boundary(binary)(logits, label)) == 0


def test_the_farther_an_error_is_the_more_it_costs() -> None:
    label = torch.zeros(1, 1, 16, 1, dtype=torch.uint8)
    label[0, 0, :3] = 1
    binary = Labels(("vessel",), ((1,),))

    def cost(loss: LossTerm, where: int) -> float:
        logits = torch.where(label == 1, 8.0, -8.0)
        logits[0, 0, where] = 8.0
        return float(loss(torch.cat([-logits, logits], 1), label))

    for loss in (Boundary(binary), Hausdorff(binary)):
        costs = [cost(loss, where) for where in (4, 8, 14)]
        assert costs == sorted(costs)
        assert costs[0] < costs[2] / 2


@pytest.mark.parametrize("shape", [(9, 7), (7, 6, 5)], ids=["2d", "3d"])
def test_skeleton_is_that_of_the_loops(shape: tuple[int, ...]) -> None:
    rng = np.random.Generator(np.random.Philox(4))
    mask = rng.random(shape)
    expected = skeleton({w: float(mask[w]) for w in np.ndindex(*shape)}, 2)
    found = soft_skeleton(torch.from_numpy(mask)[None, None], 2)[0, 0].numpy()
    np.testing.assert_allclose(found, _array(expected, shape), atol=1e-12)


def _array(values: dict[tuple[int, ...], float], shape: tuple[int, ...]) -> np.ndarray:
    found = np.empty(shape)
    for where, number in values.items():
        found[where] = number
    return found


def test_the_skeleton_of_a_bar_is_its_middle() -> None:
    bar = torch.zeros(1, 1, 15, 7)
    bar[..., 1:14, 2:5] = 1
    line = soft_skeleton(bar, 3)[0, 0]
    assert (line[2:13, 3] == 1).all()
    assert line[:, [0, 1, 5, 6]].sum() == 0


def test_a_gap_in_a_vessel_costs_cldice_more_than_a_thinner_vessel() -> None:
    label = torch.zeros(1, 1, 24, 9, dtype=torch.uint8)
    label[..., 2:22, 3:6] = 1
    binary = Labels(("vessel",), ((1,),))

    def cost(predicted: torch.Tensor) -> float:
        logits = 16 * predicted.float() - 8
        return float(SoftClDice(binary, alpha=1.0)(torch.cat([-logits, logits], 1), label))

    cut, thin = (label == 1).clone(), (label == 1).clone()
    cut[..., 10:14, :] = False
    thin[..., 3] = False
    assert int(cut.sum()) > int(thin.sum())
    assert cost(cut) > 2 * cost(thin)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_an_empty_sample_predicted_empty_costs_generalised_dice_nothing(labels: Labels) -> None:
    logits = torch.full((1, labels.out_channels, 4, 4), -40.0)
    if not labels.overlapping:
        logits[:, 0] = 40.0
    label = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert float(GeneralisedDice(labels)(logits, label)) < 1e-3
    assert float(GeneralisedDice(labels, background=False)(logits, label)) < 1e-3
