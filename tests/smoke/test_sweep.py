"""Sweeps and searches on this machine: processes of their own, killed and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.cli import main


@pytest.fixture
def small(words: list[str]) -> list[str]:
    """The smallest training that has scores."""
    kept = [word for word in words if not word.startswith(("training.steps", "training.v"))]
    return [
        *kept[1:], "training.steps=2", "training.validation_patches=0", "training.volume_validations=0",
        "training.threads=1", "evaluation.metrics=[dice]", "evaluation.bootstrap=20",
    ]  # fmt: skip


def test_two_jobs_at_once_after_a_batch_of_their_shape(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "runs" / "balls"
    sweep = ["train", "-m", *small, "seed=0,1", "hydra/launcher=joblib", "yes=true"]
    assert main(sweep) == 0
    said = capsys.readouterr()
    assert "trying seed=0 (1 of 1)" in said.err, "both are of one shape"
    row = next(line.split() for line in said.out.splitlines() if "seed=0" in line)
    assert row[1:4] == ["seed=0", "new", "2"]
    assert float(row[4]) >= 0
    assert float(row[6]) > 0.1, "GB of the process"
    assert row[7:] == ["2", "of", "16x16x16"]
    assert not list(study.glob(".trial-*"))
    runs = sorted(path.name for path in study.glob("*/record.json") for path in [path.parent])
    assert runs == sorted(path.stem for path in (study / ".sweep").glob("*.yaml"))
    assert all((study / ".sweep" / f"{run}.log").stat().st_size for run in runs)
    assert main(["status", str(study)]) == 0
    assert main(sweep) == 0
    assert "0 to run, 2 done" in capsys.readouterr().out


def test_a_batch_that_cannot_be_trained_stops_the_sweep(
    small: list[str], balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is sound; that the cohort is not is found by the batch, and before the first job."""
    broken = tmp_path / "broken"
    shutil.copytree(balls, broken)
    for file in (broken / "imagesTr").iterdir():
        file.write_bytes(b"no scan")
    words = [word for word in small if not word.startswith("data.root")]
    assert main(["train", "-m", *words, f"data.root={broken}", "seed=0,1", "yes=true"]) == 2
    assert "(in seed=0)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_failed_run_says_why(small: list[str], balls: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(balls, broken)
    (broken / "imagesTr" / "case_03_0000.nii.gz").write_bytes(b"no scan")
    words = [word for word in small if not word.startswith("data.root")]
    assert main(["train", *words, f"data.root={broken}", "id=broken"]) == 2
    record = json.loads((tmp_path / "runs" / "balls" / "broken" / "record.json").read_text())
    assert record["status"] == "failed"
    assert "case_03_0000.nii.gz" in record["reason"]


def test_a_killed_search_goes_on_with_the_trial_it_was_at(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "runs" / "balls"
    search = [
        "train", "-m", *small, "hydra/sweeper=optuna", "hydra.sweeper.trials=3",
        "preflight=check", "yes=true",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))", "optimizer=choice(adam,sgd)",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "medseg.cli", *search], stdout=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 300
    while len(list((study / ".sweep").glob("*.yaml"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    drawn = {path.name for path in (study / ".sweep").glob("*.yaml")}
    assert len(drawn) == 2
    assert main(search) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("trial")] == [
        "trial 2 of 3", "trial 3 of 3"
    ]  # fmt: skip
    assert "best of 3: dice" in out
    files = {path.name for path in (study / ".sweep").glob("*.yaml")}
    assert drawn < files
    assert len(files) == 3
    assert main(search) == 0, "nothing is left to do"
    assert main([*search[:-1], "optimizer=choice(adam,adamw)"]) == 2
    assert "holds a search over another space" in capsys.readouterr().err
