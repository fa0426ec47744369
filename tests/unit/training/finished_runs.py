"""Run folders as a training leaves them, with bundles of untrained networks and made-up scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.data.splits import Split
from medseg.evaluation.cases import Row, write_cases
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import save_bundle

UNET = {"_target_": "medseg.networks.unet.UNet"}
EARLY = {"_target_": "medseg.fusion.early.EarlyFusion"}
LABELS = Labels(("organ",), ((1,),))
PLAN = Plan(
    spatial_dims=3, modalities=("MRI",), axes=(0, 1, 2), spacing=(1.0, 1.0, 1.0), patch_size=(8, 8, 8),
    batch_size=2, strides=((1, 1, 1), (2, 2, 2)), kernels=((3, 3, 3), (3, 3, 3)), widths=(4, 6),
    in_plane_only=False, precision="32-true", normalisation={"MRI": {"method": "none"}},
)  # fmt: skip


def patients(count: int = 12) -> list[str]:
    """Their ids."""
    return [f"p{k:02d}" for k in range(count)]


def split_of(folds: int = 2, count: int = 12) -> Split:
    """Every ``folds``-th patient in a fold."""
    return Split(0, folds, {p: k % folds for k, p in enumerate(patients(count))})


def score(patient: str, seed: int, shift: float) -> float:
    """A Dice that depends on the patient most, then on the method, then on the seed."""
    rng = np.random.Generator(np.random.Philox([int(patient[1:]), seed]))
    return float(0.6 + 0.02 * int(patient[1:]) + shift + rng.normal(0, 0.01))


def write_run(
    study: Path,
    seed: int = 0,
    fold: int = 0,
    *,
    network: Mapping[str, Any] | None = None,
    shift: float = 0.0,
    split: Split | None = None,
    overrides: tuple[str, ...] = (),
    seen: tuple[str, ...] | None = None,
    part: str = "validation",
    record: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a run that was finished and scored on its fold."""
    split = split or split_of()
    spec = dict(network or UNET)
    tag = "-".join([spec["_target_"].rpartition(".")[2], *map(str, (shift, seed, fold))])
    run = study / (run_id or tag)
    run.mkdir(parents=True)
    held_out = [p for p, where in split.patients.items() if where == (fold if part == "validation" else part)]
    trained = [p for p, where in split.patients.items() if isinstance(where, int) and where != fold]
    rows = [Row(p, p, "", part, "organ", "dice", score(p, seed, shift), "1", "ok") for p in held_out]
    write_cases(run / "cases.csv", rows)
    settings = EvaluationSettings(bootstrap=100)
    results = {part: summarise(rows, settings)[part].to_json()}
    config = {
        "name": study.name, "seed": seed, "fold": fold, "runs": "runs", "id": None, "network": spec,
        "fusion": EARLY,
        "augmentation": {"noise": shift}, "data": {"name": "toy", "root": "/nowhere"},
        "evaluation": {"bootstrap": 100, "surface_tolerance_mm": 2.0}, "tracking": {"wandb": "disabled"},
    }  # fmt: skip
    config |= dict(changed or {})
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    about = {
        "name": study.name, "id": run.name, "seed": seed, "fold": fold, "status": "finished", "cohort": "toy",
        "overrides": list(overrides), "split_hash": split.hash, "results": results, "minutes": 2.0,
        "steps": 10,
    }  # fmt: skip
    (run / "record.json").write_text(json.dumps(about | dict(record or {})))
    split.save(run / "split.json")
    PLAN.save(run / "plan.yaml")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = assemble_network(UNET, EARLY, PLAN, LABELS)
    known = trained if seen is None else seen
    save_bundle(run / "model", net, UNET, EARLY, PLAN, LABELS, "toy", {"fold": fold}, patients=known)
    return run
