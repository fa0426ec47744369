"""The real command on several ranks: one run folder, the same stream, exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faults.conftest import Forks
from smoke.running import checkpoint, numbers, same, weights

from .ranked import kill_after, now, record, run, told


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "balls"


def test_two_ranks_train_one_run(forks: Forks, words: list[str], runs: Path) -> None:
    assert run(forks, [*words, "id=one"], 1) == [0]
    assert run(forks, [*words, "id=two", "tracking.wandb=offline"], 2) == [0, 0]
    one, two = runs / "one", runs / "two"
    assert {path.name for path in runs.iterdir()} == {"one", "two"}
    assert {path.name for path in two.iterdir()} - {path.name for path in one.iterdir()} <= {
        "wandb", "pseudonym-salt.txt",
    }  # fmt: skip
    sent = [path.name for path in (two / "wandb").glob("*run-*")]
    assert {name.rpartition("-")[2] for name in sent} == {"two"}, "one W&B run"
    assert len(sent) <= 2, "opened for the training, and again for the scores, by one rank"
    assert record(two)["ranks"] == 2
    assert record(two)["status"] == "finished"
    for (step, name, value), (step_2, name_2, value_2) in zip(numbers(one), numbers(two), strict=True):
        assert (step, name) == (step_2, name_2)
        if value is not None and name.startswith("train/"):
            assert value_2 == pytest.approx(value, rel=0.02), name  # the Dice of half a batch is another
    rows = [[line.split(",")[:6] for line in (r / "cases.csv").read_text().splitlines()] for r in (one, two)]
    assert rows[0] == rows[1], "each case once, in the same order"
    assert {k: type(v) for k, v in record(two)["costs"].items()} == {
        "train_minutes": float, "gpu_hours": float, "peak_memory_gb": float, "parameters": int, "steps": int,
    }  # fmt: skip
    assert record(two)["costs"]["parameters"] == sum(w.numel() for w in weights(two).values())


def test_killed_ranks_go_on_to_the_same_bits_and_others_to_the_same_stream(
    forks: Forks, words: list[str], runs: Path
) -> None:
    assert run(forks, [*words, "id=whole"], 2) == [0, 0]
    for name in ("same", "fewer"):
        codes = kill_after(forks, [*words, f"id={name}"], 2, runs / name, 2)
        assert codes[0] == -9
        assert codes[1] > 0
        assert not (runs / name / "model").exists()
    assert run(forks, [*words, "id=same"], 2) == [0, 0]
    assert same(weights(runs / "whole"), weights(runs / "same"))
    assert numbers(runs / "whole") == numbers(runs / "same")
    since = now(forks)
    assert run(forks, [*words, "id=fewer"], 1) == [0]
    assert "the ranks were 2 and are 1: the same samples, sums of other last bits" in told(forks, since)
    left, right = weights(runs / "whole"), weights(runs / "fewer")
    assert all(torch.allclose(left[name], right[name], rtol=0.05, atol=5e-3) for name in left)


def test_killed_ranks_of_a_mean_teacher_go_on_to_the_same_bits(
    forks: Forks, words: list[str], runs: Path
) -> None:
    """Student, teacher and optimizer, from both streams."""
    few = [*words, "objective=mean_teacher", "split.labelled=3"]
    assert run(forks, [*few, "id=whole"], 2) == [0, 0]
    kill_after(forks, [*few, "id=killed"], 2, runs / "killed", 2)
    assert not (runs / "killed" / "model").exists()
    assert run(forks, [*few, "id=killed"], 2) == [0, 0]
    assert same(weights(runs / "whole"), weights(runs / "killed"))
    assert same(checkpoint(runs / "whole"), checkpoint(runs / "killed"))
    assert numbers(runs / "whole") == numbers(runs / "killed")


def test_stages_are_frozen_and_freed_on_two_ranks_as_on_one(
    forks: Forks, words: list[str], runs: Path
) -> None:
    """With the cross-entropy and no clipping the gradient of a batch is the mean of its halves'."""
    asked = [
        *words, "loss=cross_entropy", "optimizer=sgd", "optimizer.lr=0.05", "training.clip_norm=0",
        "finetuning.frozen_stages=2", "finetuning.unfreeze_epochs=[1,2]", "finetuning.stage_decay=0.5",
        "training.volume_validations=0", "training.steps=3", "training.epoch_steps=1",
        "training.precision=32-true",
    ]  # fmt: skip
    for world in (1, 2):
        assert run(forks, [*asked, f"id=on{world}"], world) == [0] * world
    one, two = weights(runs / "on1"), weights(runs / "on2")
    assert all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5) for name in one)
