"""Which files of a folder belong to which case and modality, when no cohort describes them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from medseg.data.cohort import Case
from medseg.data.formats import is_scan, read_header, stem
from medseg.errors import UserError

Found = tuple[str, str]
"""Case id and modality of one file."""
Scheme = Callable[[PurePath, Sequence[str]], Found | None]


def find_cases(source: Path, modalities: Sequence[str], leave_out: Path) -> tuple[list[Case], list[str]]:
    """The cases in a folder that no cohort describes, or the one case of a file.

    Args:
        source: a folder, searched with all its sub-folders; a scan; or the folder of a DICOM series.
        modalities: those of the model, in its order.
        leave_out: a folder not to look into, because predictions are written there.

    Returns:
        The cases in the order of their ids, and a line for each file that could not be placed.

    Raises:
        UserError: nothing is there, or no file could be placed.
    """
    if not source.exists():
        raise UserError(f"input={source}", "is not there", "name a folder of scans, or a scan")
    scans = [source] if is_scan(source) else sorted(_scans(source, leave_out.resolve()))
    if not scans:
        raise UserError(
            f"input={source}", "holds no scans", "name a folder of NIfTI, NRRD, DICOM, PNG ... files"
        )
    root = source.parent if scans == [source] else source
    if len(modalities) > 1 and _components(scans) == len(modalities):
        return _stacked(root, scans, modalities)
    return group_files(root, scans, modalities)


def _components(scans: Sequence[Path]) -> int:
    """Of the first scan with a readable header; the others are told of when they are predicted."""
    for path in scans:
        with contextlib.suppress(UserError):
            return read_header(path).components
    return 1


def _stacked(root: Path, files: Sequence[Path], modalities: Sequence[str]) -> tuple[list[Case], list[str]]:
    """A case per file, each of which holds every modality."""
    components = {modality: n for n, modality in enumerate(modalities)}
    cases: dict[str, Case] = {}
    lines = []
    for path in files:
        name = _bare(root, path)
        case = _joined(name.parent.parts, name.name)
        if case in cases:
            lines.append(f"{path}: a second file of {case} beside {cases[case].files[0]}; remove one")
        else:
            cases[case] = Case(case, case, dict.fromkeys(modalities, path), components=components)
    return [cases[case] for case in sorted(cases)], lines


def _scans(folder: Path, leave_out: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_scan(path):
            yield path
        elif path.is_dir() and not path.name.startswith(".") and path.resolve() != leave_out:
            yield from _scans(path, leave_out)


def group_files(root: Path, files: Sequence[Path], modalities: Sequence[str]) -> tuple[list[Case], list[str]]:
    """Sorts files into cases by the one naming scheme that understands most of them.

    Schemes, the first wins a tie: nnU-Net's number of the modality (``CASE_0000.nii.gz``); the modality's
    name in the file's name (``CASE_flair.nii.gz``, ``CASE/flair.nii.gz``); a folder named as the modality
    (``flair/CASE.nii.gz``); with one modality, any name.

    Args:
        root: the folder that ``files`` are named relative to.
        files: image files, and folders of DICOM series.
        modalities: those of the model, in its order.

    Returns:
        The cases in the order of their ids, and a line for each file that could not be placed.

    Raises:
        UserError: no file could be placed.
    """
    schemes: list[Scheme] = [_by_number, _by_name, _by_folder]
    schemes += [_by_any_name] if len(modalities) == 1 else []
    names = [_bare(root, path) for path in files]
    placed = [[scheme(name, modalities) for name in names] for scheme in schemes]
    best = max(placed, key=lambda answers: sum(a is not None for a in answers))
    if not any(best):
        raise UserError(
            str(root),
            f"no file could be matched to {', '.join(modalities)}",
            f"name them CASE_0000.nii.gz ... or CASE_{modalities[0]}.nii.gz",
        )
    cases: dict[str, dict[str, Path]] = {}
    lines = []
    for path, answer in zip(files, best, strict=True):
        if answer is None:
            lines.append(f"{path}: its name says no modality; use one of {', '.join(modalities)}")
            continue
        case, modality = answer
        images = cases.setdefault(case, {})
        if modality in images:
            lines.append(f"{path}: a second {modality} of {case} beside {images[modality]}; remove one")
        else:
            images[modality] = path
    return [Case(case, case, cases[case]) for case in sorted(cases)], lines


def _bare(root: Path, path: Path) -> PurePath:
    """The path below ``root`` without the ending of its format; the name of a DICOM folder stays whole."""
    below = path.relative_to(root) if path != root else PurePath(path.name)
    return below if path.is_dir() else below.with_name(stem(path) or path.name)


def _by_number(path: PurePath, modalities: Sequence[str]) -> Found | None:
    match = re.fullmatch(r"(.+)_(\d{4})", path.name)
    if match is None or int(match[2]) >= len(modalities):
        return None
    return _joined(path.parent.parts, match[1]), modalities[int(match[2])]


def _by_name(path: PurePath, modalities: Sequence[str]) -> Found | None:
    for modality in sorted(modalities, key=len, reverse=True):
        match = re.search(_as_word(modality), path.name, re.IGNORECASE)
        if match is None:
            continue
        before, after = path.name[: match.start()], path.name[match.end() :]
        rest = re.sub(
            r"^[\W_]+|[\W_]+$", "", before + ("_" if before and after else "") + after.lstrip("_-. ")
        )
        if rest or path.parent.parts:
            return _joined(path.parent.parts, rest), modality
    return None


def _by_folder(path: PurePath, modalities: Sequence[str]) -> Found | None:
    for modality in sorted(modalities, key=len, reverse=True):
        pattern = re.compile(_as_word(modality), re.IGNORECASE)
        hits = [n for n, part in enumerate(path.parent.parts) if pattern.fullmatch(part)]
        if hits:
            folders = [part for n, part in enumerate(path.parent.parts) if n != hits[-1]]
            return _joined(folders, path.name), modality
    return None


def _by_any_name(path: PurePath, modalities: Sequence[str]) -> Found | None:
    return _joined(path.parent.parts, path.name), modalities[0]


def _as_word(modality: str) -> str:
    """A pattern for the name between separators; a space in it may be written as any separator."""
    words = [re.escape(word) for word in re.split(r"[\s_.-]+", modality) if word]
    return r"(?<![A-Za-z0-9])" + r"[\s_.-]*".join(words) + r"(?![A-Za-z0-9])"


def _joined(folders: Sequence[str], name: str) -> str:
    """One id of folders and name; a name that only repeats its folder adds nothing."""
    parts = [*folders]
    if name and (not parts or name != parts[-1]):
        parts.append(name)
    return "_".join(parts)
