"""Few labels and the rest without: a run that is killed goes on to the same bits, teacher included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medseg.cli import main

from .running import checkpoint, kill_at, numbers, same, started, weights


def test_a_killed_mean_teacher_goes_on_to_the_same_bits(words: list[str], tmp_path: Path) -> None:
    few = [*words, "objective=mean_teacher", "split.labelled=3", "training.unlabelled_batch_size=3"]
    assert started([*few, "id=whole"], "1").wait() == 0
    whole, killed = (tmp_path / "runs" / "balls" / name for name in ("whole", "killed"))
    kill_at([*few, "id=killed"], killed, 2, "1")
    assert main([*few, "id=killed"]) == 0
    assert same(weights(whole), weights(killed))
    assert same(checkpoint(whole), checkpoint(killed))
    assert numbers(whole) == numbers(killed)
    record = json.loads((whole / "record.json").read_text())
    assert record["cases"]["train"] == 3
    assert record["cases"]["unlabelled"] > 3
    published = load_file(whole / "model" / "weights.safetensors")
    state = torch.load(max((whole / "checkpoints").glob("*.ckpt")), weights_only=True)["state_dict"]
    teacher = {k.removeprefix("objective.teacher.network."): v for k, v in state.items() if ".teacher." in k}
    student = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    names = [next(n for n in teacher if key.endswith(n)) for key in published]
    assert all(torch.equal(value, teacher[n]) for n, value in zip(names, published.values(), strict=True))
    assert not all(torch.equal(student[n], teacher[n]) for n in names)


def test_without_unlabelled_cases_it_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "objective=mean_teacher", "id=none"]) == 2
    told = capsys.readouterr().err
    assert "split.labelled" in told
    assert "Traceback" not in told
