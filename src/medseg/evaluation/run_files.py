"""What lies in a run's folder, read for the report; each file may be missing."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import UserError

Curves = dict[str, list[tuple[float, float]]]
"""Name -> points of (minutes, value), in the order in which they were written."""


def read_record(run: Path) -> dict[str, Any]:
    """``record.json``, or nothing."""
    return _mapping(run / "record.json")


def read_config(run: Path) -> dict[str, Any]:
    """``config.yaml``, or nothing."""
    return _yaml(run / "config.yaml")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping, or nothing."""
    return _mapping(path)


def read_parts(run: Path) -> dict[str, str]:
    """Network, fusion, objective and loss by the last name of their targets in ``config.yaml``."""
    config = _yaml(run / "config.yaml")
    chosen = {slot: config.get(slot) for slot in ("network", "fusion", "objective", "loss")}
    return {
        slot: str(part["_target_"]).rpartition(".")[2]
        for slot, part in chosen.items()
        if isinstance(part, Mapping) and "_target_" in part
    }


def read_plan(run: Path) -> dict[str, Any]:
    """``plan.yaml`` or ``plan.json``, or nothing."""
    return _mapping(run / "plan.json") or _yaml(run / "plan.yaml")


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(str(path), f"is not YAML ({error})", "write it anew") from error
    return value if isinstance(value, dict) else {}


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(str(path), f"is not JSON ({error})", "write it anew") from error
    return value if isinstance(value, dict) else {}


def read_curves(run: Path) -> Curves:
    """The curves in ``metrics.csv``; a line that a kill cut short is left out, and so is NaN."""
    path = run / "metrics.csv"
    curves: Curves = {}
    if not path.is_file():
        return curves
    with path.open(encoding="utf-8", newline="") as source:
        for record in csv.DictReader(source):
            try:
                name, minutes, value = record["name"], float(record["minutes"]), float(record["value"])
            except (KeyError, TypeError, ValueError):
                continue
            if math.isfinite(value) and math.isfinite(minutes):
                curves.setdefault(name, []).append((minutes, value))
    return curves


def thin(points: list[tuple[float, float]], most: int = 240) -> tuple[tuple[float, float], ...]:
    """At most ``most`` points: means of neighbours, so that a noisy curve stays readable."""
    if len(points) <= most:
        return tuple(points)
    size = math.ceil(len(points) / most)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple(
        (math.fsum(x for x, _ in chunk) / len(chunk), math.fsum(y for _, y in chunk) / len(chunk))
        for chunk in chunks
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as ``(dotted name, text)`` lines."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += flat(value, name + ".")
        else:
            lines.append((name, plain(value)))
    return lines


def plain(value: Any, between: str = ", ") -> str:
    """A JSON value as people write it: ``yes``, ``–``, and lists with ``between`` in between."""
    if value is None or value in ([], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, list | tuple) for item in value):
            return ", ".join(f"({plain(item)})" for item in value)
        return between.join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    return str(value)
