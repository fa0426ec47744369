"""Labels of a few strokes, all else ignored: they train, and their class sizes give the weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.morphology import skeletonize

from medseg.cli import main
from medseg.data.phantom import PhantomSettings, ensure_phantom
from medseg.tracking.local import read_metrics

IGNORE = 9


def thin(file: Path) -> np.ndarray:
    """The middle line of each class in each slice stays, the rest is ignored."""
    image = nib.load(file)
    label = np.asarray(image.dataobj).astype(np.uint8)
    drawn = np.full(label.shape, IGNORE, np.uint8)
    for value in np.unique(label):
        for k in range(label.shape[2]):
            drawn[..., k][skeletonize(label[..., k] == value)] = value
    nib.save(nib.Nifti1Image(drawn, image.affine), file)
    return drawn


@pytest.fixture(scope="module")
def scribbles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The phantom with scribbles for labels, and those of each case."""
    root = tmp_path_factory.mktemp("scribbles")
    settings = PhantomSettings(cases=8, shape=(24, 24, 16), repeats=0, unlabelled=2, empty=0, missing=0)
    folder = root / "cohort"
    shutil.copytree(ensure_phantom(settings, root / "made"), folder)
    files = [file for file in folder.rglob("*.nii.gz") if "label" in str(file.relative_to(folder))]
    return folder, {file.name.split(".")[0]: thin(file) for file in files}


@pytest.mark.parametrize("objective", ["supervised", "mean_teacher", "unimatch"])
def test_a_training_on_scribbles(
    objective: str, scribbles: tuple[Path, dict[str, np.ndarray]], cache: Path, tmp_path: Path
) -> None:
    root, drawn = scribbles
    assert len(drawn) == 6
    assert np.mean([(label != IGNORE).mean() for label in drawn.values()]) < 0.15
    words = [
        "train", "data=phantom", f"data.root={root}", f"data.ignore={IGNORE}",
        f"data.cache={cache}", "training.threads=1",
        "loss=cross_entropy", "loss.class_weights=balanced_sqrt", f"objective={objective}",
        f"runs={tmp_path}", "name=scribbles", "id=one", "tracking=local", "split.folds=2",
        "training.minutes=null", "training.steps=4", "training.epoch_steps=2",
        "training.validation_patches=2",
        "training.volume_validations=1", "training.volume_cases=1", "plan.patch_size=[16,16,8]",
        "plan.batch_size=2", "plan.width=4", "inference.flips=false",
    ]  # fmt: skip
    assert main(words) == 0
    run = tmp_path / "scribbles" / "one"
    rows = read_metrics(run / "metrics.csv")
    losses = [row["value"] for row in rows if row["name"] == "train/loss"]
    assert losses
    assert np.isfinite(losses).all()
    assert any(row["name"].startswith("validation_volume/dice") for row in rows)
    record = json.loads((run / "record.json").read_text())
    patients = json.loads((run / "split.json").read_text())["patients"]
    held_out = {patient for patient, part in patients.items() if part == 0}
    counted = {str(code): 0 for code in range(4)}
    cases = {case: patient for case, patient in cases_of(root) if case in drawn and patient not in held_out}
    for case in cases:
        for code in range(4):
            counted[str(code)] += int((drawn[case] == code).sum())
    assert record["class_voxels"] == {code: n for code, n in counted.items() if n}, "what is ignored is not"
    total = sum(counted.values())
    expected = [(total / (4 * n)) ** 0.5 for n in counted.values()]
    assert record["class_weights"] == {"loss.class_weights": pytest.approx(expected)}


def cases_of(root: Path) -> list[tuple[str, str]]:
    """Case and patient of each row of the table."""
    with (root / "cases.csv").open() as file:
        return [(row["id"], row["patient"]) for row in csv.DictReader(file)]
