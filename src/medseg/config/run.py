"""Composes, checks, and only then imports and calls what the verb is for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.config.check import bind
from medseg.config.compose import Composed, compose
from medseg.config.freeze import frozen
from medseg.config.verbs import VERBS
from medseg.targets import admitted


def run(
    verb: str,
    overrides: Sequence[str],
    config_dirs: Sequence[str] = (),
    *,
    multirun: bool = False,
    show: bool = False,
) -> int:
    """Does what the command line asks; the exit code.

    Raises:
        Problems: the configuration is wrong; nothing was imported, read or written.
    """
    folders = [Path(folder) for folder in config_dirs]
    if multirun and not any(word.startswith("resume=") for word in overrides):
        from medseg.config.multirun import sweep

        return sweep(verb, overrides, folders, show=show)
    if verb == "train" and any(word.startswith("resume=") for word in overrides):
        from medseg.config.multirun import resume

        return resume(overrides, folders)
    composed = compose(verb, overrides, folders).checked()
    if show:
        print(text_of(composed.config), end="")
        return 0
    return call(composed, folders)


def text_of(config: dict[str, Any]) -> str:
    """The configuration as YAML."""
    import yaml

    text: str = yaml.safe_dump(
        config, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return text


def call(composed: Composed, config_dirs: Sequence[Path] = ()) -> int:
    """Calls the verb's function with the bound values; a returned number is the exit code."""
    verb = VERBS[composed.verb]
    keywords = bind(composed.verb, composed.config)
    if verb.records:
        keywords |= {
            "config": frozen(composed.config),
            "overrides": list(composed.overrides),
            "flags": [
                *(word for package in sorted(admitted()) for word in ("--allow", package)),
                *(word for folder in config_dirs for word in ("--config-dir", str(folder.resolve()))),
            ],
        }
    module, _, name = verb.function.partition(":")
    result = getattr(importlib.import_module(module), name)(**keywords)
    return result if isinstance(result, int) else 0
