"""Whether a plain value fits a type annotation that is only known as text.

Known: ``int``, ``float`` (an integer will do), ``bool``, ``str``, ``None``, ``Literal``, unions, sequences
and mappings of those. Any other annotation accepts every value.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_SEQUENCES = {"list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection", "set", "frozenset"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping"}
_WRAPPERS = {"Annotated", "Final", "ClassVar", "Required", "NotRequired"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


_SCALARS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "an integer", "integers"),
    "float": (_is_number, "a number", "numbers"),
    "bool": (lambda v: isinstance(v, bool), "true or false", "booleans"),
    # YAML reads `precision: 32` as a number where a text is meant.
    "str": (
        lambda v: isinstance(v, str) or (isinstance(v, int) and not isinstance(v, bool)),
        "text",
        "texts",
    ),
    "None": (lambda v: v is None, "null", "nulls"),
    "Path": (lambda v: isinstance(v, str), "a path", "paths"),
}


def mismatch(value: object, annotation: str | None) -> str | None:
    """What is wrong with ``value``, as ``'x' is not a number``, or ``None`` where it fits."""
    node = _parse(annotation)
    if node is None or _fits(value, node):
        return None
    return f"{_shown(value)} is not {_expectation(node)}"


def choices(annotation: str | None) -> list[str]:
    """The texts that a ``Literal`` anywhere in the annotation names."""
    node = _parse(annotation)
    parts = [] if node is None else list(ast.walk(node))
    return [option for part in parts for option in _options(part) if isinstance(option, str)]


def converted(value: Any, annotation: str | None) -> Any:
    """``value`` as the annotation has it: a list becomes a tuple, an integer a float.

    Expects a value that fits; what the annotation does not describe comes back as it is.
    """
    node = _parse(annotation)
    return value if node is None else _convert(value, node)


@lru_cache(maxsize=1024)
def _parse(annotation: str | None) -> ast.expr | None:
    if annotation is None:
        return None
    try:
        node = ast.parse(annotation.strip(), mode="eval").body
    except (SyntaxError, RecursionError):
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _parse(node.value)
    return node


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and node.value is None:
        return "None"
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _arguments(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _members(node: ast.expr) -> list[ast.expr]:
    """The alternatives of a union; a lone annotation is its own alternative."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_members(node.left), *_members(node.right)]
    if _name(node) == "Union":
        return [m for part in _arguments(node) for m in _members(part)]
    if _name(node) == "Optional":
        return [*(m for part in _arguments(node) for m in _members(part)), ast.Constant(None)]
    if _name(node) in _WRAPPERS and _arguments(node):
        return _members(_arguments(node)[0])
    return [node]


def _options(node: ast.AST) -> list[object]:
    if not isinstance(node, ast.Subscript) or _name(node) != "Literal":
        return []
    return [part.value for part in _arguments(node) if isinstance(part, ast.Constant)]


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _fits(value: object, node: ast.expr) -> bool:
    return any(_fits_one(value, member) for member in _members(node))


def _fits_one(value: object, node: ast.expr) -> bool:
    name, inner = _name(node), _arguments(node)
    if name in _SCALARS:
        return _SCALARS[name][0](value)
    if name == "Literal":
        return any(type(value) is type(option) and value == option for option in _options(node))
    if name in _SEQUENCES:
        if not isinstance(value, list | tuple):
            return False
        if name in ("tuple", "Tuple") and inner and not _is_ellipsis(inner[-1]):
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return not inner or all(_fits(item, inner[0]) for item in value)
    if name in _MAPPINGS:
        if not isinstance(value, Mapping):
            return False
        return len(inner) < 2 or all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    return True


def _expectation(node: ast.expr) -> str:
    phrases = [_phrase(member) for member in _members(node)]
    return " or ".join(dict.fromkeys(phrases))


def _phrase(node: ast.expr) -> str:
    name, inner = _name(node), _arguments(node)
    if name in _SCALARS:
        return _SCALARS[name][1]
    if name == "Literal":
        options = ", ".join(map(str, _options(node)))
        return f"one of {options}" if len(_options(node)) > 1 else options
    if name in _MAPPINGS:
        return f"a mapping to {_plural(inner[1])}" if len(inner) == 2 else "a mapping"
    if name in ("tuple", "Tuple") and inner and not _is_ellipsis(inner[-1]):
        return f"a list of {len(inner)} {_plural(inner[0])}"
    return f"a list of {_plural(inner[0])}" if inner else "a list"


def _plural(node: ast.expr) -> str:
    members = _members(node)
    name = _name(members[0])
    if len(members) == 1 and name in _SCALARS:
        return _SCALARS[name][2]
    if len(members) == 1 and name in _SEQUENCES | _MAPPINGS:
        return "lists" if name in _SEQUENCES else "mappings"
    return "values, each " + _expectation(node)


def _convert(value: Any, node: ast.expr) -> Any:
    member = next((m for m in _members(node) if _fits_one(value, m)), None)
    if member is None:
        return value
    name, inner = _name(member), _arguments(member)
    if name == "float" and isinstance(value, int):
        exact = any(_name(m) == "int" for m in _members(node))
        return value if exact else float(value)
    if name == "str" and isinstance(value, int):
        exact = any(_name(m) in ("int", "float") for m in _members(node))
        return value if exact else str(value)
    if name in _SEQUENCES and isinstance(value, list | tuple):
        fixed = name in ("tuple", "Tuple") and inner and not _is_ellipsis(inner[-1])
        each = inner if fixed else [inner[0]] * len(value) if inner else []
        items = [_convert(v, n) for v, n in zip(value, each, strict=True)] if each else list(value)
        return items if name in ("list", "List") else tuple(items)
    if name in _MAPPINGS and len(inner) == 2:
        return {k: _convert(v, inner[1]) for k, v in value.items()}
    return value
