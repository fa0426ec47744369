"""References between values, ``${data.name}``: the only interpolation that a configuration may use.

Hydra's others can read the environment, where keys and tokens live, or run code. They are refused, and
what a reference expands to is bounded, so that a few lines cannot fill the memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_REFERENCE = re.compile(r"\$\{(\.*[A-Za-z_][\w.\-]*)\}", re.ASCII)
MAX_SIZE = 100_000

Path = tuple[str, ...]


class _Refused(Exception):
    """A value that cannot be resolved; its text says why."""


def resolved(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The configuration with every reference replaced, and a line for each that cannot be.

    A value that cannot be resolved becomes ``None``.
    """
    resolver = _Resolver(config)
    plain = resolver.node(config, ())
    return plain, resolver.problems


@dataclass
class _Resolver:
    config: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    size: int = 0

    def node(self, value: Any, path: Path, trail: tuple[Path, ...] = ()) -> Any:
        if isinstance(value, dict):
            return {key: self._item(item, (*path, str(key)), trail) for key, item in value.items()}
        if isinstance(value, list):
            return [self._item(item, (*path, str(n)), trail) for n, item in enumerate(value)]
        return (
            self._text(value, path, trail) if isinstance(value, str) and "${" in value else self._count(value)
        )

    def _item(self, value: Any, path: Path, trail: tuple[Path, ...]) -> Any:
        if trail:  # inside a reference: the line belongs to the place that refers
            return self.node(value, path, trail)
        try:
            return self.node(value, path, trail)
        except _Refused as error:
            self.problems.append(f"{'.'.join(path)}: {error}")
            return None

    def _count(self, value: Any) -> Any:
        self.size += len(value) if isinstance(value, str) else 1
        if self.size > MAX_SIZE:
            raise _Refused("references expand too far; write the value out")
        return value

    def _text(self, text: str, path: Path, trail: tuple[Path, ...]) -> Any:
        if _REFERENCE.sub("", text).find("${") >= 0:
            raise _Refused("only plain references such as ${data.name} are allowed; write the value out")
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self._target(whole[1], path, trail)
        parts = _REFERENCE.split(text)
        pieces = [self._target(p, path, trail) if n % 2 else self._count(p) for n, p in enumerate(parts)]
        if any(isinstance(piece, dict | list) for piece in pieces):
            raise _Refused("refers to a group inside a text; refer to one value of it")
        return "".join(map(str, pieces))

    def _target(self, reference: str, path: Path, trail: tuple[Path, ...]) -> Any:
        name = reference.lstrip(".")
        dots = len(reference) - len(name)
        target = (*(path[:-dots] if dots else ()), *name.split("."))
        if target in trail or target == path or path[: len(target)] == target:
            raise _Refused(f"${{{reference}}} refers to itself; write the value out")
        if len(trail) > 20:
            raise _Refused(f"${{{reference}}} is a long chain of references; write the value out")
        value: Any = self.config
        for key in target:
            if not isinstance(value, dict) or key not in value:
                raise _Refused(f"${{{reference}}} refers to a key that does not exist; write the value out")
            value = value[key]
        return self.node(value, target, (*trail, target))
