"""A run's folder with made-up but realistic content, written as real files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from medseg.contracts import Labels
from medseg.evaluation.calibration import Reliability, label_reliabilities
from medseg.evaluation.cases import Row, write_cases
from medseg.evaluation.pictures import CasePicture
from medseg.evaluation.reliability_file import write_reliability
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

LABELS = Labels(("kidney", "tumour", "cyst"), ((1,), (2,), (3,)))
SHAPE, SPACING = (72, 64, 30), (1.5, 1.5, 4.0)
WITH_LESIONS = EvaluationSettings(metrics=["default", "lesions"])


def ball(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """An ellipsoid, both in mm from the corner."""
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij")
    )
    scaled = (grid - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    return (scaled**2).sum(0) < 1


def picture(index: int) -> CasePicture:
    """A kidney with a tumour and, in some, a cyst; the prediction is off by a seeded amount."""
    rng = np.random.Generator(np.random.Philox(index))
    middle = np.array([54.0, 48.0, 60.0]) + rng.normal(0, 4, 3)
    error = 1.2 if index % 7 else 5.0
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    parts = [(1, (0, 0, 0), (26, 20, 38)), (2, (12, 6, 10), (9, 9, 12))]
    if index % 3:
        parts.append((3, (-10, -4, -18), (6, 6, 8)))
    for code, offset, radii in parts:
        centre = middle + offset
        reference[ball(tuple(centre), radii)] = code
        if code != 3 or index not in (5, 11):
            shift = rng.normal(0, error * (1 + code / 3), 3)
            scale = 1 + rng.normal(0, 0.03 * code, 3)
            prediction[ball(tuple(centre + shift), tuple(np.array(radii) * scale))] = code
    if index == 9:
        prediction[4:9, 50:56, 3:5] = 3
    shading = np.linspace(0, 60, SHAPE[0])[:, None, None]
    image = rng.normal(0, 14, SHAPE) + shading + np.array([80.0, 190, 130, 40])[reference]
    return CasePicture(image.astype(np.float32), SPACING, reference, prediction)


def score(index: int) -> list[Row]:
    """The rows of one case."""
    drawn, centre = picture(index), "north" if index % 2 else "harbour clinic"
    about = {"case": f"case_{index:03d}", "patient": f"patient_{index // 2 * 2:03d}", "centre": centre}
    masks = (drawn.reference, drawn.prediction)
    known = reliabilities(*masks)
    return score_case(*masks, LABELS, SPACING, WITH_LESIONS, part="validation", reliabilities=known, **about)


def reliabilities(reference: np.ndarray, prediction: np.ndarray) -> list[Reliability | None]:
    """Of probabilities that follow the prediction, and are a little too sure."""
    channels = [0.02 + 0.96 * gaussian_filter((prediction == c).astype(float), 0.8) for c in (1, 2, 3)]
    return label_reliabilities(channels, reference, LABELS, SPACING, WITH_LESIONS)


def write_run(run: Path, cases: int = 18) -> dict[str, CasePicture]:
    """Writes the folder; returns the pictures by case id."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "record.json").write_text(json.dumps(RECORD), encoding="utf-8")
    (run / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False), encoding="utf-8")
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    write_curves(run / "metrics.csv")
    write_cases(run / "cases.csv", [row for index in range(cases) for row in score(index)])
    pictures = {f"case_{index:03d}": picture(index) for index in range(cases)}
    folder = run / "predictions" / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    for case, drawn in pictures.items():
        found = reliabilities(drawn.reference, drawn.prediction)
        write_reliability(folder / f"{case}_reliability.csv", LABELS.names, found)
    return pictures


def write_curves(path: Path) -> None:
    """Thirty minutes of a training that learns."""
    rng = np.random.Generator(np.random.Philox(1))
    rows: list[tuple[object, ...]] = []
    for step in range(0, 3000, 5):
        minutes = step / 100
        rows.append(
            (
                step,
                step // 50,
                minutes,
                "train/loss",
                0.25 + 1.5 * math.exp(-minutes / 5) + rng.normal(0, 0.06),
            )
        )
        if step % 100 == 0:
            value = 0.32 + 1.4 * math.exp(-minutes / 5) + rng.normal(0, 0.02)
            rows.append((step, step // 50, minutes, "validation/loss", value))
            rows.append((step, step // 50, minutes, "validation/dice", 0.86 - 0.8 * math.exp(-minutes / 4)))
        if step % 500 == 0 and step:
            for name, best in (("", 0.83), ("/kidney", 0.95), ("/tumour", 0.82), ("/cyst", 0.71)):
                value = best - 0.6 * math.exp(-minutes / 5)
                rows.append((step, step // 50, minutes, f"validation_volume/dice{name}", value))
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(("step", "epoch", "minutes", "name", "value"))
        writer.writerows(rows)


RECORD = {
    "name": "kidney-unet",
    "id": "7f3a91c2",
    "seed": 0,
    "fold": 0,
    "status": "trained",
    "overrides": [
        "data=kidney",
        "data.root=/scans/kidney",
        "training.minutes=30",
        "evaluation.worst_cases=3",
    ],
    "started": "2026-11-20T08:14:03+00:00",
    "versions": {
        "medseg": "0.1.0",
        "python": "3.11.9",
        "torch": "2.11.0",
        "lightning": "2.6.6",
        "monai": "1.6.1",
    },
    "git": {"commit": "9b1f6f0c2d7e4a55b1d0", "edited": True},
    "hardware": {
        "system": "Linux x86_64",
        "processor": "AMD EPYC 7543",
        "cores": 2,
        "memory_gb": 16.0,
        "accelerators": [],
    },
    "cohort": "kidney",
    "cases": {"train": 72, "unlabelled": 4, "validation": 18},
    "split_hash": "5d41402abc4b2a76b9719d911017c592aa",
    "steps": 3000,
    "data_wait": {"share": 0.2312, "seconds": 418.1, "of_seconds": 1808.4, "first_batch_seconds": 3.456},
    "minutes": 30.2,
    "results": {"validation": {"cases": 18}},
}

CONFIG = {
    "network": {"_target_": "medseg.networks.unet.UNet"},
    "fusion": {"_target_": "medseg.fusion.early.EarlyFusion"},
    "loss": {"_target_": "medseg.losses.dice_ce.DiceCE"},
    "objective": {"_target_": "medseg.objectives.supervised.Supervised"},
}

PLAN = {
    "spatial_dims": 3,
    "modalities": ["ct"],
    "axes": [0, 1, 2],
    "spacing": [1.5, 1.5, 4.0],
    "patch_size": [96, 96, 32],
    "batch_size": 2,
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "widths": [24, 48, 96, 192],
    "normalisation": {"ct": {"method": "ct", "low": -79.0, "high": 304.0, "mean": 101.0, "sd": 76.9}},
    "in_plane_only": False,
    "precision": "bf16-mixed",
    "fingerprint_hash": "ab12",
    "reasons": {
        "spacing": "median of the training cases; slices are 2.7 times as far apart as pixels",
        "patch_size": "holds the median kidney with a margin and fits 4 GB",
        "batch_size": "2, the least that normalises well, in the memory budget",
        "widths": "24 channels, so that 3000 steps fit into 30 minutes on 2 cores",
        "precision": "this processor multiplies bf16 in hardware",
    },
}


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CasePicture]]:
    """A run's folder and its pictures."""
    run = tmp_path_factory.mktemp("runs") / "kidney-unet" / "7f3a91c2"
    return run, write_run(run)
