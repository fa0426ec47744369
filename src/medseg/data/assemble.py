"""From what a layout found to a cohort: patients, centres, components, references and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
from medseg.data.formats import Header, is_picture, read_header, read_volume
from medseg.data.formats.pictures import COLOURS
from medseg.data.labels import parse_labels, scan_labels
from medseg.data.settings import DataSettings
from medseg.errors import Problems, UserError

_SHOWN = 5
_UNSAFE = frozenset("/\\\0")


def assemble(
    root: Path,
    settings: DataSettings,
    cases: Sequence[Case],
    modalities: Sequence[str],
    labels: Labels | None,
    *,
    name: str | None = None,
) -> Cohort:
    """The cohort of a layout's findings, with the settings' own wishes over them.

    Args:
        root: the folder of scans.
        settings: what the user said.
        cases: with an empty ``patient`` or ``centre`` where the layout does not know them.
        modalities: their names in order.
        labels: as the layout declares them; ``None`` looks into the label files where the settings are
            silent.
        name: the layout's own name of the set; used where the settings give none.

    Raises:
        UserError: no case, an unknown modality, labels that make no sense.
        Problems: ids that cannot name a file, a pattern that fits no id.
    """
    if not cases:
        raise UserError(
            str(root), "no case was found", "check data.root, or say where files are: data.patterns"
        )
    _refuse_ids(root, cases)
    cases, modalities = _expand(cases, modalities, settings)
    cases, modalities = _choose(root, cases, modalities, settings)
    cases = _people([_reference(case, settings) for case in cases], settings)
    if not settings.unlabelled_ok:
        cases = [case for case in cases if case.labelled]
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    meaning = declared_labels(settings, labels)
    if scanned := meaning is None:
        files = (path for case in ordered for path in (case.label, *case.raters.values()) if path)
        meaning = scan_labels(files, str(root))
    title = name if name and settings.name == DataSettings.name else settings.name
    return Cohort(title, ordered, tuple(modalities), meaning, root, _spatial_dims(ordered), scanned)


def _refuse_ids(root: Path, cases: Sequence[Case]) -> None:
    """Ids become the names of files: none may be hidden, lie in another folder or be no name at all."""
    strange = sorted({case.id for case in cases if not case.id or case.id[0] == "." or _UNSAFE & {*case.id}})
    fix = "rename it; an id has no '/', '\\' or NUL and starts with no dot"
    _raise_few([f"{root}: the case id {case_id!r} cannot name a file; {fix}" for case_id in strange])


def _raise_few(problems: Sequence[str]) -> None:
    """Raises `Problems` of the first few, if there are any."""
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise Problems([*problems[:_SHOWN], *more])


def declared_labels(settings: DataSettings, layout: Labels | None) -> Labels | None:
    """The settings' labels or regions, else the layout's; with the settings' ignore value."""
    if settings.regions:
        return parse_labels(settings.regions, "data.regions", ignore=_ignore(settings, layout), regions=True)
    if settings.labels:
        return parse_labels(settings.labels, "data.labels", ignore=_ignore(settings, layout))
    if layout is not None and settings.ignore is not None:
        return replace(layout, ignore=settings.ignore)
    return layout


def _ignore(settings: DataSettings, layout: Labels | None) -> int | None:
    return settings.ignore if settings.ignore is not None or layout is None else layout.ignore


def _expand(
    cases: Sequence[Case], modalities: Sequence[str], settings: DataSettings
) -> tuple[list[Case], list[str]]:
    """Gives each volume of a 4D file and each colour of a picture a modality of its own."""
    parts: dict[str, list[str]] = {}
    for modality in modalities:
        known = any(modality in case.components for case in cases)
        header, path = (None, None) if known else _first(cases, modality)
        if header is not None and path is not None and header.components > 1:
            parts[modality] = _part_names(modality, header, path, settings, alone=len(modalities) == 1)
    names = [part for modality in modalities for part in parts.get(modality) or [modality]]
    if not any(parts.values()):
        return list(cases), names
    return [_expand_case(case, parts) for case in cases], names


