"""Six epochs are k and then 6 - k, for every k, and within an epoch: the same bits, of all that is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from smoke.running import checkpoint, numbers, same, weights

from .stopping import STOPPED, train

STEPS = 12
SOME = [("mean_teacher", 2)]
CASES = [
    pytest.param(objective, workers, marks=[] if (objective, workers) in SOME else pytest.mark.slow)
    for objective in ("supervised", "mean_teacher")
    for workers in (0, 2)
]


@pytest.mark.parametrize(("objective", "workers"), CASES)
def test_a_run_in_two_parts_is_the_run_in_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, workers: int
) -> None:
    """Two steps to an epoch: even steps are between epochs. Student, teacher, optimizers and metrics."""
    command = [word for word in command if not word.startswith(("training.epoch_steps", "training.steps"))]
    command += [f"training.steps={STEPS}", "training.epoch_steps=2", f"training.workers={workers}"]
    command += [f"objective={objective}"]
    command += ["split.labelled=3"] if objective == "mean_teacher" else []
    assert train(command, monkeypatch, "whole") == 0
    whole = tmp_path / "runs" / "balls" / "whole"
    for step in range(1, STEPS):
        run = whole.parent / f"at{step}"
        assert train(command, monkeypatch, run.name, f"{step}:SIGUSR1") == STOPPED
        assert max(path.name for path in (run / "checkpoints").iterdir())[:8] == f"{step:08d}"
        assert train(command, monkeypatch, run.name) == 0
        assert same(weights(run), weights(whole))
        assert same(checkpoint(run), checkpoint(whole))
        assert numbers(run) == numbers(whole)
        assert (run / "cases.csv").read_bytes() == (whole / "cases.csv").read_bytes()
        shutil.rmtree(run)
