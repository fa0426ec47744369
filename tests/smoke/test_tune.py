"""Post-processing chosen, stored, refused where it was chosen; what a prediction brings beside labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.cli import main
from medseg.files import file_hash
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble_bundle import load_model
from medseg.training.tune_study import fold_finishes, overall_finish


def test_a_run_and_a_study_are_tuned(
    words: list[str], balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [
        "training.steps=40",
        "training.volume_validations=0",
        "training.threads=1",
        "evaluation.bootstrap=20",
    ]
    folds = ["split.folds=2", "split.test_share=0.2"]
    for fold in (0, 1):
        assert main([*words, *few, *folds, "evaluation.metrics=[dice]", f"fold={fold}", f"id=f{fold}"]) == 0
    study = tmp_path / "runs" / "balls"
    run = study / "f0"
    before = file_hash(run / "model" / "weights.safetensors")

    assert main(["tune", f"study={study}"]) == 0
    assert sorted(fold_finishes(study)) == [0, 1]
    tuned = json.loads((study / "tuning.json").read_text())
    assert {*tuned["out_of_fold"]["dice"]} == {"large", "small"}
    overall = tuned["overall"]
    assert overall_finish(study) == load_model([study / "ensemble"]).finish
    ensemble = load_model([study / "ensemble"])
    assert len(ensemble.bundles) == 2
    assert list(ensemble.finish.postprocess) == overall["postprocess"]
    assert Bundle.load(run / "model").finish.decides == {"postprocess": [], "temperature": 1.0}

    assert main(["tune", f"run={run}", "least=0", "noise=0"]) == 0
    bundle = Bundle.load(run / "model")
    assert file_hash(run / "model" / "weights.safetensors") == before
    chosen = json.loads((run / "tuning.json").read_text())
    assert bundle.finish.temperature == chosen["temperature"]
    assert bundle.finish.temperature != 1, "six steps do not calibrate"
    assert not list(run.glob(".tuning-*"))
    patients = json.loads((run / "split.json").read_text())["patients"]
    assert {p for p, part in patients.items() if bundle.finish.tuned(p)} == {
        p for p, part in patients.items() if part == 0
    }

    capsys.readouterr()
    assert main(["evaluate", f"run={run}", "part=validation"]) == 2
    assert "chosen on" in capsys.readouterr().err
    assert main(["evaluate", f"run={run}", "part=validation", "postprocess=none"]) == 0
    more = ["inference.uncertainty=true", "inference.probabilities=true", "inference.flips=true"]
    assert main(["evaluate", f"run={run}", "part=test", *more]) == 0
    review = json.loads((run / "review.json").read_text())["test"]
    assert review["n"] == sum(part == "test" for part in patients.values())
    files = {path.name for path in (run / "predictions" / "test").iterdir()}
    case = review["points"][0]["case"]
    assert {
        f"{case}{end}"
        for end in (".nii.gz", "_uncertainty.nii.gz", "_disagreement.nii.gz", "_probabilities.npz")
    } <= files

    out = tmp_path / "out"
    words = ["predict", f"model={study / 'ensemble'}", f"input={balls / 'imagesTr'}", f"output={out}"]
    assert main([*words, *more]) == 0
    listed = list(csv.DictReader((out / "review.csv").open()))
    assert len(listed) == 12
    assert [float(row["predicted_dice"]) for row in listed] == sorted(
        float(r["predicted_dice"]) for r in listed
    )
    with np.load(out / "case_00_probabilities.npz", allow_pickle=False) as archive:
        found = archive["probabilities"]
    assert (found.dtype, found.shape) == (np.float16, (3, 20, 18, 16))
    np.testing.assert_allclose(found.astype(np.float32).sum(0), 1, atol=5e-3)
    capsys.readouterr()
    assert main(["evaluate", f"predictions={out}", "data=folder", f"data.root={balls}"]) == 2
    assert "trained on" in capsys.readouterr().err


def test_what_cannot_be_tuned_or_dropped_is_refused(
    words: list[str], tmp_path: Path, balls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "id=one", "training.steps=2"]) == 0
    run = tmp_path / "runs" / "balls" / "one"
    capsys.readouterr()
    assert main(["tune", f"study={tmp_path / 'runs' / 'balls'}"]) == 2
    assert "has runs of 1 folds" in capsys.readouterr().err
    assert main(["tune", f"run={run}", "steps=[tresholds]"]) == 2
    assert "cannot be tuned" in capsys.readouterr().err
    words = ["predict", f"model={run}", f"input={balls / 'imagesTr'}", f"output={tmp_path / 'out'}"]
    assert main([*words, "inference.mc_dropout=1"]) == 2
    assert main([*words, "inference.mc_dropout=4"]) == 2
    told = capsys.readouterr().err
    assert "use 0, or 2 and more" in told
    assert "was trained without dropout" in told
    assert not (tmp_path / "out").exists()
