"""docs/metrics.md says what the code does: the table of empty masks and the peers' numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.evaluation.calibration import label_reliabilities
from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import DEFAULT_METRICS, EvaluationSettings
from medseg.evaluation.summary import receipt

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
LABELS = Labels(("label",), ((1,),))
SHAPE, SPACING = (10, 10, 5), (1.0, 1.0, 2.0)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its first two lines."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    lines = re.findall(r"^\|.*\|$", text.partition("\n## ")[0], flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def empty_mask_cases() -> list[tuple[np.ndarray, np.ndarray]]:
    """Both empty, reference only, prediction only, the same single voxel, single voxels 3 mm apart."""
    nothing, block = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    block[2:6, 2:6, 1:4] = 1
    voxel, other = nothing.copy(), nothing.copy()
    voxel[4, 4, 2] = other[7, 4, 2] = 1
    return [(nothing, nothing), (block, nothing), (nothing, block), (voxel, voxel), (voxel, other)]


def everything(reference: np.ndarray, prediction: np.ndarray) -> list[Row]:
    """Every metric; the probability is 0.9 where something was predicted, and 0.1 elsewhere."""
    chosen = EvaluationSettings(metrics=["all"])
    channel = np.where(prediction, 0.9, 0.1)
    known = label_reliabilities([channel], reference, LABELS, SPACING, chosen)
    return score_case(reference, prediction, LABELS, SPACING, chosen, reliabilities=known)


def told(value: float, status: str) -> str:
    text = "nan" if math.isnan(value) else f"{value:.5g}"
    return text + (" missed" if status == "missed" else "")


def test_the_table_of_empty_masks_is_what_the_code_gives() -> None:
    columns = [
        {row.metric: told(row.value, row.status) for row in everything(*pair)} for pair in empty_mask_cases()
    ]
    expected = [[f"`{name}`", *[column[name] for column in columns]] for name in METRICS]
    assert table("Empty masks") == expected


def test_the_definitions_are_those_of_the_registry() -> None:
    expected = [
        [f"`{m.name}`", m.title, receipt(m.name, EvaluationSettings()).definition, m.unit, m.better]
        for m in METRICS.values()
    ]
    assert table("Definitions") == expected


def test_the_page_says_what_is_on_by_default() -> None:
    text = PAGE.read_text(encoding="utf-8")
    off = [name for name in METRICS if name not in DEFAULT_METRICS]
    listed = text.partition("Not computed unless asked for:")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", listed.partition("All others")[0]))
    assert named - set(DEFAULT_METRICS) == set(off)


def example() -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """The example of the page."""
    spacing = (0.8, 0.8, 3.0)
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip((64, 64, 24), spacing, strict=True)], indexing="ij")
    )

    def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
        return ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < radius**2

    return ball((24, 26, 36), 12), ball((26, 26, 36), 11) | ball((42, 42, 54), 3.5), spacing


def peers() -> dict[str, list[float | None]]:
    """HD, HD95, ASSD, surface Dice at 2 mm of the example, by each library."""
    import SimpleITK as sitk
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )
    from surface_distance import metrics as deepmind

    reference, prediction, spacing = example()
    chosen = EvaluationSettings(metrics=["all"])
    rows = score_case(reference.astype(np.uint8), prediction.astype(np.uint8), LABELS, spacing, chosen)
    ours = {row.metric: row.value for row in rows}
    both = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, reference)]
    about = {"include_background": True, "spacing": list(spacing)}
    subvoxel = float(compute_surface_dice(*both, [2.0], use_subvoxels=True, **about))
    surfels = deepmind.compute_surface_distances(reference, prediction, spacing)
    images = []
    for mask in (reference, prediction):
        images.append(sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0)))
        images[-1].SetSpacing(spacing)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    return {
        "medseg": [ours["hd"], ours["hd95"], ours["assd"], ours["surface_dice"]],
        "medseg, by area": [None, ours["hd95_area"], None, ours["surface_dice_area"]],
        "MONAI": [
            float(compute_hausdorff_distance(*both, **about)),
            float(compute_hausdorff_distance(*both, percentile=95, **about)),
            float(compute_average_surface_distance(*both, symmetric=True, **about)),
            float(compute_surface_dice(*both, [2.0], **about)),
        ],
        "MONAI, `use_subvoxels`": [None, None, None, subvoxel],
        "DeepMind surface-distance": [
            deepmind.compute_robust_hausdorff(surfels, 100),
            deepmind.compute_robust_hausdorff(surfels, 95),
            float(np.mean(deepmind.compute_average_surface_distance(surfels))),
            deepmind.compute_surface_dice_at_tolerance(surfels, 2.0),
        ],
        "SimpleITK `HausdorffDistanceImageFilter`": [
            hausdorff.GetHausdorffDistance(), None, hausdorff.GetAverageHausdorffDistance(), None,
        ],
    }  # fmt: skip


def test_the_peers_give_the_numbers_on_the_page() -> None:
    expected = [
        [name, *["–" if value is None else f"{value:.3f}" for value in values]]
        for name, values in peers().items()
    ]
    assert table("Where peers differ") == expected


def test_a_hole_is_far_from_a_surface_and_near_to_a_set() -> None:
    """The example of the page in which SimpleITK's sets and everybody's surfaces part."""
    import SimpleITK as sitk

    solid, _, spacing = example()
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip((64, 64, 24), spacing, strict=True)], indexing="ij")
    )
    hollow = solid & (((grid - np.reshape((24, 26, 36), (3, 1, 1, 1))) ** 2).sum(0) >= 9)
    images = []
    for mask in (solid, hollow):
        images.append(sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0)))
        images[-1].SetSpacing(spacing)
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    rows = score_case(solid.astype(np.uint8), hollow.astype(np.uint8), LABELS, spacing)
    ours = next(row.value for row in rows if row.metric == "hd")
    told = f"{theirs.GetHausdorffDistance():.1f} mm away for SimpleITK and {ours:.1f} mm for us"
    assert told in " ".join(PAGE.read_text(encoding="utf-8").split())


def test_the_policy_of_a_receipt_is_what_is_measured() -> None:
    words = {"computed": None, "nan": math.nan, "zero": 0.0, "diagonal": math.sqrt(10**2 + 10**2 + 10**2)}
    pairs = empty_mask_cases()
    for name, metric in METRICS.items():
        policy = metric.empty_policy
        for outcome, pair in ((policy.prediction_empty, pairs[1]), (policy.reference_empty, pairs[2])):
            value = next(row.value for row in everything(*pair) if row.metric == name)
            expected = words[outcome]
            if expected is not None:
                assert value == pytest.approx(expected, nan_ok=True), name
