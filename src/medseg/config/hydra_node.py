"""Hydra's own node: what a configuration may not change in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

_UNTOUCHED = ("callbacks", "searchpath", "job.env_set", "job.env_copy")
_TRUSTED = ("hydra_plugins.", "hydra._internal.core_plugins.", "optuna.samplers.", "logging.")


def hydra_problems(node: DictConfig) -> list[str]:
    """A line for every key below ``hydra`` that could run code or set the environment."""
    own = node.get("hydra")
    if own is None:
        return []
    found = []
    for key in _UNTOUCHED:
        if OmegaConf.select(own, key, default=None):
            found.append(f"hydra.{key}: may not be set by a configuration; remove it")
    content = OmegaConf.to_container(own, resolve=False)
    for path, key, value in _walk(content, "hydra"):
        if key in ("_target_", "()") and not str(value).startswith(_TRUSTED):
            found.append(f"{path}.{key}: {value!r} is not on the list of allowed targets; remove it")
    return found


def _walk(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield path, str(key), item
            yield from _walk(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{path}.{number}")
