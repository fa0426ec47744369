"""Sharded networks: the same numbers as with whole ones, whole checkpoints, a teacher that follows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faults.conftest import Forks
from smoke.running import numbers, same, weights

from .ranked import kill_after, run


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], id="plain"),
        pytest.param(["objective=mean_teacher", "split.labelled=4"], id="teacher", marks=pytest.mark.slow),
    ],
)
def test_shards_train_as_whole_networks_and_resume(
    forks: Forks, words: list[str], tmp_path: Path, extra: list[str]
) -> None:
    runs = tmp_path / "runs" / "balls"
    asked = [
        *words, *extra, "training.precision=32-true", "training.steps=4", "training.volume_validations=1"
    ]  # fmt: skip
    assert run(forks, [*asked, "id=ddp"], 2) == [0, 0]
    asked += ["training.strategy=fsdp"]
    assert run(forks, [*asked, "id=whole"], 2) == [0, 0]
    codes = kill_after(forks, [*asked, "id=killed"], 2, runs / "killed", 1)
    assert codes[0] == -9
    assert codes[1] > 0
    assert run(forks, [*asked, "id=killed"], 2) == [0, 0]
    left, whole, killed = (weights(runs / name) for name in ("ddp", "whole", "killed"))
    assert same(whole, killed), "moments and teacher are as if nothing had happened"
    assert all(torch.allclose(left[name], whole[name], rtol=1e-2, atol=2e-3) for name in left)
    names = [[row[:2] for row in numbers(runs / name)] for name in ("ddp", "whole", "killed")]
    assert names[0] == names[1] == names[2]
