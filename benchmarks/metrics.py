"""Dice, HD95 and surface Dice of 3 classes: medseg beside MONAI, DeepMind's surface-distance and SimpleITK.

    python benchmarks/metrics.py                    # about 5 minutes; --rounds, --cases, --out

One process, one thread each, CPU time. The libraries take turns, A B C, A B C, in every round; ratios are
taken within a round. Each gets both label maps in memory and gives all nine numbers; making one-hot tensors
or images of them counts, importing and compiling does not. Exits with 1 where a ratio that must hold does
not.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402 - the number of threads is read on import
from metric_cases import CLASSES, SHAPE, Case, Mask, cases, hard  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402

from medseg.contracts import Labels  # noqa: E402
from medseg.evaluation import surfaces  # noqa: E402
from medseg.evaluation.score import score_case  # noqa: E402
from medseg.evaluation.settings import EvaluationSettings  # noqa: E402
from medseg.files import write_text  # noqa: E402

HERE = Path(__file__).resolve().parent
TOLERANCE = 2.0
LABELS = Labels(("a", "b", "c"), tuple((c,) for c in CLASSES))
MUST_HOLD = {"MONAI": 20.0, "DeepMind": 4.0}

Scores = NDArray[np.float64]
"""``(3, classes)``: Dice, HD95, surface Dice."""
Distances = tuple[NDArray[np.float64], NDArray[np.float64]]


def ours(case: Case, names: Sequence[str]) -> Scores:
    """By `score_case`, as everywhere in medseg."""
    chosen = EvaluationSettings(metrics=["dice", *names], surface_tolerance_mm=TOLERANCE)
    rows = score_case(case.reference, case.prediction, LABELS, case.spacing, chosen)
    return np.array([row.value for row in rows]).reshape(len(CLASSES), 3).T


def medseg(case: Case) -> Scores:
    """Between voxel centres, as MONAI."""
    return ours(case, ["hd95", "surface_dice"])


def medseg_by_area(case: Case) -> Scores:
    """DeepMind's definition."""
    return ours(case, ["hd95_area", "surface_dice_area"])


def monai(case: Case) -> Scores:
    """One batch of one-hot channels; MONAI crops each class by itself."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    torch.set_num_threads(1)
    prediction, reference = (
        torch.from_numpy(np.stack([codes == c for c in CLASSES])[None].astype(np.float32))
        for codes in (case.prediction, case.reference)
    )
    about = {"include_background": True, "spacing": list(case.spacing)}
    found = [
        compute_dice(prediction, reference, include_background=True),
        compute_hausdorff_distance(prediction, reference, percentile=95, **about),
        compute_surface_dice(prediction, reference, [TOLERANCE] * len(CLASSES), **about),
    ]
    return np.stack([one.numpy()[0] for one in found]).astype(float)


def deepmind(case: Case) -> Scores:
    """A class at a time, as its documentation does."""
    from surface_distance import metrics

    found = []
    for code in CLASSES:
        masks = case.reference == code, case.prediction == code
        surfels = metrics.compute_surface_distances(*masks, case.spacing)
        found.append(
            (
                metrics.compute_dice_coefficient(*masks),
                metrics.compute_robust_hausdorff(surfels, 95),
                metrics.compute_surface_dice_at_tolerance(surfels, TOLERANCE),
            )
        )
    return np.array(found).T


def simpleitk(case: Case) -> Scores:
    """Overlap measures, and distance maps read at the contours, as its notebook on evaluation does."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    images = []
    for codes in (case.reference, case.prediction):
        images.append(sitk.GetImageFromArray(codes.transpose(2, 1, 0)))
        images[-1].SetSpacing(case.spacing)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    found = []
    for code in CLASSES:
        masks = [image == code for image in images]
        maps = [sitk.Abs(sitk.SignedMaurerDistanceMap(m, False, False, True)) for m in masks]
        contours = [sitk.GetArrayViewFromImage(sitk.LabelContour(m)) == 1 for m in masks]
        ways = [
            sitk.GetArrayViewFromImage(far)[edge] for far, edge in zip(maps, reversed(contours), strict=True)
        ]
        hd95 = max(float(np.percentile(way, 95)) for way in ways)
        found.append((overlap.GetDiceCoefficient(code), hd95, np.mean(np.concatenate(ways) <= TOLERANCE)))
    return np.array(found).T


LIBRARIES: dict[str, Callable[[Case], Scores]] = {
    "medseg": medseg,
    "medseg by area": medseg_by_area,
    "MONAI": monai,
    "DeepMind": deepmind,
    "SimpleITK": simpleitk,
}
RATIOS = (
    ("medseg", "MONAI"),
    ("medseg", "DeepMind"),
    ("medseg by area", "DeepMind"),
    ("medseg", "SimpleITK"),
)
AGREE = {"MONAI": "medseg", "DeepMind": "medseg by area", "SimpleITK": "medseg"}
"""Whose definition is whose; SimpleITK's is a little different from both."""


def cpu_ms(work: Callable[[], object]) -> float:
    """The mean CPU time of a call, in ms, over as many as take 0.3 s."""
    begun, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - begun < 0.3:
        work()
        calls += 1
    return 1000 * (time.process_time() - begun) / calls


def measure(case: Case, rounds: int) -> tuple[dict[str, list[float]], dict[str, Scores]]:
    """Per library its time in every round, and its numbers; the first call of each is not timed."""
    scores = {name: library(case) for name, library in LIBRARIES.items()}
    times: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for _ in range(rounds):
        for name, library in LIBRARIES.items():
            times[name].append(cpu_ms(lambda run=library: run(case)))
    return times, scores


