"""Objects found in windows become objects of the file: each once, on its grid, with its numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from medseg.contracts import Labels
from medseg.data.formats import Volume, read_volume
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import save_bundle
from medseg.inference.ensemble import objects_prepared, predict_prepared, prepare
from medseg.inference.objects import Found, told_apart
from medseg.inference.predict import predict_folder
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings

from .toys import EARLY, TWO_CLASSES, flat_plan

PLAIN = InferenceSettings(flips=False, device="cpu", precision="32")


class Bright(nn.Module):
    """Finds what is brighter than one half: class 1, above 2 class 2; as sure as it is bright, to 1."""

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        codes = torch.zeros(image.shape[0], *image.shape[2:], dtype=torch.int64)
        for index, (masks, labels, _) in enumerate(self.objects(image, 0.0)):
            for mask, label in zip(masks, labels, strict=True):
                codes[index][mask] = label
        logits = 20.0 * nn.functional.one_hot(codes, 3).moveaxis(-1, 1).float()
        return (logits,)

    def objects(self, image: Tensor, least: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        answers = []
        for one in image[:, 0].numpy():
            parts, count = ndimage.label(one > 0.5)
            masks = [parts == k for k in range(1, count + 1)]
            tops = [float(one[mask].max()) for mask in masks]
            scores = [min(top % 2, 1.0) for top in tops]
            sure = [k for k, score in enumerate(scores) if score >= least]
            stack = np.stack([masks[k] for k in sure]) if sure else np.zeros((0, *one.shape), bool)
            codes = torch.tensor([1 + (tops[k] > 2) for k in sure], dtype=torch.int64)
            answers.append((torch.from_numpy(stack), codes, torch.tensor([scores[k] for k in sure])))
        return answers


def scene(seed: int, shape: tuple[int, int, int] = (40, 36, 3)) -> tuple[np.ndarray, int]:
    """Small rectangles that do not touch, each with a brightness of its own; and how many."""
    rng, image, count = np.random.default_rng(seed), np.zeros(shape, np.float32), 0
    for k in range(shape[2]):
        for i in range(1, shape[0] - 6, 7):
            for j in range(1, shape[1] - 6, 7):
                if rng.random() < 0.5:
                    w, h = rng.integers(2, 4, 2)
                    x, y = i + rng.integers(0, 3), j + rng.integers(0, 3)
                    image[x : x + w, y : y + h, k] = 0.6 + 0.01 * rng.integers(0, 39) + 2 * rng.integers(0, 2)
                    count += 1
    return image, count


def volume(image: np.ndarray, affine: np.ndarray, path: Path) -> Volume:
    nib.save(nib.Nifti1Image(image, affine), path)
    return read_volume(path)


AFFINES = {
    "straight": np.diag([1.0, 1.0, 3.0, 1.0]),
    "flipped": np.diag([-1.0, 1.0, -3.0, 1.0]),
    "turned": np.array([[0, 1, 0, 0], [0, 0, 3, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("networks", [1, 2])
def test_every_object_is_found_once_on_the_files_grid(name: str, networks: int, tmp_path: Path) -> None:
    affine = AFFINES[name]
    image, count = scene(3)
    # The slices of the plan are those across the axis of 3 mm, wherever it points.
    axes = {"straight": (0, 1, 2), "flipped": (0, 1, 2), "turned": (0, 2, 1)}[name]
    plan = flat_plan(axes=axes, spacing=(1.0, 1.0, 3.0), patch_size=(16, 16))
    read = volume(image, affine, tmp_path / "scan.nii.gz")
    predictors = [Predictor([Bright() for _ in range(networks)], plan, TWO_CLASSES, PLAIN)]
    prepared = prepare(predictors, {"MRI": read})
    ids, lines = objects_prepared(predictors, prepared)
    assert ids.shape == image.shape
    assert len(lines) == count == ids.max()
    np.testing.assert_array_equal(ids > 0, image > 0)
    np.testing.assert_array_equal(ids > 0, predict_prepared(predictors, prepared) > 0)
    assert [line.score for line in lines] == sorted((line.score for line in lines), reverse=True)
    for line in lines:
        inside = ids == line.id
        (value,) = {*image[inside].tolist()}
        assert line.label == ("lesion" if value > 2 else "organ")
        assert line.value == (2 if value > 2 else 1)
        assert line.score == pytest.approx(value % 2, abs=1e-5)
        where = np.argwhere(inside)
        assert [line.i0, line.j0, line.k0] == where.min(0).tolist()
        assert [line.i1, line.j1, line.k1] == (where.max(0) + 1).tolist()
        assert line.pixels == inside.sum()
        assert line.area_mm2 == pytest.approx(inside.sum())


def test_objects_come_back_from_another_spacing(tmp_path: Path) -> None:
    image = np.zeros((40, 40, 1), np.float32)
    image[8:16, 8:16], image[24:32, 8:20] = 0.9, 0.8
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    read = volume(image, affine, tmp_path / "scan.nii.gz")
    predictors = [Predictor([Bright()], flat_plan(patch_size=(24, 24)), TWO_CLASSES, PLAIN)]
    ids, lines = objects_prepared(predictors, prepare(predictors, {"MRI": read}))
    assert len(lines) == 2
    for line, size in zip(lines, (64, 96), strict=True):
        assert line.pixels == size
        assert line.area_mm2 == pytest.approx(size / 4)
    np.testing.assert_array_equal(ids > 0, image > 0)


def found(
    low: tuple[int, int], size: tuple[int, int], score: float, code: int = 1, cut: bool = False
) -> Found:
    return Found(code, score, (*low, 0), np.ones((*size, 1), bool), cut)


def test_the_surest_of_several_answers_stays_and_pieces_give_way() -> None:
    whole = found((2, 2), (6, 6), 0.7)
    again = found((2, 3), (6, 6), 0.6)
    piece = found((2, 2), (2, 6), 0.9, cut=True)
    ids, kept = told_apart([again, piece, whole], (20, 20, 1))
    assert kept == [whole]
    assert (ids > 0).sum() == 36
    # Of another class, or beside it, it is another object.
    other, beside = found((2, 2), (6, 6), 0.9, code=2), found((7, 2), (6, 6), 0.8)
    ids, kept = told_apart([whole, other, beside], (20, 20, 1))
    assert [one.score for one in kept] == [0.9, 0.8]
    assert (ids == 1).sum() == 36
    assert (ids == 2).sum() == 30
    large = found((0, 0), (12, 4), 0.6, cut=True)
    ids, kept = told_apart([large, found((12, 0), (6, 4), 0.9, cut=True)], (20, 20, 1))
    assert len(kept) == 2


def test_nothing_found_is_an_empty_map() -> None:
    ids, kept = told_apart([], (4, 5, 1))
    assert not ids.any()
    assert ids.dtype == np.uint16
    assert kept == []


RCNN = {
    "_target_": "medseg.networks.mask_rcnn.MaskRCNN",
    "encoder_name": "tu-mobilenetv3_small_100",
    "width": 16,
    "score_threshold": 0.0,
    "detections": 6,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    plan = flat_plan(patch_size=(32, 32), multiple=32)
    labels = Labels(("organ", "lesion"), ((1,), (2,)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = assemble_network(RCNN, EARLY, plan, labels, False)
    provenance: dict[str, Any] = {"fold": 0, "seed": 0}
    return save_bundle(tmp_path / "m", network, RCNN, EARLY, plan, labels, "toy", provenance, patients=["p"])


def test_predict_writes_a_map_and_a_table_beside_each_mask(model: Path, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    settings = InferenceSettings(flips=False, device="cpu", precision="32", object_score=0.0)
    written = predict_folder([model], scans, output, settings)
    names = {path.name for path in output.iterdir()}
    assert names == {
        f"case{n}{end}" for n in range(3) for end in (".nii.gz", "_instances.nii.gz", "_objects.csv")
    } | {"prediction.json"}
    many = 0
    for path in written.values():
        case = path.name[:5]
        ids = np.asarray(nib.load(output / f"{case}_instances.nii.gz").dataobj)
        scan = nib.load(scans / f"{case}.nii.gz")
        assert ids.shape == scan.shape
        rows = list(csv.DictReader((output / f"{case}_objects.csv").open()))
        assert [int(row["id"]) for row in rows] == list(range(1, len(rows) + 1))
        assert {int(row["pixels"]) for row in rows} == {int((ids == int(r["id"])).sum()) for r in rows}
        many += len(rows)
    assert many
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*_*")}
    predict_folder([model], scans, output, settings)
    assert before == {path.name: path.stat().st_mtime_ns for path in output.glob("*_*")}
    (output / "case1_objects.csv").unlink()
    predict_folder([model], scans, output, settings)
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("*_*")}
    assert {name for name in after if after[name] != before[name]} == {
        "case1_objects.csv",
        "case1_instances.nii.gz",
    }


def test_a_network_of_maps_writes_no_objects(make_bundle: Any, scans: Path, tmp_path: Path) -> None:
    predict_folder([make_bundle()], scans, tmp_path / "out", PLAIN)
    assert not list((tmp_path / "out").glob("*_*"))
