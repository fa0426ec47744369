"""``model.json``: what a bundle says about its weights, read with suspicion."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medseg.contracts import Labels
from medseg.errors import Problems, UserError
from medseg.files import value_hash
from medseg.inference.patients import SeenPatients

FORMAT = "medseg-model"
VERSION = 1
ENSEMBLE = "ensemble"
MANIFEST = "model.json"
ENCODER_MANIFEST = "encoder.json"
WEIGHTS = "weights.safetensors"
MAX_BYTES = 32 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = {"names": 254, "modalities": 64}


def is_sha256(value: object) -> bool:
    """Whether it is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _is_axes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 3 for item in value)


def _is_row(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is int and abs(v) < 2**31 for v in value)


def is_specs(value: object) -> bool:
    """Whether it is a list of specs, whatever they name."""
    return (
        isinstance(value, list)
        and len(value) <= _MOST["modalities"]
        and all(isinstance(item, dict) and isinstance(item.get("_target_"), str) for item in value)
    )


def is_temperature(value: object) -> bool:
    """Whether logits may be divided by it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.01 <= value <= 100


Fields = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Name -> whether a value is of its kind, and what that is."""

_FIELDS: Fields = {
    "network": (lambda v: isinstance(v, dict), "a spec"),
    "fusion": (lambda v: isinstance(v, dict), "a spec"),
    "plan": (lambda v: isinstance(v, dict), "a plan"),
    "labels": (lambda v: isinstance(v, dict), "a mapping"),
    "modalities": (lambda v: _is_text_list(v) and 0 < len(v) <= _MOST["modalities"], "1 to 64 names"),
    "flip_axes": (_is_axes, "a list of axes from 0 to 2"),
    "missing_modalities": (lambda v: isinstance(v, bool), "true or false"),
    "postprocess": (is_specs, "a list of at most 64 steps"),
    "provenance": (lambda v: isinstance(v, dict), "a mapping"),
    "patients": (lambda v: isinstance(v, dict), "a mapping"),
    "weights": (lambda v: isinstance(v, dict), "a mapping"),
    "hash": (is_sha256, "a SHA-256"),
}

_OPTIONAL: Fields = {
    "temperature": (is_temperature, "a number from 0.01 to 100"),
    "tuned_on": (lambda v: isinstance(v, dict), "a mapping"),
}
"""Only in bundles that were tuned, so that all others stay readable for whoever knows nothing of it."""


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with format, version and the hash of everything in it."""
    whole = {"format": FORMAT, "version": VERSION, **manifest}
    return {**whole, "hash": value_hash(whole)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks ``model.json``; nothing it names is imported or opened.

    Raises:
        UserError: not there, not JSON, another format, an altered file, or fields of a wrong kind.
    """
    path = folder / MANIFEST
    if not path.exists() and (folder / ENCODER_MANIFEST).exists():
        fix = "train with finetuning.pretrained=FOLDER first, and name the model of that run"
        raise UserError(str(folder), "is a pretrained encoder, which cannot segment", fix)
    manifest = parse_json(path, "model=FOLDER is the folder of a bundle")
    if manifest.get("kind") == ENSEMBLE:
        raise UserError(str(path), "is an ensemble, where one model is wanted", "name one of its members")
    check_fields(path, manifest, _FIELDS, _OPTIONAL)
    return manifest


def check_fields(path: Path, manifest: Mapping[str, Any], fields: Fields, optional: Fields) -> None:
    """Refuses a manifest of another format or version, with fields of a wrong kind, or that was altered.

    Raises:
        UserError: one of these.
        Problems: a line per field.
    """
    if manifest.get("format") != FORMAT:
        raise UserError(str(path), "is not the model.json of a medseg bundle", "name the bundle's folder")
    if manifest.get("version") != VERSION:
        raise UserError(
            str(path), f"has format version {manifest.get('version')!r}", f"this medseg reads {VERSION}"
        )
    given = {**fields, **{name: rule for name, rule in optional.items() if name in manifest}}
    lines = [
        f"{path}: {name} is missing" if name not in manifest else f"{path}: {name} is not {what}"
        for name, (fits, what) in given.items()
        if name not in manifest or not fits(manifest[name])
    ]
    lines += [f"{path}: {name} is unknown" for name in manifest.keys() - given.keys() - {"format", "version"}]
    if lines:
        raise Problems(lines)
    if manifest["hash"] != value_hash({k: v for k, v in manifest.items() if k != "hash"}):
        raise UserError(str(path), "was altered: its hash does not fit its content", "copy the bundle again")


def parse_json(path: Path, where: str) -> dict[str, Any]:
    """A mapping from strict JSON of a sensible size; ``where`` says what to do if it is not there.

    Raises:
        UserError: it is not there, or is no such thing.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(str(path), f"is larger than {MAX_BYTES >> 20} MiB", f"this is no {path.name}")
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise UserError(str(path), "does not exist", where) from None
    except (OSError, ValueError, RecursionError) as error:
        problem = f"cannot be read as JSON ({str(error) or type(error).__name__})".replace("\n", " ")
        raise UserError(str(path), problem, "copy the bundle again") from None
    if not isinstance(value, dict):
        raise UserError(str(path), "holds no mapping", "copy the bundle again")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def read_labels(value: Mapping[str, Any], where: str) -> Labels:
    """The `Labels` in a manifest.

    Raises:
        UserError: a field is of a wrong kind.
    """
    if not _are_labels(value):
        raise UserError(where, "labels are not names with lists of values", "copy the bundle again")
    rows = tuple(tuple(row) for row in value["values"])
    return Labels(tuple(value["names"]), rows, value["overlapping"], value["ignore"])


def _are_labels(value: Mapping[str, Any]) -> bool:
    if set(value) != {"names", "values", "overlapping", "ignore"}:
        return False
    names, rows, ignore = value["names"], value["values"], value["ignore"]
    return (
        _is_text_list(names)
        and isinstance(rows, list)
        and all(map(_is_row, rows))
        and 0 < len(names) == len(rows) <= _MOST["names"]
        and isinstance(value["overlapping"], bool)
        and (ignore is None or _is_row([ignore]))
    )


def read_patients(value: Mapping[str, Any], where: str) -> SeenPatients:
    """The `SeenPatients` in a manifest.

    Raises:
        UserError: not a salt with hashes.
    """
    salt, hashes = value.get("salt"), value.get("hashes")
    if not isinstance(salt, str) or not isinstance(hashes, list) or not all(map(is_sha256, hashes)):
        raise UserError(where, "patients are not a salt with SHA-256 hashes", "copy the bundle again")
    return SeenPatients(salt, frozenset(hashes))


def read_weights(value: Mapping[str, Any], where: str) -> str:
    """The SHA-256 of the weights in a manifest.

    Raises:
        UserError: another file is named, or the hash is none.
    """
    if value.get("file") != WEIGHTS:
        raise UserError(where, f"names the weights {str(value.get('file'))[:80]!r}", f"they are in {WEIGHTS}")
    if not is_sha256(value.get("sha256")):
        raise UserError(where, "has no SHA-256 of the weights", "copy the bundle again")
    return str(value["sha256"])
