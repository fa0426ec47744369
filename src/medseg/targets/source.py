"""medseg's own modules, read as source text: no import, no side effect."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

PACKAGE = "medseg"
FOLDER = Path(__file__).resolve().parents[1]
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Module:
    """What a module's top level says: its classes, its assignments and where its names come from."""

    name: str
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassSource:
    """A class definition and the module it is written in."""

    module: Module
    node: ast.ClassDef


def is_dotted(path: str) -> bool:
    """Whether ``path`` is ASCII identifiers joined by single dots."""
    return all(_IDENTIFIER.fullmatch(part) for part in path.split("."))


def module_file(name: str) -> Path | None:
    """The file of the medseg module ``name``, or ``None``. Exact: case counts, links out do not."""
    parts = name.split(".")
    if not is_dotted(name) or parts[0] != PACKAGE:
        return None
    folder = FOLDER
    for part in parts[1:-1]:
        if not _has(folder, part):
            return None
        folder /= part
    for leaf in (f"{parts[-1]}.py", f"{parts[-1]}/__init__.py"):
        file = (FOLDER / "__init__.py") if len(parts) == 1 else folder / leaf
        inside = file.resolve().is_relative_to(FOLDER)
        if file.is_file() and inside and (len(parts) == 1 or _has(folder, leaf.split("/")[0])):
            return file
    return None


def _has(folder: Path, name: str) -> bool:
    # A case-insensitive file system would find `UNet.py` for `unet`.
    return folder.is_dir() and name in os.listdir(folder)


def read_module(name: str) -> Module | None:
    """The medseg module ``name`` as source, or ``None`` where there is none."""
    file = module_file(name)
    return None if file is None else _parse(name, file, file.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _parse(name: str, file: Path, changed: int) -> Module:
    del changed  # part of the cache's key only
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    module = Module(name)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in tree.body:
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body if isinstance(node, ast.If) and typing_only else [node]:
            _note(statement, module, package)
    return module


def _note(node: ast.stmt, module: Module, package: str) -> None:
    if isinstance(node, ast.ClassDef):
        module.classes[node.name] = node
    elif isinstance(node, ast.Assign):
        module.values.update({t.id: node.value for t in node.targets if isinstance(t, ast.Name)})
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        module.values[node.target.id] = node.value
    elif isinstance(node, ast.ImportFrom):
        origin = _origin(node, package)
        module.imported.update({a.asname or a.name: f"{origin}.{a.name}" for a in node.names})


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    stem = package.split(".")
    stem = stem[: len(stem) - (node.level - 1)]
    return ".".join([*stem, node.module] if node.module else stem)


def find_class(target: str) -> ClassSource | None:
    """The class defined at the top level of exactly the module that ``target`` names."""
    module_name, _, name = target.rpartition(".")
    module = read_module(module_name)
    if module is None or name not in module.classes:
        return None
    return ClassSource(module, module.classes[name])


def follow(module: Module, name: str, hops: int = 4) -> ClassSource | None:
    """The class that ``name`` means inside ``module``, through imports from other medseg modules."""
    if name in module.classes:
        return ClassSource(module, module.classes[name])
    origin, _, inner = module.imported.get(name, "").rpartition(".")
    target = read_module(origin) if hops and origin.split(".")[0] == PACKAGE else None
    return None if target is None else follow(target, inner, hops - 1)


def value_of(module: Module, name: str, hops: int = 4) -> tuple[Module, ast.expr] | None:
    """The expression assigned to ``name`` at the top level, through imports, and its module."""
    if name in module.values:
        return module, module.values[name]
    origin, _, inner = module.imported.get(name, "").rpartition(".")
    target = read_module(origin) if hops and origin.split(".")[0] == PACKAGE else None
    return None if target is None else value_of(target, inner, hops - 1)


def bases_of(source: ClassSource) -> list[ClassSource]:
    """The base classes that are written in medseg, in order."""
    names = [base.value if isinstance(base, ast.Subscript) else base for base in source.node.bases]
    found = [follow(source.module, base.id) for base in names if isinstance(base, ast.Name)]
    return [base for base in found if base is not None]


def lineage(source: ClassSource, seen: frozenset[str] = frozenset()) -> list[ClassSource]:
    """The class and its medseg ancestors, nearest first."""
    key = f"{source.module.name}.{source.node.name}"
    if key in seen:
        return []
    rest = [a for base in bases_of(source) for a in lineage(base, seen | {key})]
    return [source, *rest]
