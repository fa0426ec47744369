"""Mask R-CNN on pictures of blobs, in a process of its own: train, predict, evaluate."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.cli import main

SIDE, CASES, NEW = 32, 15, 4


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """One or two bright discs in noise, and their label map."""
    rng = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1)
    label = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(rng.integers(1, 3)):
        centre, radius = rng.uniform(6, SIDE - 6, 2), rng.uniform(3, 5)
        label[np.linalg.norm(grid - centre, axis=-1) < radius] = 1
    image = np.clip(60 + 110.0 * label + rng.normal(0, 20, label.shape), 0, 255)
    return image.astype(np.uint8), label


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in the nnU-Net v2 layout."""
    root = tmp_path_factory.mktemp("cohort") / "blobs"
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    for number in range(CASES + NEW):
        image, label = draw(number)
        folder = "imagesTr" if number < CASES else "imagesTs"
        Image.fromarray(image).save(root / folder / f"blob_{number:02d}_0000.png")
        if number < CASES:
            Image.fromarray(label).save(root / "labelsTr" / f"blob_{number:02d}.png")
    description = {
        "channel_names": {"0": "photo"},
        "labels": {"background": 0, "blob": 1},
        "numTraining": CASES,
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


IN_TURN = "import json, sys; from medseg.cli import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"


def test_it_finds_blobs(blobs: Path, tmp_path: Path) -> None:
    run, output = tmp_path / "runs" / "blobs" / "one", tmp_path / "out"
    train = [
        "train", "network=mask_rcnn_small", "objective=instances", "network.width=32", "network.norm=group",
        "network.proposals=40", "network.detections=10", "network.regions_per_image=24", "data=folder",
        f"data.root={blobs}", f"data.cache={tmp_path / 'cache'}", f"runs={tmp_path / 'runs'}", "name=blobs",
        "id=one", "tracking=local", "training.minutes=null", "training.steps=40", "training.epoch_steps=20",
        "training.volume_validations=1", "training.validation_patches=4", "training.threads=1",
        "plan.patch_size=[32,32]", "plan.batch_size=6", "inference.flips=false",
    ]  # fmt: skip
    predict = ["predict", f"model={run}", f"input={blobs / 'imagesTs'}", f"output={output}"]
    verbs = [train, predict, ["evaluate", f"run={run}", "part=validation"]]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(verbs)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logged = {row["name"] for row in csv.DictReader((run / "metrics.csv").open())}
    terms = {"loss", "objectness", "proposal_box", "classifier", "box", "mask"}
    assert {f"train/{term}" for term in terms} | {"validation_volume/dice"} <= logged
    rows = [row for row in csv.DictReader((run / "cases.csv").open()) if row["metric"] == "dice"]
    assert np.mean([float(row["value"]) for row in rows]) > 0.3, "to find nothing gives 0, to find all 0.1"
    shared = []
    for number in range(CASES, CASES + NEW):
        _, reference = draw(number)
        found = np.asarray(Image.open(output / f"blob_{number:02d}.png"))
        assert {*np.unique(found)} <= {0, 1}
        ids = np.asarray(Image.open(output / f"blob_{number:02d}_instances.png"))
        lines = list(csv.DictReader((output / f"blob_{number:02d}_objects.csv").open()))
        assert [int(line["pixels"]) for line in lines] == np.bincount(ids.ravel())[1:].tolist()
        assert all(line["label"] == "blob" and float(line["score"]) >= 0.5 for line in lines)
        shared.append(2 * ((found == 1) & (reference == 1)).sum() / (found.sum() + reference.sum()))
    assert np.mean(shared) > 0.3


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (["network=mask_rcnn"], "use objective=instances"),
        (["objective=instances"], "use network=mask_rcnn"),
        (["network=mask_rcnn", "objective=instances", "fusion=late"], "use fusion=early"),
        (["network=mask_rcnn", "objective=instances", "fusion=mid"], "cannot be split"),
        (["network=mask_rcnn", "objective=instances", "plan.spatial_dims=3"], "does not exist in 3D"),
        (["network=mask_rcnn", "objective=instances", "data.regions={all: [1]}"], "use data.labels"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(
    choice: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "data=folder", f"data.root={tmp_path}", f"runs={tmp_path / 'runs'}", "tracking=local"]
    assert main([*words, *choice]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()
