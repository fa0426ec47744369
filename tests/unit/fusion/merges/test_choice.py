from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.fusion.merges.attention import AttentionMerge
from medseg.fusion.merges.choice import MERGES, choose_levels, make_merges
from medseg.fusion.merges.maximum import MaxMerge

PYRAMID = Pyramid(2, (4, 6, 8), ((1, 1), (2, 2), (4, 4)))


def test_named_levels_get_the_merge_and_the_others_the_other_one() -> None:
    merges = make_merges(PYRAMID, 2, "attention", [-1, 0], "max")
    assert [type(merge) for merge in merges] == [AttentionMerge, MaxMerge, AttentionMerge]


def test_null_is_every_level_but_for_cross_attention_the_two_deepest() -> None:
    assert choose_levels(5, "gated", None) == {0, 1, 2, 3, 4}
    assert choose_levels(5, "cross_attention", None) == {3, 4}
    assert choose_levels(1, "cross_attention", None) == {0}


@given(depth=st.integers(1, 8), data=st.data())
@settings(deadline=None, max_examples=30)
def test_a_negative_level_counts_from_the_deepest(depth: int, data: st.DataObject) -> None:
    levels = data.draw(st.lists(st.integers(-depth, depth - 1), min_size=1))
    assert choose_levels(depth, "mean", levels) == {list(range(depth))[level] for level in levels}


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        ([0, 3, -4], "fusion.merge_levels: 3, -4 is no level of this network, which has 3; "
         "give 0 (finest) to 2, or -1 (deepest) to -3, or null"),
        ([], "fusion.merge_levels: names no level, so the merge would do nothing; "
         "give 0 (finest) to 2, or -1 (deepest) to -3, or null"),
    ],
)  # fmt: skip
def test_levels_that_are_not_there_are_refused(levels: list[int], line: str) -> None:
    with pytest.raises(UserError) as error:
        make_merges(PYRAMID, 2, "mean", levels, "mean")
    assert str(error.value) == line


@pytest.mark.parametrize(("merge", "other", "field"), [("x", "mean", "merge"), ("mean", "x", "other_merge")])
def test_an_unknown_merge_is_told_by_its_field(merge: str, other: str, field: str) -> None:
    with pytest.raises(UserError, match=f"^fusion.{field}: 'x' is unknown; choose {', '.join(MERGES)}$"):
        make_merges(PYRAMID, 2, merge, [0], other)
