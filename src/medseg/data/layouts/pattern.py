"""A plain folder: by the user's globs, or by the usual ways in which people arrange scans.

A glob's case id is what ``{id}`` matches, or else the first ``*`` of its last part that has one:
``*/*_t1.nii.gz`` finds ``P1/P1_t1.nii.gz`` with the id ``P1``; so does ``{id}/t1.nii.gz``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medseg.data.assemble import assemble
from medseg.data.cohort import Case, Cohort
from medseg.data.discover import discover
from medseg.data.settings import DataSettings
from medseg.errors import UserError

PRIORITY = 90


def recognises(root: Path) -> bool:
    """Any folder in which scans are arranged in a usual way."""
    return discover(root) is not None


def read(root: Path, settings: DataSettings) -> Cohort:
    """The cases that the globs find, or that the arrangement shows."""
    if not settings.patterns:
        found = discover(root)
        if found is None:
            fix = "say where they are: data.patterns.NAME=GLOB data.label_pattern=GLOB"
            raise UserError(str(root), "no arrangement of scans was recognised", fix)
        return assemble(root, settings, found.cases, found.modalities, None, name=root.name)
    labels = _one(root, settings, "label_pattern", settings.label_pattern)
    raters = {
        name: _one(root, settings, f"raters.{name}", glob) for name, glob in (settings.raters or {}).items()
    }
    taken = {path for files in (labels, *raters.values()) for path in files.values()}
    images = {
        modality: _one(root, settings, f"patterns.{modality}", glob, taken)
        for modality, glob in settings.patterns.items()
    }
    ids = sorted({name for files in images.values() for name in files})
    cases = [
        Case(
            id=name,
            patient="",
            images={modality: files[name] for modality, files in images.items() if name in files},
            label=labels.get(name),
            raters={rater: files[name] for rater, files in raters.items() if name in files},
        )
        for name in ids
    ]
    return assemble(root, settings, cases, list(settings.patterns), None, name=root.name)


def _one(
    root: Path, settings: DataSettings, where: str, glob: str | None, taken: Iterable[Path] = ()
) -> dict[str, Path]:
    """Case id -> its file by one glob, without the files that are ``taken`` as labels."""
    if glob is None:
        return {}
    found: dict[str, Path] = {}
    shape = template(glob)
    for path in sorted(set(root.glob(glob.replace("{id}", "*"))) - set(taken)):
        relative = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        name = _identify(relative, settings.id_pattern, shape)
        if name is None:
            continue
        if name in found:
            problem = f"finds {found[name].relative_to(root)} and {relative} for the case {name!r}"
            raise UserError(f"data.{where}", problem, "make the glob narrower, or mark the id by {id}")
        found[name] = path
    if not found:
        raise UserError(f"data.{where}", f"finds nothing: {root / glob}", "correct the glob")
    return found


def _identify(relative: str, id_pattern: str | None, shape: re.Pattern[str]) -> str | None:
    """The case id of a path; ``None`` where the user's pattern leaves the file out."""
    match = re.search(id_pattern, relative) if id_pattern else shape.fullmatch(relative)
    if match is None:
        return None
    return str(match.group(1) if match.re.groups else match.group(0))


def template(glob: str) -> re.Pattern[str]:
    """The regular expression of a glob, with the case id as its group 1."""
    parts = glob.split("/")
    if "{id}" not in glob:
        starred = [k for k, part in enumerate(parts) if "*" in part and part != "**"]
        if starred:
            parts[starred[-1]] = parts[starred[-1]].replace("*", "{id}", 1)
    text, seen = "", False
    for token in re.split(r"(\{id\}|\*\*/|\*|\?|\[[^\]]+\])", "/".join(parts)):
        if token == "{id}":
            text += "(?P=id)" if seen else "(?P<id>[^/]+?)"
            seen = True
        elif token.startswith("[") and len(token) > 2:
            text += "[^" + token[2:] if token[1] == "!" else token
        else:
            text += {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return re.compile(text)
