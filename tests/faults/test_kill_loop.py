"""SIGKILL at random moments: what was being done goes on, and no half file is taken for a whole one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from medseg.files import file_hash
from medseg.inference.bundle import Bundle
from medseg.training.checkpoints import NAME, generations
from smoke.running import numbers, same, weights

from .conftest import Forks

COUNTS = [
    pytest.param(10, id="10"),
    pytest.param(50, id="50", marks=pytest.mark.slow),
]
TRAININGS = [COUNTS[0], pytest.param(100, id="100", marks=pytest.mark.slow)]


def killed_after(forks: Forks, words: list[str], seconds: float, environment: dict[str, str]) -> bool:
    """Whether the kill came before the end; an end by itself must be a good one."""
    process = forks.start(words, **environment)
    end = time.monotonic() + seconds
    while time.monotonic() < end and forks.runs(process):
        time.sleep(0.01)
    code = forks.kill(process)
    assert code in (0, -signal.SIGKILL), forks.log.read_text()[-2000:]
    return code != 0


def seconds_of(forks: Forks, words: list[str], environment: dict[str, str]) -> float:
    start = time.monotonic()
    assert forks.run(words, **environment) == 0, forks.log.read_text()[-2000:]
    return time.monotonic() - start


def last_step(run: Path) -> int:
    """Of the newest checkpoint; every one that has a name is whole, and so is every file of the run."""
    for name, read in (
        ("config.yaml", yaml.safe_load),
        ("record.json", json.loads),
        ("split.json", json.loads),
    ):
        if (run / name).exists():
            assert read((run / name).read_text())
    if (run / "model").is_dir():
        Bundle.load(run / "model").network()
    found = generations(run / "checkpoints")
    for path in found:
        match = NAME.fullmatch(path.name)
        assert match
        assert file_hash(path) == match[2]
    return int(found[0].name[:8]) if found else 0


@pytest.mark.parametrize("kills", TRAININGS)
@pytest.mark.parametrize("objective", ["supervised", pytest.param("mean_teacher", marks=pytest.mark.slow)])
def test_training(
    forks: Forks, words: list[str], tmp_path: Path, elsewhere: dict[str, str], objective: str, kills: int
) -> None:
    if objective == "mean_teacher":
        kills //= 2
    words = [*words, f"objective={objective}", "training.epoch_steps=1", "training.volume_validations=1"]
    words += ["split.labelled=5"] if objective == "mean_teacher" else []
    runs = tmp_path / "runs" / "balls"
    assert forks.run([*words, "id=first"], **elsewhere) == 0  # what is made once is there: the store, kernels
    seconds = seconds_of(forks, [*words, "id=whole"], elsewhere)
    rng, done, attempt, steps = np.random.default_rng(kills), 0, 0, 0
    while done < kills:
        run = runs / f"killed-{attempt}"
        if killed_after(forks, [*words, f"id={run.name}"], rng.uniform(0, seconds), elsewhere):
            done += 1
            assert last_step(run) >= steps, "what a checkpoint had kept is lost"
            steps = last_step(run)
        else:
            _equal(run, runs / "whole")
            attempt, steps = attempt + 1, 0
    last = runs / f"killed-{attempt}"
    assert forks.run([*words, f"id={last.name}"], **elsewhere) == 0
    _equal(last, runs / "whole")
    assert list(last.rglob(".tmp-*")) == []


def _equal(run: Path, whole: Path) -> None:
    assert same(weights(run), weights(whole))
    assert numbers(run) == numbers(whole)
    assert (run / "cases.csv").read_bytes() == (whole / "cases.csv").read_bytes()


@pytest.mark.parametrize("kills", COUNTS)
def test_preprocessing(
    forks: Forks, balls: Path, tmp_path: Path, elsewhere: dict[str, str], kills: int
) -> None:
    def command(cache: Path) -> list[str]:
        return [
            "preprocess",
            "data=folder",
            f"data.root={balls}",
            f"data.cache={cache}",
            "plan.patch_size=[16,16,16]",
        ]

    whole, cache = tmp_path / "whole", tmp_path / "killed"
    seconds = seconds_of(forks, command(whole), elsewhere)
    expected = arrays(whole)
    assert len(expected) > 12
    rng, done = np.random.default_rng(kills), 0
    while done < kills:
        if killed_after(forks, command(cache), rng.uniform(0, seconds), elsewhere):
            done += 1
        else:
            assert arrays(cache) == expected
            shutil.rmtree(cache)
    assert forks.run(command(cache), **elsewhere) == 0
    assert arrays(cache) == expected
    left = [path.name for path in cache.rglob("*") if path.name.startswith(".tmp-")]
    assert left == []


def arrays(cache: Path) -> dict[str, str]:
    """Every array of a store and its hash."""
    return {str(path.relative_to(cache)): file_hash(path) for path in sorted(cache.rglob("*.npy"))}


@pytest.mark.parametrize("kills", COUNTS)
def test_prediction(
    forks: Forks, words: list[str], balls: Path, tmp_path: Path, elsewhere: dict[str, str], kills: int
) -> None:
    assert forks.run([*words, "id=model", "training.steps=2"]) == 0
    model = tmp_path / "runs" / "balls" / "model"

    def command(output: Path) -> list[str]:
        return ["predict", f"model={model}", f"input={balls / 'imagesTr'}", f"output={output}"]

    whole, output = tmp_path / "whole", tmp_path / "killed"
    seconds = seconds_of(forks, command(whole), elsewhere)
    expected = {path.name: path.read_bytes() for path in whole.glob("*.nii.gz")}
    assert len(expected) == 12
    rng, done = np.random.default_rng(kills), 0
    while done < kills:
        killed = killed_after(forks, command(output), rng.uniform(0, seconds), elsewhere)
        found = {path.name: path.read_bytes() for path in output.glob("[!.]*.nii.gz")}
        assert all(expected[name] == content for name, content in found.items())
        if killed:
            done += 1
        else:
            assert found == expected
            shutil.rmtree(output)
    assert forks.run(command(output), **elsewhere) == 0
    assert {path.name: path.read_bytes() for path in output.glob("*.nii.gz")} == expected
    assert not [name for name in os.listdir(output) if name.startswith(".tmp-")]
