"""Where a public data set comes from, as its preset says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from medseg.errors import Problems

SCHEMES = ("https", "http", "file")


@dataclass(frozen=True)
class SourceSettings:
    """The ``source`` of a preset.

    Attributes:
        page: the official page, for people.
        url: the archive; ``None`` where the set must be asked for.
        sha256: of the archive, where the publisher or a well-known library states it.
        md5: the same; some publishers state only this one.
        size: bytes of the archive, where they are known.
        folder: the folder inside the archive that is the data set; ``None``: its only folder, or all of it.
        trust: accept an archive without a known checksum; its hash is written down, and later
            downloads must have the same.
        licence: the terms of use.
        cite: the paper to cite.
        instructions: how to get the data by hand, and what to put where.
    """

    page: str | None = None
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    folder: str | None = None
    trust: bool = False
    licence: str | None = None
    cite: str | None = None
    instructions: str | None = None

    def problems(self) -> list[str]:
        """One line per field that cannot be used."""
        found = []
        if self.url is not None and urlsplit(self.url).scheme not in SCHEMES:
            found.append(f"url: {self.url!r} is not possible; use {', '.join(SCHEMES)}")
        elif self.url is not None and not self.archive_name:
            found.append(f"url: {self.url!r} names no file; give the archive's own address")
        for name, digits in (("sha256", 64), ("md5", 32)):
            if (value := getattr(self, name)) and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value):
                found.append(f"{name}: {value!r} is not {digits} hexadecimal digits; correct it")
        if self.size is not None and self.size < 1:
            found.append(f"size: {self.size} is no size; give the archive's bytes")
        if self.folder is not None and not _inner(self.folder):
            found.append(f"folder: {self.folder!r} leaves the archive; name a folder inside it")
        return found

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> SourceSettings:
        """Settings from a mapping.

        Raises:
            Problems: one line per unknown key, wrong type and impossible value.
        """
        known = [field.name for field in fields(cls)]
        kinds: dict[str, type] = {"size": int, "trust": bool}
        problems = [
            f"data.source.{key}: is not known; use one of {', '.join(known)}"
            for key in values
            if key not in known
        ]
        for key, value in values.items():
            kind = kinds.get(key, str)
            if key in known and value is not None and type(value) is not kind:
                problems.append(f"data.source.{key}: {value!r} is no {kind.__name__}; correct it")
        if problems:
            raise Problems(problems)
        settings = cls(**values)
        if problems := settings.problems():
            raise Problems(f"data.source.{line}" for line in problems)
        return settings

    @property
    def archive_name(self) -> str:
        """The archive's file name, from its address."""
        return PurePosixPath(unquote(urlsplit(self.url or "").path)).name

    @property
    def checkable(self) -> bool:
        """Whether a checksum is known."""
        return bool(self.sha256 or self.md5)


def _inner(folder: str) -> bool:
    path = PurePosixPath(folder)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in folder
