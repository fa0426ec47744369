"""A frozen configuration does not depend on how it was written."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config.freeze import config_hash, frozen

TREES = st.dictionaries(
    st.text(max_size=4),
    st.recursive(st.integers() | st.text(max_size=4), lambda x: st.lists(x, max_size=3)),
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(TREES, st.randoms())
def test_the_order_of_keys_does_not_matter(tree: dict[str, object], random) -> None:  # type: ignore[no-untyped-def]
    keys = list(tree)
    random.shuffle(keys)
    assert config_hash({key: tree[key] for key in keys}) == config_hash(tree)
    assert frozen(tree) == tree


def test_a_value_matters_and_a_tuple_is_a_list() -> None:
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert frozen({"b": (1, 2), "a": {"d": 1, "c": 2}}) == {"a": {"c": 2, "d": 1}, "b": [1, 2]}
    assert list(frozen({"b": 1, "a": 2})) == ["a", "b"]


def test_labels_and_regions_keep_their_order() -> None:
    """Sorted, BraTS's regions would go from the innermost out, and classes would get other codes."""
    regions = {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}
    data = frozen({"data": {"regions": regions, "labels": {"b": 1, "a": 2}}})["data"]
    assert list(data) == ["labels", "regions"]
    assert list(data["regions"]) == list(regions)
    assert list(data["labels"]) == ["b", "a"]
