"""How people arrange scans without saying so: a folder per case, images beside labels, paired names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.data.cohort import Case
from medseg.data.formats import is_scan, read_header, stem
from medseg.errors import UserError

_EDGES = "_-. "
_LABEL = re.compile(
    r"(?:^|[_\-. ])(?:segs?|segm|segmentations?|labels?|labelmap|masks?|gt|ground_?truth|manual|annotations?"
    r"|(?:1st|2nd|3rd|\d)_?(?:HO|manual|expert|rater)|(?:HO|manual|expert|rater)_?)\d*$",
    re.IGNORECASE,
)
_IMAGE_FOLDER = re.compile(r"(images?|imgs?|scans?|volumes?|imagestr)", re.IGNORECASE)
_LABEL_FOLDER = re.compile(
    r"(labels?|masks?|seg(mentation)?s?|gts?|ground_?truths?|annotations?|labelstr)", re.IGNORECASE
)
_CHANNEL = re.compile(r"_\d{4}$")


@dataclass
class _Files:
    """One case's files: images by role (``""`` for a lone one), labels by the ending that says so."""

    images: dict[str, Path]
    labels: dict[str, Path]


@dataclass(frozen=True)
class Found:
    """Cases with their modalities."""

    cases: list[Case]
    modalities: list[str]


def discover(root: Path) -> Found | None:
    """The cases of a folder, or ``None`` where no usual arrangement is seen.

    Tried in turn: the folder is one DICOM series; images beside a folder of labels; a sub-folder per case;
    one flat folder. Several labels of one case are raters.
    """
    for arrangement in (_series, _two_folders, _folder_per_case, _flat):
        if found := _cases(arrangement(root)):
            return found
    return None


def _scans(folder: Path) -> dict[str, Path]:
    """Stem -> scan, directly in a folder; folders of DICOM files are scans."""
    return {stem(path): path for path in sorted(folder.iterdir()) if is_scan(path)}


def _folders(root: Path) -> list[Path]:
    return [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _series(root: Path) -> dict[str, _Files]:
    if not is_scan(root):
        return {}
    try:
        read_header(root)
    except UserError:  # several series or none: perhaps a picture per file
        return {}
    return {root.name: _Files({"": root}, {})}


def _two_folders(root: Path) -> dict[str, _Files]:
    """``images/ID.png`` and ``labels/ID.png``; endings such as ``_mask`` are seen through."""
    images = [p for p in _folders(root) if _IMAGE_FOLDER.fullmatch(p.name)]
    labels = [p for p in _folders(root) if _LABEL_FOLDER.fullmatch(p.name)]
    if len(images) != 1 or len(labels) > 1:
        return {}
    return _paired(_grouped(_scans(images[0])), _scans(labels[0]) if labels else {})


def _paired(found: dict[str, _Files], labels: dict[str, Path]) -> dict[str, _Files]:
    """Gives each label to the case of the same name, endings such as ``_mask`` and ``_image`` aside."""
    short = {_stripped(name): name for name in found}
    for name, path in labels.items():
        if (key := name if name in found else short.get(_stripped(name))) is not None:
            found[key].labels[_ending(name)] = path
    return found


def _stripped(name: str) -> str:
    return re.sub(r"[_\-.](image|img|orig|original)$", "", _LABEL.sub("", name), flags=re.IGNORECASE)


def _ending(name: str) -> str:
    match = _LABEL.search(name)
    return match[0].strip(_EDGES) if match else ""


def _folder_per_case(root: Path) -> dict[str, _Files]:
    """``ID/ID_t1.nii.gz`` or ``ID/t1.nii.gz``, with ``seg`` or the like for the label."""
    folders = {folder.name: _scans(folder) for folder in _folders(root) if not is_scan(folder)}
    found = {name: _in_case(name, scans) for name, scans in folders.items() if scans}
    if all(len(files.images) <= 1 for files in found.values()):  # a lone image, whatever its name
        for files in found.values():
            files.images = dict(zip([""], files.images.values(), strict=False))
    return found


def _in_case(case_id: str, scans: dict[str, Path]) -> _Files:
    labels = {name: path for name, path in scans.items() if _LABEL.search(name)}
    cut = len(case_id) if all(name.startswith(case_id) for name in scans) else _common(scans)
    roles = {name[cut:].strip(_EDGES): path for name, path in scans.items() if name not in labels}
    return _Files(roles, labels)


def _common(names: Iterable[str]) -> int:
    """The length of the names' common beginning, up to its last separator."""
    first, last = min(names), max(names)
    same = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return max(first.rfind(edge, 0, same) + 1 for edge in _EDGES)


def _flat(root: Path) -> dict[str, _Files]:
    """``ID.nii.gz`` with ``ID_seg.nii.gz``, or ``ID_t1.nii.gz``, ``ID_t2.nii.gz``; or DICOM folders."""
    scans = _scans(root)
    labels = {name: path for name, path in scans.items() if _LABEL.search(name)}
    return _paired(_grouped({name: path for name, path in scans.items() if name not in labels}), labels)


def _grouped(scans: dict[str, Path]) -> dict[str, _Files]:
    """Images by case: names that share endings (``_t1``, ``_0000``) are modalities of one case."""
    if scans and all(_CHANNEL.search(name) for name in scans):
        endings = {name: name[-5:] for name in scans}
        if set(endings.values()) == {"_0000"}:
            return {name[:-5]: _Files({"": path}, {}) for name, path in scans.items()}
    else:
        endings = {name: m[0] if (m := re.search(r"[_\-][A-Za-z]\w*?$", name)) else "" for name in scans}
        counts = Counter(endings.values())
        if len(counts) < 2 or min(counts.values()) < 2 or "" in counts:
            endings = dict.fromkeys(scans, "")
    found: dict[str, _Files] = {}
    for name, path in scans.items():
        files = found.setdefault(name.removesuffix(endings[name]), _Files({}, {}))
        files.images[endings[name].strip(_EDGES)] = path
    return found


def _cases(files: dict[str, _Files]) -> Found | None:
    """The cases; ``None`` where there are none, or each case's files have names of their own."""
    files = {name: case for name, case in files.items() if case.images}
    counts = Counter(role for case in files.values() for role in case.images)
    rare = [role for role, count in counts.items() if count == 1]
    if not counts or (len(files) > 2 and len(rare) > 1):
        return None
    cases = [
        Case(
            id=name,
            patient="",
            images={role or "image": path for role, path in case.images.items()},
            label=next(iter(case.labels.values())) if len(case.labels) == 1 else None,
            raters=case.labels if len(case.labels) > 1 else {},
        )
        for name, case in files.items()
    ]
    return Found(cases, sorted(role or "image" for role in counts))
