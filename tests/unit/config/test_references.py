"""References between values, and everything else that looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from medseg.config.references import resolved


def test_values_keep_their_type() -> None:
    config = {
        "a": {"b": 3, "c": [1, 2]},
        "x": "${a.b}",
        "y": "${a.c}",
        "z": "n${a.b}-${x}",
        "r": {"s": "${..x}"},
    }
    plain, lines = resolved(config)
    assert lines == []
    assert plain == {**config, "x": 3, "y": [1, 2], "z": "n3-3", "r": {"s": 3}}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("${oc.env:HOME}", "only plain references"),
        ("${oc.env:HOME,x}", "only plain references"),
        ("${a}${oc.decode:'${a}'}", "only plain references"),
        ("${${a}}", "only plain references"),
        ("${hydra:runtime.cwd}", "only plain references"),
        ("${now:%Y}", "only plain references"),
        ("${nothing}", "a key that does not exist"),
        ("${a.b.c}", "a key that does not exist"),
        ("${x}", "refers to itself"),
        ("${group}${a}", "refers to a group"),
        ("${", "only plain references"),
    ],
)
def test_refused(value: str, reason: str) -> None:
    plain, lines = resolved({"a": 1, "group": {"k": 1}, "x": value})
    assert plain["x"] is None
    assert len(lines) == 1
    assert lines[0].startswith("x: ")
    assert reason in lines[0]


def test_a_circle_is_refused() -> None:
    _, lines = resolved({"a": "${b}", "b": "${c}", "c": "${a}"})
    assert len(lines) == 3


@pytest.mark.parametrize("leaf", ["xxxxxxxx", ["x"] * 8])
def test_a_bomb_of_references_is_refused(leaf: object) -> None:
    config: dict[str, object] = {"a0": leaf}
    for n in range(1, 40):
        above = f"${{a{n - 1}}}"
        config[f"a{n}"] = above * 8 if isinstance(leaf, str) else [above] * 8
    _, lines = resolved(config)
    assert any("expand too far" in line for line in lines)


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = (
    st.integers()
    | st.text("xyz", max_size=3)
    | NAMES.map(lambda n: f"${{{n}}}")
    | NAMES.map(lambda n: f"p${{{n}}}")
)


@settings(deadline=None, max_examples=100)
@given(st.fixed_dictionaries({"a": VALUES, "b": VALUES, "c": VALUES}))
def test_agrees_with_omegaconf(config: dict[str, object]) -> None:
    plain, lines = resolved(config)
    if not lines:
        assert plain == OmegaConf.to_container(OmegaConf.create(config), resolve=True)
