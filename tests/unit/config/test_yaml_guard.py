"""Configurations that would explode are refused while they are still small."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config import yaml_guard
from medseg.errors import UserError


def bomb(levels: int, each: int = 9) -> str:
    lines = ["a0: &a0 [" + ", ".join(["x"] * each) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * each) + "]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("levels", [5, 9, 60])
def test_an_alias_bomb_is_refused(levels: int) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match="aliases expand"):
        yaml_guard.check_text(bomb(levels), "bomb.yaml")
    assert time.process_time() - start < 30  # expanding it would take for ever, not half a minute


def test_a_few_aliases_are_fine() -> None:
    yaml_guard.check_text("a: &a {lr: 1}\nb: *a\nc: [*a, *a]\n", "x.yaml")
    yaml_guard.check_text(bomb(2), "x.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "refers to itself"),
        ("a: *b", "undefined alias|refers to itself|is not valid YAML"),
        ("[" * 60 + "]" * 60, "levels deep"),
        ("a: [1, 2", "is not valid YAML"),
        ("a: b: c", "x.yaml:1: is not valid YAML"),
        ("- " * 20_000 + "x", "levels deep"),
        ("[" + "1," * 30_000 + "]", "more than"),
    ],
)
def test_what_else_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        yaml_guard.check_text(text, "x.yaml")


def test_large_and_binary_files_are_refused(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("a: " + "x" * yaml_guard.MAX_BYTES)
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="bytes are too many"):
        yaml_guard.check_yaml(large)
    with pytest.raises(UserError, match="not UTF-8"):
        yaml_guard.check_yaml(binary)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=30,
)


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_ordinary_files_pass(tree: object) -> None:
    yaml_guard.check_text(yaml.safe_dump(tree, allow_unicode=True), "x.yaml")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(UserError):
        yaml_guard.check_text(text, "x.yaml")
