"""``medseg bench data`` as a process of its own, on a few tiny phantoms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.config.folders import read_root
from medseg.config.roots import MEASURED
from medseg.config.verbs.bench import BENCHES

TINY = [
    "data.phantom.cases=6", "data.phantom.repeats=0", "data.phantom.unlabelled=0", "data.phantom.empty=0",
    "data.phantom.missing=0", "data.phantom.shape=[24,24,16]", "split.folds=2", "training.threads=1",
    "plan.patch_size=[16,16,16]", "plan.batch_size=2", "plan.width=4", "network.convs_per_level=1",
]  # fmt: skip


def medseg(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medseg.cli", *words],
        cwd=folder, env=os.environ | {"MEDSEG_CACHE": str(folder.parent / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_measures_and_recommends_and_leaves_nothing_but_the_store(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = medseg(work, "bench", "data", *TINY, "patches=6", "workers=[2,0]", "output=bench.json")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in work.iterdir()} == {"bench.json"}
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["workers", "patches/s"] for line in lines), done.stdout
    for begin in ("one thread makes a patch in", "a training step takes", "recommended: training.workers="):
        assert sum(line.startswith(begin) for line in lines) == 1, done.stdout

    found = json.loads((work / "bench.json").read_text())
    assert [row["workers"] for row in found["rows"]] == [0, 2]
    assert found["recommended"]["workers"] in (0, 2)
    assert found["patch_size"] == [16, 16, 16]
    assert found["versions"]["torch"]
    for row in found["rows"]:
        assert row["patches"] == 6
        assert 0 <= row["expected_wait"] < 1
        assert 0 < row["first_batch"] <= row["seconds"]
        assert row["memory_mb"] > 1
        assert row["cpu_seconds"] > 0
    assert found["checked_step_seconds"] > 0
    assert found["seconds_per_patch"]["reading"] > 0


@pytest.mark.parametrize("choice", [["queue=torchio", "queue.length=4"], ["seconds=0.01", "workers=[1]"]])
def test_other_queues_and_extents(
    choice: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    few = [] if "seconds=0.01" in choice else ["patches=4", "workers=[0]"]
    assert main(["bench", "data", *TINY, *few, *choice]) == 0
    assert "recommended: training.workers=" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bench", "dta"], "what: 'dta' cannot be measured; medseg bench knows data"),
        (["bench", "what=gpu"], "what: 'gpu' cannot be measured"),
        (["bench", "data", "seconds=0"], "seconds: 0 is out of range"),
        (["bench", "data", "patches=0"], "patches: 0 is less than 1"),
        (["bench", "data", "workers=[-1]"], "workers: [-1] names no numbers of workers"),
        (["bench", "data", "output=nowhere/b.json"], "output: nowhere/b.json cannot be a file; name a file"),
        (["bench", "data", "data.root=nowhere"], "data.root: there is no folder nowhere"),
        (["bench", "data", "more"], "more: is not KEY=VALUE"),
        (["train", "data"], "data: is not KEY=VALUE"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(line)


def test_any_training_can_be_measured() -> None:
    """The same choices with the same defaults, so that a training's words and experiments fit."""
    assert read_root("bench").defaults == read_root("train").defaults


def test_all_that_can_be_measured_is_known_to_the_check() -> None:
    assert tuple(BENCHES) == MEASURED


def test_help_of_the_verb_and_of_its_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "data", "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: medseg bench WHAT [key=value ...]")
    assert "numbers of workers" in told
    assert main(["bench", "data", "--help", "queue"]) == 0
    assert "queue=torchio" in capsys.readouterr().out
