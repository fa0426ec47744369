"""nnU-Net v2: ``dataset.json`` with ``channel_names``, a file per channel (``_0000`` ...), ``labelsTr``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medseg.data.assemble import assemble
from medseg.data.cohort import Case, Cohort
from medseg.data.dataset_json import FILE, field, read_json
from medseg.data.formats import read_header
from medseg.data.labels import parse_labels
from medseg.data.settings import DataSettings
from medseg.errors import UserError

PRIORITY = 10


def recognises(root: Path) -> bool:
    """A ``dataset.json`` that has ``channel_names``."""
    content = read_json(root)
    return content is not None and "channel_names" in content


def read(root: Path, settings: DataSettings) -> Cohort:
    """The training cases with labels, and those of ``imagesTs`` without."""
    content = read_json(root) or {}
    channels = _channels(root, content)
    ending = field(root, content, "file_ending", str, ".nii.gz")
    cases = _listed(root, content, channels)
    if not cases:
        cases = _in_folder(root / "imagesTr", root / "labelsTr", channels, ending)
    known = {case.id for case in cases}
    tests = _in_folder(root / "imagesTs", None, channels, ending)
    cases += [case for case in tests if case.id not in known]
    declared = field(root, content, "labels", dict, {})
    labels = parse_labels(declared, str(root / FILE)) if declared else None
    return assemble(
        root, settings, [_split(case, channels) for case in cases], channels, labels, name=content.get("name")
    )


def _channels(root: Path, content: dict[str, Any]) -> list[str]:
    names = field(root, content, "channel_names", dict, {})
    if not names or sorted(names) != sorted(str(k) for k in range(len(names))):
        raise UserError(str(root / FILE), f"channel_names is {names}", "number the channels from 0")
    ordered = [str(names[str(k)]) for k in range(len(names))]
    return [f"{name}_{k}" if ordered.count(name) > 1 else name for k, name in enumerate(ordered)]


def _in_folder(images: Path, labels: Path | None, channels: list[str], ending: str) -> list[Case]:
    """A case for each id in a folder of ``ID_0000.ENDING`` files."""
    found: dict[str, dict[str, Path]] = {}
    shape = re.compile(r"([^.].*)_(\d{4})" + re.escape(ending))
    for path in sorted(images.iterdir()) if images.is_dir() else ():
        match = shape.fullmatch(path.name)
        if match and int(match[2]) < len(channels):
            found.setdefault(match[1], {})[channels[int(match[2])]] = path
    cases = []
    for name, files in found.items():
        label = labels / f"{name}{ending}" if labels is not None else None
        cases.append(Case(name, "", files, label if label is not None and label.exists() else None))
    return cases


def _listed(root: Path, content: dict[str, Any], channels: list[str]) -> list[Case]:
    """The cases of the optional ``dataset`` field, which names every file."""
    cases = []
    for name, entry in field(root, content, "dataset", dict, {}).items():
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or not all(isinstance(path, str) for path in images):
            raise UserError(
                str(root / FILE), f"dataset.{name} has no list of images", "name a file per channel"
            )
        label = entry.get("label")
        files = {channel: root / path for channel, path in zip(channels, images, strict=False)}
        cases.append(Case(str(name), "", files, root / label if label else None))
    return cases


def _split(case: Case, channels: list[str]) -> Case:
    """Several channels in one file (natural pictures: red, green, blue) become components of it."""
    if len(channels) == 1 or set(case.images) != {channels[0]}:
        return case
    path = case.images[channels[0]]
    try:
        components = read_header(path).components
    except UserError:
        return case
    if components != len(channels):
        return case
    return Case(
        case.id,
        case.patient,
        dict.fromkeys(channels, path),
        case.label,
        components={channel: k for k, channel in enumerate(channels)},
    )
