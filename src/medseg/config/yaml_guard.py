"""Refuses YAML that would explode or nest without end, before anything builds objects from it.

The parser's events are read one by one and the size that aliases would expand to is added up, so an
alias bomb costs no more time than its few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from medseg.errors import UserError

MAX_BYTES = 200_000
MAX_NODES = 10_000
MAX_DEPTH = 40


def check_yaml(path: Path) -> None:
    """Reads ``path`` as YAML events and returns when it is small, shallow and well-formed.

    Raises:
        UserError: the file is too large, nests too deeply, expands too far, or is no YAML.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(
            str(path), f"{size} bytes are too many for a configuration", f"keep it below {MAX_BYTES}"
        )
    try:
        check_text(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(str(path), "is not UTF-8 text", "save it as UTF-8") from error


def check_text(text: str, where: str) -> None:
    """As `check_yaml`, for text that was read already."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _measure(yaml.parse(text, Loader=loader), where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        reason = getattr(error, "problem", None) or "cannot be read"
        raise UserError(place, f"is not valid YAML: {reason}", "mend that line") from error


def _measure(events: Iterator[yaml.Event], where: str) -> None:
    """Adds up nodes as if every alias were written out."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # anchor and total at the start of each open collection
    total = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UserError(where, f"*{event.anchor} refers to itself or to nothing", "write it out")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            sizes.pop(event.anchor or "", None)
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = opened.pop()
            if anchor:
                sizes[anchor] = total - start
        if total > MAX_NODES:
            raise UserError(
                where, f"aliases expand to more than {MAX_NODES} values", "write it out without aliases"
            )
        if len(opened) > MAX_DEPTH:
            raise UserError(where, f"nests more than {MAX_DEPTH} levels deep", "flatten it")
