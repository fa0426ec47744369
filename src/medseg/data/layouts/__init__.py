"""How folders of scans are arranged: one file per layout, found by listing this folder.

A layout has ``PRIORITY`` (the lowest that recognises a folder reads it), ``recognises(root) -> bool`` and
``read(root, settings) -> Cohort``.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def layouts() -> dict[str, ModuleType]:
    """Name -> module, in the order in which they are asked."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: (item[1].PRIORITY, item[0])))
