"""Where the configuration lies and which choices it offers, read as text: nothing heavy is imported."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from medseg.errors import UserError

_DEFAULT = re.compile(r"^ {2,}- (?P<group>[a-z_]+): *(?P<option>\S+)")
_TARGET = re.compile(r"^_target_: *([\w.]+)")
_KEY = re.compile(r"^(?P<key>[a-z_]+): *(?P<value>.*?)(?: +# *(?P<comment>.*))?$")


@lru_cache(maxsize=1)
def conf_folder() -> Path:
    """The folder ``conf``: beside ``src`` in a checkout, inside the package in a wheel.

    Raises:
        UserError: the installation lacks it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError("conf", f"no configuration folder beside {package}", "install medseg again")


def options(group: str, extra: tuple[Path, ...] = ()) -> list[str]:
    """The names that ``group=NAME`` accepts, from medseg's folder and the user's own."""
    folders = [root / group for root in (conf_folder(), *extra)]
    return sorted({file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.yaml")})


def groups(extra: tuple[Path, ...] = ()) -> list[str]:
    """Every group that has a folder."""
    roots = (conf_folder(), *extra)
    found = {p.name for root in roots for p in root.iterdir() if p.is_dir() and p.name != "hydra"}
    return sorted(name for name in found if not name.startswith("."))


class Key(NamedTuple):
    """A key at the root of a verb, with its default as written and its comment."""

    name: str
    default: str
    comment: str


class Root(NamedTuple):
    """A verb's root file: what its first comment says, its groups with their default, its own keys."""

    verb: str
    summary: tuple[str, ...]
    defaults: dict[str, str]
    keys: tuple[Key, ...]


def read_root(verb: str) -> Root:
    """The root file ``conf/VERB.yaml`` as text."""
    lines = (conf_folder() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines()
    defaults = {m["group"]: m["option"] for line in lines if (m := _DEFAULT.match(line))}
    keys = [Key(m["key"], m["value"], m["comment"] or "") for line in lines if (m := _KEY.match(line))]
    return Root(verb, leading_comment(lines), defaults, tuple(k for k in keys if k.name != "defaults"))


def summary_of(group: str, option: str) -> str:
    """The first comment line of an option's file."""
    file = conf_folder() / group / f"{option}.yaml"
    with file.open(encoding="utf-8") as text:
        lines = [line for line in (text.readline() for _ in range(4)) if not line.startswith("# @package")]
    spoken = leading_comment(lines)
    if spoken:
        return spoken[0]
    from medseg.targets import doc_of

    target = next((m[1] for line in lines if (m := _TARGET.match(line))), "")
    return doc_of(target) if target else ""


def leading_comment(lines: list[str]) -> tuple[str, ...]:
    """The comment lines that a file begins with, without ``#``."""
    found: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        found.append(line.lstrip("# ").rstrip())
    return tuple(found)
