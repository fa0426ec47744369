"""A plan as a YAML file: how it is written, and all that can be wrong with an edited one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.data.normalise import scheme_problems
from medseg.data.plan_topology import divisor, nearest_legal
from medseg.data.settings import PRECISIONS
from medseg.errors import UserError

LARGEST_FILE = 1 << 20
HEADER = """\
# A medseg plan. Edit any value; `plan.file=THIS_FILE` uses it and says at once what does not fit.
# Axes are in store order: the slice axis, where there is one, comes last. Spacing in mm, patches in voxels.
"""


def plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def frozen(field: str, value: Any) -> Any:
    """A checked plain value as a `Plan` holds it."""
    if field == "spacing":
        return tuple(float(item) for item in value)
    if isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return value


def dump(values: Mapping[str, Any]) -> str:
    """The plan as YAML: one line per decision, the reasons last."""
    import yaml

    body = {key: value for key, value in values.items() if key not in ("reasons", "normalisation")}
    text = HEADER + yaml.safe_dump(body, sort_keys=False, default_flow_style=None, width=110)
    normalisation = yaml.safe_dump(
        {"normalisation": values["normalisation"]}, sort_keys=False, default_flow_style=None, width=110
    )
    reasons = yaml.safe_dump({"reasons": values["reasons"]}, sort_keys=False, width=1000, allow_unicode=True)
    return text + normalisation + reasons


def read(path: Path) -> dict[str, Any]:
    """The values of a plan file.

    Raises:
        UserError: the file is missing, too large, not YAML, has aliases or is not a table.
    """
    import yaml

    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(str(path), "is too large to be a plan", "give a plan file")
        text = path.read_text(encoding="utf-8")
        # Aliases can blow a small file up to gigabytes, and a plan needs none.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(str(path), "has YAML aliases", "write the values out")
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "give the path of a plan") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(str(path), f"is not YAML ({reason})", "mend that line") from None
    if not isinstance(values, dict):
        raise UserError(str(path), "is not a table of decisions", "give a plan file")
    return {str(key): value for key, value in values.items()}


def problems(values: Mapping[str, Any], required: Sequence[str], known: Sequence[str]) -> list[str]:
    """One line ``field: what is wrong; fix`` for everything that cannot be used."""
    found = []
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            found.append(f"{key}: is not part of a plan" + (f"; did you mean {near[0]}?" if near else ""))
    found += [f"{key}: is missing; add it" for key in required if key not in values]
    wrong = {key: CHECKS[key](values[key]) for key in CHECKS if key in values}
    found += [f"{key}: {problem}" for key, problem in wrong.items() if problem]
    usable = {key for key, problem in wrong.items() if not problem}
    return found + _disagreements(values, usable)


def _disagreements(values: Mapping[str, Any], usable: set[str]) -> list[str]:
    """Problems between fields that are right by themselves."""
    found: list[str] = []
    dims = values["spatial_dims"] if "spatial_dims" in usable else None
    if dims and "patch_size" in usable and len(values["patch_size"]) != dims:
        found.append(f"patch_size: has {len(values['patch_size'])} axes; give {dims}")
    for key in ("strides", "kernels"):
        if dims and key in usable and any(len(row) != dims for row in values[key]):
            found.append(f"{key}: a level has not {dims} axes; give {dims} on each")
    levels = {key: len(values[key]) for key in ("strides", "kernels", "widths") if key in usable}
    if len(set(levels.values())) > 1:
        found.append(f"strides, kernels, widths: have {levels} levels; give as many on each")
    if "strides" in usable and any(s != 1 for s in values["strides"][0]):
        found.append(f"strides: the first level has {values['strides'][0]}; it must be all 1")
    if {"patch_size", "strides"} <= usable and not found:
        multiple = values["multiple"] if "multiple" in usable else 1
        patch, steps = values["patch_size"], divisor(values["strides"], multiple)
        if any(n % s for n, s in zip(patch, steps, strict=True)):
            legal = list(nearest_legal(patch, values["strides"], multiple))
            found.append(f"patch_size: {patch} is not a multiple of {list(steps)}; the nearest is {legal}")
    if {"slices", "spatial_dims"} <= usable and values["slices"] > 1 and dims == 3:
        found.append(f"slices: {values['slices']} neighbours are for 2D; give 1")
    if {"modalities", "normalisation"} <= usable and set(values["modalities"]) != set(
        values["normalisation"]
    ):
        given = sorted(values["normalisation"])
        found.append(f"normalisation: is for {given}; give one for each of {values['modalities']}")
    return found


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )


def _filled_list(value: Any, item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(item, value))


def _check(good: Callable[[Any], bool], wish: str) -> Callable[[Any], str | None]:
    return lambda value: None if good(value) else f"{value!r} cannot be used; give {wish}"


def _normalisation(value: Any) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"{value!r} cannot be used; give modality: {{method: ...}}"
    lines = [f"{name}: {line}" for name, scheme in value.items() for line in scheme_problems(scheme)]
    return " and ".join(lines) or None


_rows = _check(
    lambda v: _filled_list(v, lambda row: _filled_list(row, _whole)),
    "a list of whole numbers from 1 per level",
)

CHECKS: dict[str, Callable[[Any], str | None]] = {
    "spatial_dims": _check(lambda v: _whole(v) and v in (2, 3), "2 or 3"),
    "modalities": _check(
        lambda v: _filled_list(v, lambda name: isinstance(name, str)) and len(set(v)) == len(v),
        "distinct names",
    ),
    "axes": _check(
        lambda v: isinstance(v, list) and len(v) == 3 and set(map(str, v)) == {"0", "1", "2"},
        "an order of 0, 1, 2",
    ),
    "spacing": _check(lambda v: _filled_list(v, _number) and len(v) == 3, "3 positive numbers of mm"),
    "patch_size": _check(lambda v: _filled_list(v, _whole), "whole numbers of voxels from 1"),
    "batch_size": _check(_whole, "a whole number from 1"),
    "strides": _rows,
    "kernels": _check(
        lambda v: _filled_list(v, lambda row: _filled_list(row, lambda k: _whole(k) and k % 2 == 1)),
        "a list of odd numbers per level",
    ),
    "widths": _check(lambda v: _filled_list(v, _whole), "whole numbers of channels from 1"),
    "normalisation": _normalisation,
    "in_plane_only": _check(lambda v: isinstance(v, bool), "true or false"),
    "precision": _check(lambda v: v in PRECISIONS and v != "auto", "one of " + ", ".join(PRECISIONS[1:])),
    "multiple": _check(_whole, "a whole number from 1"),
    "slices": _check(lambda v: _whole(v) and v % 2 == 1, "an odd number from 1"),
    "fingerprint_hash": _check(lambda v: isinstance(v, str), "a text"),
    "reasons": _check(
        lambda v: isinstance(v, dict) and all(isinstance(item, str) for item in v.values()), "decision: text"
    ),
}
