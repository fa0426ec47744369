"""The shortest of the tests on a real SLURM; the others are marked slow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.cli import main
from smoke.running import numbers, same, weights

from .conftest import Slurm

LAUNCHER = [
    "hydra/launcher=slurm", "hydra.launcher.gpus=0", "hydra.launcher.cpus=1", "hydra.launcher.memory_gb=2",
    "hydra.launcher.hours=0.5", "hydra.launcher.array_parallelism=2", "preflight=check", "yes=true",
]  # fmt: skip


def test_a_sweep_through_submitit_goes_on_after_a_signal(
    slurm: Slurm, small: list[str], signalling: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Both jobs stop after their second step and are queued again; their folders and results stay theirs."""
    study = tmp_path / "runs" / "balls"
    monkeypatch.setenv("SIGNALS_AT", "2:SIGUSR2")
    assert main(["train", "-m", *small, *signalling, "seed=0,1", *LAUNCHER]) == 0
    assert "submitted " in capsys.readouterr().out
    assert main(["status", str(study)]) == 1
    assert slurm.wait() == 2, "each is queued again once"
    assert main(["status", str(study)]) == 0, capsys.readouterr().out
    runs = sorted(path.parent for path in study.glob("*/record.json"))
    assert [json.loads((run / "record.json").read_text())["seed"] for run in runs] in ([0, 1], [1, 0])

    monkeypatch.setenv("SIGNALS_AT", "")
    capsys.readouterr()
    assert main(["train", f"resume={study}", "yes=true"]) == 0
    assert "0 to run, 2 done" in capsys.readouterr().out
    first = next(run for run in runs if json.loads((run / "record.json").read_text())["seed"] == 0)
    assert main(["train", *small, *signalling, "seed=0", "id=alone"]) == 0
    assert same(weights(first), weights(study / "alone"))
    assert numbers(first) == numbers(study / "alone")
