"""The words after the verb, parsed: which choose a group's option, which set a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, ValueType
from hydra.errors import HydraException

from medseg.config.folders import groups, options, read_root
from medseg.targets import nearest

_SIMPLE = re.compile(r"^(?P<key>[+~]{0,2}[A-Za-z_][\w./@]*)=(?P<value>.*)$", re.DOTALL)
_HYDRA_OK = ("hydra.launcher.", "hydra.sweeper.", "hydra/launcher", "hydra/sweeper")


@dataclass
class Overrides:
    """What was given, sorted by what it does.

    Attributes:
        lines: what Hydra may apply, in the order given. An override that sets a value may add its key:
            which keys exist is checked later, against the settings and the parts, so that all unknown
            ones are found at once.
        chosen: the groups whose option was chosen.
        problems: a line for each override that cannot be used.
    """

    lines: list[str] = field(default_factory=list)
    chosen: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def read_overrides(
    verb: str, given: Sequence[str], config_dirs: tuple[Path, ...] = (), *, sweep: bool = False
) -> Overrides:
    """Parses and sorts the overrides of ``verb``; with ``sweep`` several values of a key may stay."""
    found = Overrides()
    known = {*groups(config_dirs)}
    for text in given:
        override = _parse(text, found)
        if override is None:
            continue
        key = override.key_or_group
        if not key:
            found.problems.append(_not_a_word(text))
            continue
        if override.is_sweep_override() and not sweep:
            value = text.partition("=")[2]
            found.problems.append(
                f"{key}: {value} names several values; add -m for a run of each, or write a list as [{value}]"
            )
        elif key == "hydra" or key.startswith(("hydra.", "hydra/")):
            _hydra(override, text, found)
        elif key in known:
            _choice(override, found, verb, config_dirs)
        else:
            found.lines.append(_forced(override))
    _own_folder(verb, found)
    return found


def _parse(text: str, found: Overrides) -> Override | None:
    parser = OverridesParser.create()
    try:
        return parser.parse_override(text)
    except HydraException:
        simple = _SIMPLE.match(text)
    if simple and simple["value"][:1] not in ("[", "{", "'", '"'):
        # A path with blanks or brackets is no value in Hydra's grammar; as a quoted text it is.
        quoted = simple["value"].replace("\\", "\\\\").replace("'", "\\'")
        try:
            return parser.parse_override(f"{simple['key']}='{quoted}'")
        except HydraException:
            pass
    found.problems.append(_not_a_word(text))
    return None


def _not_a_word(text: str) -> str:
    return f"{text}: is not KEY=VALUE; write for example seed=1 or network=unet"


def _hydra(override: Override, text: str, found: Overrides) -> None:
    if not override.key_or_group.startswith(_HYDRA_OK):
        hint = "use --config-dir DIR" if override.key_or_group == "hydra.searchpath" else "remove it"
        found.problems.append(f"{override.key_or_group}: may not be set; {hint}")
        return
    found.lines.append(text)


def _choice(override: Override, found: Overrides, verb: str, config_dirs: tuple[Path, ...]) -> None:
    group = override.key_or_group
    if group not in read_root(verb).defaults:
        able = ", ".join(read_root(verb).defaults)
        found.problems.append(f"{group}: is not a choice of medseg {verb}; it has {able or 'none'}")
        return
    if override.value() is None:
        if group != "experiment":
            found.problems.append(f"{group}: cannot be left out; choose one of {', '.join(options(group))}")
        return
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        glob = cast(Glob, override.value())
        wanted = glob.filter(options(group, config_dirs)) or [str(glob.include)]
    elif override.is_sweep_override():
        wanted = [str(v) for v in override.sweep_string_iterator()] if override.is_discrete_sweep() else []
    else:
        wanted = [str(override.value())]
    known = options(group, config_dirs)
    bad = [name for name in wanted if name not in known]
    for name in bad:
        guess = nearest(name, known)
        hint = f"did you mean {guess}?" if guess else "choose one of " + (", ".join(known) or "none")
        found.problems.append(f"{group}: there is no {name!r}; {hint}")
    if not bad:
        found.lines.append(override.input_line or "")
        found.chosen.add(group)


def _forced(override: Override) -> str:
    line = override.input_line or ""
    if override.type == OverrideType.DEL:
        return line
    return "++" + line.lstrip("+")


def _own_folder(verb: str, found: Overrides) -> None:
    """``data.root=FOLDER`` alone means that folder, not the synthetic cohort that is the default."""
    rooted = any(line.startswith("++data.root=") for line in found.lines)
    is_default = read_root(verb).defaults.get("data") == "phantom"
    if rooted and is_default and not found.chosen & {"data", "experiment"}:
        found.lines.insert(0, "data=folder")
