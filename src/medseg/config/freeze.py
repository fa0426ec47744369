"""The configuration of a run as plain, canonical data, and its hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.files import value_hash

ORDERED = frozenset({"labels", "regions"})
"""Keys whose own keys stay as given: classes are numbered in this order, and regions go from outside in."""


def frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy in a canonical order: the same choices give the same text, however they were made."""
    plain = _plain(config)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any, ordered: bool = False) -> Any:
    if isinstance(value, Mapping):
        keys = list(value) if ordered else sorted(value, key=str)
        return {str(key): _plain(value[key], ordered=str(key) in ORDERED) for key in keys}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def config_hash(config: Mapping[str, Any]) -> str:
    """The SHA-256 of the frozen configuration."""
    return value_hash(frozen(config))
