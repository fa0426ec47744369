"""The allow-list: which targets a configuration may name, decided before anything is imported."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from typing import Any

from medseg.errors import UserError
from medseg.targets.source import FOLDER, PACKAGE, find_class, is_dotted

SLOTS = {
    "network": "networks",
    "fusion": "fusion",
    "loss": "losses",
    "objective": "objectives",
    "queue": "patches",
    "postprocess": "postprocess",
}
"""Slot -> the room of medseg whose classes may fill it."""

_admitted: set[str] = set()


def allow(package: str) -> None:
    """Admits the classes and functions that are defined in ``package`` as targets.

    Raises:
        UserError: not a package name, or one of Python's or medseg's own.
    """
    if not is_dotted(package):
        raise UserError("--allow", f"{package!r} is not a package name")
    if package.split(".", maxsplit=1)[0] in sys.stdlib_module_names | {PACKAGE}:
        raise UserError("--allow", f"{package!r} cannot be admitted", "name a package of your own")
    _admitted.add(package)


def admitted() -> frozenset[str]:
    """The packages that were admitted by `allow` or by the environment variable ``MEDSEG_ALLOW``."""
    for package in filter(None, map(str.strip, os.environ.get("MEDSEG_ALLOW", "").split(","))):
        allow(package)
    return frozenset(_admitted)


def refusal(target: object, slot: str) -> str | None:
    """Why ``target`` may not fill ``slot``, in a few words, or ``None`` where it may.

    A refused target is not imported, nor is any part of its path.
    """
    room = SLOTS[slot]
    if not isinstance(target, str) or not is_dotted(target) or "." not in target:
        return f"{target!r} is not the dotted path of a class"
    parts = target.split(".")
    if parts[0] != PACKAGE:
        found = foreign_object(target)
        return found if isinstance(found, str) else None
    if len(parts) < 4 or parts[1] != room:
        return f"{target} is not a class of medseg.{room}"
    if parts[-1].startswith("_") or find_class(target) is None:
        return f"{target} is not a class that medseg.{room} defines there"
    return None


def foreign_object(target: str) -> Any:
    """The class or function of an admitted package that ``target`` names, or the reason against it."""
    packages = admitted()
    home = next((p for p in packages if target.startswith(p + ".")), None)
    if not is_dotted(target) or home is None:
        top = target.split(".", maxsplit=1)[0]
        return f"{target} is not on the list of allowed targets; if {top} is yours, add --allow {top}"
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        return f"{target} cannot be imported ({error})"
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return f"{target} is not a class or a function"
    if found.__module__ != home and not found.__module__.startswith(home + "."):
        return f"{target} is defined in {found.__module__}, outside {home}"
    return found


def targets_of(slot: str) -> list[str]:
    """Every public class of the slot's room, as targets; for suggestions."""
    room = FOLDER / SLOTS[slot]
    found = []
    for file in sorted(room.rglob("*.py")):
        parts = file.relative_to(FOLDER).with_suffix("").parts
        module = ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])
        names = re.findall(r"^class ([A-Za-z]\w*)", file.read_text(encoding="utf-8"), re.MULTILINE)
        found += [f"{module}.{name}" for name in names]
    return found
