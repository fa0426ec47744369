"""The choices that ``conf/`` offers, found by listing its folders, and what they compose to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from medseg.config.compose import compose
from medseg.config.folders import read_root
from medseg.config.verbs import VERBS
from medseg.targets import constants


@cache
def chosen(group: str, option: str) -> dict[str, Any]:
    """The configuration of ``train``, or of a verb with the group, with one choice other than the default."""
    verb = next(verb for verb in ("train", *VERBS) if group in read_root(verb).defaults)
    return compose(verb, [f"{group}={option}"]).config


@cache
def compose_default() -> dict[str, Any]:
    return compose("train").config


def composed(choices: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of ``train`` with an option for each group; groups do not touch each other."""
    own = {group: chosen(group, option)[group] for group, option in choices.items()}
    return dict(compose_default()) | own


def facts_of(group: str, option: str) -> dict[str, Any]:
    """The constants of a part."""
    return constants(chosen(group, option)[group]["_target_"])
