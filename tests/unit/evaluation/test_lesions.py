"""Lesions against flood filling and against trying every way to pair them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.contracts import Labels
from medseg.evaluation.lesions import LesionCounts, lesion_counts
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import CONNECTIVITY, EvaluationSettings

MASKS = st.sampled_from([(3, 4, 3), (5, 6), (4, 4, 1)]).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def filled(mask: np.ndarray, beside: int) -> list[set[tuple[int, ...]]]:
    """Components, of neighbours that differ along at most ``beside`` axes."""
    left, found = {tuple(map(int, place)) for place in np.argwhere(mask)}, []
    while left:
        lesion, edge = set(), [left.pop()]
        while edge:
            place = edge.pop()
            lesion.add(place)
            for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
                other = tuple(a + b for a, b in zip(place, step, strict=True))
                if sum(map(abs, step)) <= beside and other in left:
                    left.remove(other)
                    edge.append(other)
        found.append(lesion)
    return found


def most_pairs(here: list[set], there: list[set], least: float) -> int:
    fits = [[bool(a & b) and len(a & b) / len(a | b) >= least - 1e-9 for b in there] for a in here]

    def best(row: int, used: frozenset[int]) -> int:
        if row == len(here):
            return 0
        taken = [1 + best(row + 1, used | {c}) for c in range(len(there)) if fits[row][c] and c not in used]
        return max([best(row + 1, used), *taken])

    return best(0, frozenset())


@settings(deadline=None, max_examples=80)
@given(
    masks=MASKS, connectivity=st.sampled_from([6, 18, 26]), least=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])
)
def test_agrees_with_every_way_to_pair(masks: tuple, connectivity: int, least: float) -> None:
    here, there = (filled(mask, CONNECTIVITY[connectivity]) for mask in masks)
    expected = LesionCounts(len(here), len(there), most_pairs(here, there, least))
    assert lesion_counts(*masks, connectivity, least) == expected


def test_a_lesion_in_two_pieces_is_found_once() -> None:
    reference, prediction = np.zeros((2, 12, 4), bool)
    reference[1:11, 1:3] = True
    prediction[1:5, 1:3] = prediction[6:11, 1:3] = True
    assert lesion_counts(reference, prediction, 26, 0.1) == LesionCounts(1, 2, 1)
    assert lesion_counts(reference, prediction, 26, 0.5) == LesionCounts(1, 2, 1)
    assert lesion_counts(reference, prediction, 26, 0.6) == LesionCounts(1, 2, 0)


def test_a_share_of_exactly_the_threshold_is_enough() -> None:
    reference, prediction = np.ones((30, 1), bool), np.zeros((30, 1), bool)
    prediction[:3] = True
    assert lesion_counts(reference, prediction, 26, 0.1).found == 1


def test_diagonal_neighbours_hold_together_as_the_setting_says() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[2, 2, 1] = True
    assert [lesion_counts(mask, mask, n).reference for n in (6, 18, 26)] == [3, 2, 1]


def test_lesions_of_regions_are_those_of_their_unions() -> None:
    """WT, TC and ET: two tumours, of which one core was missed and one was invented."""
    labels = Labels(("WT", "TC", "ET"), ((1, 2, 4), (1, 4), (4,)), overlapping=True)
    truth, guess = np.zeros((2, 20, 10, 10), np.uint8)
    truth[1:6, 2:8, 2:8] = truth[10:16, 2:8, 2:8] = 2
    truth[3:5, 4:6, 4:6], truth[12:14, 4:6, 4:6] = 1, 3
    guess[:] = truth
    guess[3:5, 4:6, 4:6] = 2
    guess[18, 8, 8] = 3
    rows = score_case(
        truth, guess, labels, (1.0, 1.0, 1.0), EvaluationSettings(metrics=["lesions", "cldice"])
    )
    found = {(row.label, row.metric): row.value for row in rows}
    for label, counts in (("WT", (2, 3, 2)), ("TC", (2, 2, 1)), ("ET", (1, 2, 1))):
        names = ("lesions_reference", "lesions_prediction", "lesions_found")
        assert tuple(found[label, name] for name in names) == counts, label
    assert found["WT", "lesion_f1"] == pytest.approx(0.8)
    assert found["TC", "lesion_sensitivity"] == found["TC", "lesion_precision"] == 0.5
    assert {row.label for row in rows if row.metric == "cldice"} == {"WT", "TC", "ET"}
