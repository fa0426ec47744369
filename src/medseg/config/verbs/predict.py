"""``medseg predict``: label maps for a folder of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from medseg.data.shard import Shard
from medseg.errors import UserError
from medseg.inference.at_once import predict_at_once
from medseg.inference.manifest import ENCODER_MANIFEST, MANIFEST
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings


def predict(
    model: str | list[str],
    input: str,
    output: str,
    unseen: list[str],
    inference: InferenceSettings,
    postprocess: dict[str, Any] | None = None,
    shard: str | None = None,
    workers: int = 1,
) -> None:
    """Predicts every case in ``input`` with one model, or the mean of several."""
    steps = None if postprocess is None else [postprocess]
    models = [_bundle(Path(name)) for name in ([model] if isinstance(model, str) else model)]
    what = (models, Path(input), Path(output), inference, unseen, steps)
    if workers > 1:
        written = predict_at_once(*what, workers)
    else:
        written = predict_folder(*what, None if shard is None else Shard.read(shard))
    Console(highlight=False, markup=False, soft_wrap=True).print(f"{len(written)} predictions in {output}")


def _bundle(path: Path) -> Path:
    """The bundle itself, or the one in a run's folder."""
    for folder in (path, path / "model"):
        if any((folder / name).is_file() for name in (MANIFEST, ENCODER_MANIFEST)):
            return folder
    raise UserError("model", f"there is no model in {path}", "give a run's folder or its folder model")