def ratio(times: dict[str, list[float]], mine: str, theirs: str) -> list[float]:
    """How many times as fast, round by round."""
    return [b / a for a, b in zip(times[mine], times[theirs], strict=True)]


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and between what it lies."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def by_tree(here: Mask, there: Mask) -> NDArray[np.float64]:
    """A k-d tree over one boundary, asked for the voxels of the other that it lacks."""
    found = np.zeros(np.count_nonzero(here))
    apart = np.argwhere(here & ~there)
    tree = cKDTree(np.argwhere(there), balanced_tree=False, compact_nodes=False)
    found[: len(apart)] = tree.query(apart)[0] if len(apart) else 0
    return found


def by_transform(here: Mask, there: Mask) -> NDArray[np.float64]:
    """A distance transform of the box."""
    found: NDArray[np.float64] = ndimage.distance_transform_edt(~there)[here]
    return found


def both_ways(
    way: Callable[[Mask, Mask], NDArray[np.float64]], reference: Mask, prediction: Mask
) -> Distances:
    """Between the boundaries, in the box that holds both."""
    box = surfaces.bounding_box(reference | prediction)
    here, there = surfaces.boundary(reference[box]), surfaces.boundary(prediction[box])
    return way(here, there), way(there, here)


def worst(reference: Mask, prediction: Mask) -> list[str]:
    """The times of three ways, and the largest difference between their distances."""

    def kernels() -> Distances:
        found = surfaces.surface_distances(reference, prediction, (1.0, 1.0, 1.0))
        return found.reference_to_prediction, found.prediction_to_reference

    ways: list[Callable[[], Distances]] = [
        kernels,
        lambda: both_ways(by_tree, reference, prediction),
        lambda: both_ways(by_transform, reference, prediction),
    ]
    kernels()
    told, found = [], []
    for way in ways:
        kept: list[Distances] = []
        told.append(f"{cpu_ms(lambda way=way, kept=kept: kept.append(way())):.0f}")
        found.append([np.sort(values) for values in kept[0]])
    apart = max(float(np.abs(a - b).max()) for k in (1, 2) for a, b in zip(found[0], found[k], strict=True))
    return [*told, f"{apart:.0e}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def result(case: Case, times: dict[str, list[float]], scores: dict[str, Scores]) -> str:
    """The section of a case."""
    rows = []
    for name, values in times.items():
        mine = AGREE.get(name)
        apart = [f"{x:.0e}" for x in np.abs(scores[name] - scores[mine]).max(axis=1)] if mine else [""] * 3
        numbers = [" ".join(f"{x:.3f}" for x in line) for line in scores[name]]
        rows.append([name, spread(values, 1), *numbers, *apart])
    differ = [f"{what}: difference" for what in ("Dice", "HD95", "surface Dice")]
    lines = table(["library", "CPU ms", "Dice", "HD95, mm", "surface Dice", *differ], rows)
    ratios = [f"{a} is {spread(ratio(times, a, b), 1)} times as fast as {b}." for a, b in RATIOS]
    return f"## {case.name}\n\n{case.told}.\n\n{lines}\n\n" + "\n".join(f"- {line}" for line in ratios)


def about() -> str:
    """What was measured where."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    packages = ("monai", "surface-distance", "SimpleITK", "torch", "numpy", "scipy", "numba")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    busy = f"one thread; {os.getloadavg()[0]:.0f} busy processes on {os.cpu_count()} cores at the start"
    return f"{date.today()}, {next(names, platform.machine())}, {busy}; {versions}."


EXPLAINED = f"""\
CPU ms of one call: the median of the rounds, and the range. Ratios are taken within a round.
{"x".join(map(str, SHAPE))} voxels, 3 classes, tolerance {TOLERANCE:g} mm. Differences are the largest over
the classes: of MONAI and SimpleITK to medseg, of DeepMind to medseg by area. SimpleITK has no surface Dice:
its distance maps are read at its contours, and do not measure between quite the same voxels.
Written by `make bench-metrics`."""


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; 1 where a ratio does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("MEDSEG_SHARED_DATA", HERE.parents[1] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="where acdc/ is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", help="some of synthetic, islands, real, hard; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "metrics.md")
    asked = parser.parse_args(words)
    text, failed, first = [f"# Metrics beside the peers\n\n{about()}\n\n{EXPLAINED}"], [], None
    for case in cases(asked.data):
        first = first or case
        if asked.cases and case.name not in asked.cases:
            continue
        times, scores = measure(case, asked.rounds)
        text.append(result(case, times, scores))
        print(text[-1], flush=True)
        failed += [
            f"{case.name}: less than {least:g} times as fast as {peer}"
            for peer, least in MUST_HOLD.items()
            if statistics.median(ratio(times, "medseg", peer)) < least
        ]
    if first and (not asked.cases or "hard" in asked.cases):
        rows = [[name, *worst(a, b)] for name, a, b in hard(first.reference)]
        head = ["one class", "medseg", "k-d tree", "distance transform", "largest difference, mm"]
        text.append(f"## Hard cases\n\nCPU ms of both directions' distances, 1 mm.\n\n{table(head, rows)}")
        print(text[-1])
    print(*failed, sep="\n", file=sys.stderr)
    write_text(asked.out, "\n\n".join(text) + "\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
