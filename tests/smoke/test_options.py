"""Every option of a training runs for real: one short run each."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.cli import main
from medseg.tracking.local import read_metrics


@pytest.mark.parametrize(
    "choice",
    [
        ["queue=torchio"],
        ["network=residual_unet"],
        ["plan.spatial_dims=2", "plan.patch_size=[16,16]"],
        ["optimizer=sgd", "schedule=polynomial"],
        ["loss=tversky", "objective.deep_supervision=false"],
        ["augmentation=strong"],
        ["training.accumulate=2", "training.precision=32-true"],
        ["training.patience=1"],
        ["training.volume_validations=0", "training.validation_patches=0"],
        ["training.steps=5"],
        ["training.steps=null", "training.minutes=0.01"],
    ],
    ids=" ".join,
)
def test_it_runs(words: list[str], tmp_path: Path, choice: list[str]) -> None:
    changed = {word.partition("=")[0] for word in choice}
    kept = [word for word in words if word.partition("=")[0] not in changed]
    assert main([*kept, *choice, "id=run"]) == 0
    run = tmp_path / "runs" / "balls" / "run"
    assert (run / "report.html").exists()
    losses = [row for row in read_metrics(run / "metrics.csv") if row["name"] == "train/loss"]
    assert losses