def _expand_case(case: Case, parts: dict[str, list[str]]) -> Case:
    images, components = {}, dict(case.components)
    for modality, path in case.images.items():
        names = parts.get(modality) or [modality]
        images.update(dict.fromkeys(names, path))
        if parts.get(modality):
            components.update({name: k for k, name in enumerate(names)})
    return replace(case, images=images, components=components)


def _part_names(
    modality: str, header: Header, path: Path, settings: DataSettings, *, alone: bool
) -> list[str]:
    """Names for the components of a file; none where a colour picture is to be read as grey."""
    wanted = settings.modalities or []
    if is_picture(path):
        if modality in wanted or _is_grey(path):
            return []
        return list(COLOURS) if alone else [f"{modality}_{colour}" for colour in COLOURS]
    if alone and len(wanted) == header.components:
        return list(wanted)
    return [f"{modality}_{k}" for k in range(header.components)]


def _is_grey(path: Path) -> bool:
    """Whether a colour picture's three colours are equal; the reader then gives the integers themselves."""
    return bool(read_volume(path).array.dtype.kind == "u")


def _first(cases: Sequence[Case], modality: str) -> tuple[Header | None, Path | None]:
    """The first header of a modality that can be read; what cannot is for `medseg.data.verify` to name."""
    for case in cases:
        if (path := case.images.get(modality)) is not None:
            try:
                return read_header(path), path
            except UserError:
                continue
    return None, None


def _choose(
    root: Path, cases: Sequence[Case], modalities: Sequence[str], settings: DataSettings
) -> tuple[list[Case], list[str]]:
    """Keeps the modalities that the settings name, in their order."""
    wanted = settings.modalities
    if wanted is None:
        return list(cases), list(modalities)
    if strange := [name for name in wanted if name not in modalities]:
        fix = f"data.modalities may name {', '.join(modalities)}"
        raise UserError(str(root), f"has no modality {', '.join(strange)}", fix)
    kept = [
        replace(case, images={name: case.images[name] for name in wanted if name in case.images})
        for case in cases
    ]
    return kept, list(wanted)


def _reference(case: Case, settings: DataSettings) -> Case:
    """Settles where the reference comes from, so that `Case.label` says it all."""
    if settings.reference == "auto":
        return case
    if settings.reference == "majority":
        return replace(case, label=None)
    if case.raters and settings.reference not in case.raters:
        there = ", ".join(case.raters)
        raise UserError(case.id, f"has no rater {settings.reference!r}", f"data.reference may name {there}")
    return replace(case, label=case.raters.get(settings.reference))


def _people(cases: Sequence[Case], settings: DataSettings) -> list[Case]:
    """Fills in patients and centres by their patterns; every id that does not fit is named."""
    problems: list[str] = []
    filled = []
    for case in cases:
        patient = case.patient or _match(case.id, settings.patient_pattern, "patient", problems)
        centre = case.centre or (
            _match(case.id, settings.centre_pattern, "centre", problems) if settings.centre_pattern else None
        )
        filled.append(replace(case, patient=patient or case.id, centre=centre))
    _raise_few(problems)
    return filled


def _match(case_id: str, pattern: str | None, what: str, problems: list[str]) -> str | None:
    if pattern is None:
        return None
    found = re.search(pattern, case_id)
    if found is None:
        problems.append(f"{case_id}: data.{what}_pattern {pattern!r} does not fit this id; mend the pattern")
        return None
    return str(found.group(1) if found.re.groups else found.group(0))


def _spatial_dims(cases: Sequence[Case]) -> int:
    """2 where the first readable image is one slice."""
    for case in cases:
        for path in case.images.values():
            try:
                return 2 if read_header(path).grid[2] == 1 else 3
            except UserError:
                continue
    return 3
