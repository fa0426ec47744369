"""Which models wrote a folder of predictions, so that those of two models never mix unseen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import medseg
from medseg.errors import UserError
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.settings import InferenceSettings

RECEIPT = "prediction.json"


def receipt(bundles: Sequence[Bundle], settings: InferenceSettings) -> dict[str, Any]:
    """What decides a prediction: the bundles by their hashes, and the settings that change results."""
    return {
        "medseg": medseg.__version__,
        "models": [{"cohort": b.cohort, "hash": b.hash, "weights": b.weights_hash} for b in bundles],
        "settings": {"overlap": settings.overlap, "flips": settings.flips, "precision": settings.precision},
    }


def claim(folder: Path, wanted: Mapping[str, Any], targets: Iterable[Path], replace_other: bool) -> None:
    """Leaves the receipt in ``folder``, before the first prediction.

    Args:
        folder: of the predictions.
        wanted: the receipt.
        targets: the predictions to come; those that were made otherwise are removed first, so that a
            kill at any moment leaves no prediction under the receipt of another model.
        replace_other: whether predictions that were made otherwise may be replaced.

    Raises:
        UserError: there are such predictions and they may not, or the folder cannot be written.
    """
    path = folder / RECEIPT
    if path.exists() and _deciding(_read(path)) != _deciding(wanted):
        if not replace_other:
            fix = "choose another folder, or inference.overwrite=true"
            raise UserError(f"output={folder}", "holds predictions of another model or other settings", fix)
        for target in targets:
            target.unlink(missing_ok=True)
    try:
        write_json(path, wanted)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise UserError(f"output={folder}", problem, "choose a folder of yours with free space") from None


def _deciding(content: Mapping[str, Any]) -> list[Any]:
    return [content.get("models"), content.get("settings")]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
