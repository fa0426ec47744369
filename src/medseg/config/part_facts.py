"""What the source of a part says about it, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.config.folders import conf_folder
from medseg.targets import constants

Config = Mapping[str, Any]


def of_choice(config: Config, slot: str) -> dict[str, Any]:
    """The constants of the part that the configuration names in ``slot``."""
    return constants(str(config[slot]["_target_"]))


def of_option(group: str, option: str) -> dict[str, Any]:
    """The constants of the part of ``conf/GROUP/OPTION.yaml``."""
    text = (conf_folder() / group / f"{option}.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("_target_:")]
    return constants(lines[0].split(":", 1)[1].split("#")[0].strip()) if lines else {}


def short(config: Config, slot: str) -> str:
    """The class of the part in ``slot``."""
    return str(config[slot]["_target_"]).rpartition(".")[2]
