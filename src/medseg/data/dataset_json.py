"""The ``dataset.json`` that the Decathlon and nnU-Net both write, with different fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from medseg.errors import UserError

FILE = "dataset.json"
_T = TypeVar("_T")


def read_json(root: Path) -> dict[str, Any] | None:
    """The file's content, or ``None`` where there is none.

    Raises:
        UserError: it is no JSON object.
    """
    path = root / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(str(path), f"is not readable JSON ({error})", "mend or remove it") from None
    if not isinstance(content, dict):
        raise UserError(str(path), "is not a JSON object", "mend or remove it")
    return content


def field(root: Path, content: dict[str, Any], key: str, kind: type[_T], default: _T) -> _T:
    """One field of the file, of the type it must have."""
    value = content.get(key, default)
    if not isinstance(value, kind):
        raise UserError(str(root / FILE), f"{key} is {value!r}", f"make it a JSON {kind.__name__}")
    return value
