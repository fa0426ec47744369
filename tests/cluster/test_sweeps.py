"""Sweeps on a real SLURM: frozen jobs, arrays, what is done, lost and gone on with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from medseg.cli import main

from .conftest import Slurm
from .test_quick import LAUNCHER

pytestmark = pytest.mark.slow


def test_six_jobs_are_as_they_were_checked_whatever_is_edited_later(
    slurm: Slurm, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    words = [f"--config-dir={tmp_path / 'own'}", *small, "experiment=mine", "fold=0,1,2"]
    assert main(["train", "-m", *words, "optimizer=adam,sgd", *LAUNCHER]) == 0
    (own / "mine.yaml").write_text("seed: [broken\n")
    study = tmp_path / "runs" / "balls"
    assert main(["status", str(study)]) == 1
    slurm.wait()
    capsys.readouterr()
    assert main(["status", str(study)]) == 0
    assert "6 done" in capsys.readouterr().out
    records = [json.loads(path.read_text()) for path in study.glob("*/record.json")]
    assert {record["seed"] for record in records} == {7}
    assert sorted(record["fold"] for record in records) == [0, 0, 1, 1, 2, 2]


def test_a_killed_job_is_lost_and_alone_is_given_again(
    slurm: Slurm, small: list[str], signalling: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Out of memory looks like this: SIGKILL, and nobody left to write a reason."""
    study = tmp_path / "runs" / "balls"
    monkeypatch.setenv("SIGNALS_AT", "3:SIGKILL")
    words = [*small, *signalling, "seed=0,1", *LAUNCHER, "hydra.launcher.requeue=false"]
    assert main(["train", "-m", *words]) == 0
    slurm.wait()
    capsys.readouterr()
    assert main(["status", str(study)]) == 1
    told = capsys.readouterr().out
    assert "2 lost" in told
    assert "Killed" in told

    monkeypatch.setenv("SIGNALS_AT", "")
    job = next((study / ".sweep").glob("*.yaml"))
    text = job.read_text()
    job.write_text(text.replace("lr: 0.003", "lr: 0.004"))
    assert main(["train", f"resume={study}", *LAUNCHER[:6], "yes=true"]) == 2
    assert "is not the job that was checked" in capsys.readouterr().err
    job.write_text(text)
    assert main(["train", f"resume={study}", *LAUNCHER, "hydra.launcher.wait=true"]) == 0
    assert main(["status", str(study)]) == 0


def test_a_failed_job_says_why(
    slurm: Slurm, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*small, "optimizer.lr=0.003,1e30", "training.clip_norm=0", *LAUNCHER, "hydra.launcher.wait=true"]
    assert main(["train", "-m", *words]) == 2
    assert "the loss is" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "runs" / "balls")]) == 1
    told = capsys.readouterr().out
    assert "1 done, 1 failed" in told
    assert "the loss is" in told


def test_a_preempted_job_goes_on(
    slurm: Slurm, small: list[str], signalling: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a partition that goes first takes its place."""
    monkeypatch.setenv("SLOWLY", "3")
    study = tmp_path / "runs" / "balls"
    words = [*small, *signalling, "training.steps=12", "seed=0", *LAUNCHER, "hydra.launcher.partition=low"]
    assert main(["train", "-m", *words]) == 0
    deadline = time.monotonic() + 300
    while not list(study.glob("*/checkpoints/*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    slurm.ask(
        "sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3"
    )
    assert slurm.wait() >= 1
    assert main(["status", str(study)]) == 0


def test_a_cancelled_job_is_not_queued_again(
    slurm: Slurm, small: list[str], signalling: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOWLY", "3")
    study = tmp_path / "runs" / "balls"
    words = [*small, *signalling, "training.steps=30", "training.epoch_steps=30", "seed=0", *LAUNCHER]
    assert main(["train", "-m", *words]) == 0
    deadline = time.monotonic() + 300
    record: dict[str, object] = {}
    while record.get("status") != "training":
        assert time.monotonic() < deadline
        time.sleep(0.5)
        for path in study.glob("*/record.json"):
            record = json.loads(path.read_text())
    time.sleep(5)
    (job,) = slurm.queue()
    slurm.ask("scancel", job)
    assert slurm.wait(120) == 0
    (path,) = study.glob("*/record.json")
    assert json.loads(path.read_text())["status"] == "stopped"


def test_nothing_runs_that_a_field_smuggles_in(
    slurm: Slurm, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = f"hydra.launcher.comment='x\ntouch {tmp_path}/smuggled'"
    assert main(["train", "-m", *small, "seed=0,1", *LAUNCHER, evil]) == 2
    assert "line break" in capsys.readouterr().err
    assert main(["train", "-m", *small, "seed=0,1", *LAUNCHER, "hydra.launcher.comment='x; $(id) `id`'"]) == 0
    for job in slurm.queue():
        slurm.ask("scancel", job)
    slurm.wait(60)
    assert not (tmp_path / "smuggled").exists()
