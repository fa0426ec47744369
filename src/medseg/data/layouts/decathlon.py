"""The Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr``, ``labelsTr``, ``imagesTs``.

Modalities share one 4D file. The layout of nnU-Net v1, a file per modality with ``_0000`` suffixes under the
same ``dataset.json``, is read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.contracts import Labels
from medseg.data.assemble import assemble
from medseg.data.cohort import Case, Cohort
from medseg.data.dataset_json import FILE, field, read_json
from medseg.data.formats import is_scan, stem, suffix
from medseg.data.labels import parse_labels
from medseg.data.settings import DataSettings
from medseg.errors import UserError

PRIORITY = 20


def recognises(root: Path) -> bool:
    """A ``dataset.json`` that has ``modality``, or lists its training cases."""
    content = read_json(root)
    return (
        content is not None
        and "channel_names" not in content
        and bool({"modality", "training"} & content.keys())
    )


def read(root: Path, settings: DataSettings) -> Cohort:
    """The training cases with labels, and the test images without."""
    content = read_json(root) or {}
    modalities = _modalities(root, content)
    cases = [_case(image, label, modalities) for image, label in _listed(root, content)]
    return assemble(root, settings, cases, modalities, _labels(root, content), name=content.get("name"))


def _modalities(root: Path, content: dict[str, Any]) -> list[str]:
    names = field(root, content, "modality", dict, {}) or {"0": "image"}
    if not all(key.isdigit() for key in names):
        raise UserError(str(root / FILE), f"modality is {names}", "number the modalities from 0")
    ordered = [str(names[key]) for key in sorted(names, key=int)]
    twice = {name for name in ordered if ordered.count(name) > 1}
    return [f"{name}_{k}" if name in twice else name for k, name in enumerate(ordered)]


def _labels(root: Path, content: dict[str, Any]) -> Labels | None:
    names = field(root, content, "labels", dict, {})
    rows: dict[str, list[Any]] = {}
    for value, name in names.items():
        rows.setdefault(str(name), []).append(value)
    return parse_labels(rows, str(root / FILE)) if rows else None


def _listed(root: Path, content: dict[str, Any]) -> Iterator[tuple[Path, Path | None]]:
    """Pairs of image and label as the file lists them, else as the folders hold them."""
    training = field(root, content, "training", list, [])
    for entry in training:
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise UserError(str(root / FILE), f"a training entry is {entry!r}", "give an image and a label")
        yield root / entry["image"], root / entry["label"] if entry.get("label") else None
    if not training and (root / "imagesTr").is_dir():
        for image in sorted(path for path in (root / "imagesTr").iterdir() if is_scan(path)):
            label = root / "labelsTr" / image.name
            yield image, label if label.exists() else None
    tests = field(root, content, "test", list, []) or sorted((root / "imagesTs").glob("[!.]*"))
    for image in (root / entry for entry in tests if isinstance(entry, (str, Path))):
        if any(path.exists() for path in (image, _numbered(image, 0))):  # often not downloaded
            yield image, None


def _numbered(image: Path, k: int) -> Path:
    """The file of modality ``k`` as nnU-Net v1 stores it."""
    return image.with_name(f"{stem(image)}_{k:04d}{suffix(image)}")


def _case(image: Path, label: Path | None, modalities: list[str]) -> Case:
    if not image.exists() and _numbered(image, 0).exists():
        files = {m: _numbered(image, k) for k, m in enumerate(modalities)}
        return Case(stem(image), "", {m: path for m, path in files.items() if path.exists()}, label)
    components = {m: k for k, m in enumerate(modalities)} if len(modalities) > 1 else {}
    return Case(stem(image), "", dict.fromkeys(modalities, image), label, components=components)
