"""A model of two modalities is scored without either of them, by the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medseg.cli import main


def test_every_subset_of_the_modalities_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    cohort = [
        "data.phantom.cases=6", "data.phantom.repeats=0", "data.phantom.unlabelled=0", "data.phantom.empty=0",
        "data.phantom.missing=0", "data.phantom.shape=[24,24,16]",
    ]  # fmt: skip
    train = [
        "train", *cohort, "split.folds=2", f"runs={tmp_path / 'runs'}", "name=phantom", "id=one",
        "tracking=local", "training.minutes=null", "training.steps=2", "training.epoch_steps=2",
        "training.volume_validations=0", "training.validation_patches=0", "training.threads=1",
        "plan.patch_size=[16,16,16]", "plan.batch_size=2", "plan.width=4", "inference.flips=false",
        "augmentation.modality_dropout_probability=0.3", "evaluation.metrics=[hd95,surface_dice]",
        "evaluation.bootstrap=20",
    ]  # fmt: skip
    assert main(train) == 0
    run = tmp_path / "runs" / "phantom" / "one"
    capsys.readouterr()
    assert main(["evaluate", f"run={run}", "part=validation", "missing=all"]) == 0
    printed = capsys.readouterr().out
    subsets = ["t1+flair", "t1", "flair"]
    assert [line.split(":")[0] for line in printed.splitlines() if "cases scored" in line] == subsets
    assert "by the modalities that are there" in printed
    assert "trained on cases that lacked some" in printed

    rows = list(csv.DictReader((run / "missing" / "validation.csv").open()))
    held_out = {
        patient
        for patient, part in json.loads((run / "split.json").read_text())["patients"].items()
        if part == 0
    }
    for subset in subsets:
        assert {row["patient"] for row in rows if row["part"] == subset} == held_out
        written = {
            path.name.split(".")[0] for path in (run / "missing" / "validation" / subset).glob("*.nii.gz")
        }
        assert written == {row["case"] for row in rows if row["part"] == subset}
    assert list(json.loads((run / "missing" / "validation.json").read_text())) == subsets
    assert main(["evaluate", f"run={run}", "part=train", "missing=all"]) == 2
