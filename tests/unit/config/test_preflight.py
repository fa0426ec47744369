"""Before the first job of a sweep: problems, duplicates, what is done, the answer, the frozen jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg.cli import main
from medseg.config.jobs import load
from medseg.config.trials import shape_of

SWEEP = ["train", "-m", "training.steps=5", "training.minutes=null", "preflight=check"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def finish(run: Path) -> None:
    run.mkdir(parents=True)
    (run / "record.json").write_text(json.dumps({"status": "finished", "steps": 5}))


def jobs_shown(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if "seed=" in line]


def test_two_broken_jobs_of_twelve_are_named_before_the_first_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SWEEP, "yes=true", "fold=0,1,2,3,4,9", "optimizer.lr=0.1,-1"]
    assert main(words) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["fold", "optimizer.lr"]
    assert "fold=9 optimizer.lr=0.1" in told[0]
    assert not list(tmp_path.iterdir())


def test_nobody_to_ask_is_no_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "seed=0,1"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        "yes: 2 jobs are planned and nobody is there to be asked; add yes=true"
    )
    assert [row[1:3] for row in jobs_shown(said.out)] == [["seed=0", "new"], ["seed=1", "new"]]
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_done_and_double_jobs_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "seed=0,1,0"]) == 2
    said = capsys.readouterr()
    assert "2 to run, 0 done or on their way, 1 given twice" in said.out
    rows = jobs_shown(said.out)
    finish(tmp_path / "runs" / "phantom" / rows[0][0])
    assert main([*SWEEP, "seed=0,1"]) == 2
    assert [row[2] for row in jobs_shown(capsys.readouterr().out)] == ["done", "new"]
    finish(tmp_path / "runs" / "phantom" / rows[1][0])
    assert main([*SWEEP, "seed=0,1"]) == 0, "nothing is left to ask about"


def test_the_table_is_the_same_for_the_same_choices_made_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = []
    for words in (["seed=0,1", "optimizer=adamw"], ["seed=range(0,2)"]):
        main([*SWEEP, *words])
        ids.append([row[0] for row in jobs_shown(capsys.readouterr().out)])
    assert ids[0] == ids[1]


def frozen_jobs(tmp_path: Path, words: list[str]) -> list[Path]:
    """Freezes without running: the jobs fail at once, as their cohort is not there."""
    assert main([*SWEEP, "yes=true", "data=folder", "data.root=nowhere", "name=study", *words]) == 2
    return sorted((tmp_path / "runs" / "study" / ".sweep").glob("*.yaml"))


def test_jobs_are_frozen_and_run_from_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = frozen_jobs(tmp_path, ["seed=0,1"])
    assert len(files) == 2
    jobs = [load(file) for file in files]
    assert {job.config["seed"] for job in jobs} == {0, 1}
    assert {job.varied for job in jobs} == {("seed=0",), ("seed=1",)}
    assert [job.file for job in jobs] == files
    assert [job.id for job in jobs] == [file.stem for file in files]
    text = files[0].read_text()
    files[0].write_text(text.replace("nowhere", "elsewhere"))
    capsys.readouterr()
    assert main(["train", "resume=runs/study", "yes=true", "preflight=check"]) == 2
    assert "is not the job that was checked" in capsys.readouterr().err
    files[0].write_text(text)
    assert main(["train", "resume=runs/study", "yes=true", "preflight=check"]) == 2
    assert capsys.readouterr().err.count("nowhere") >= 2, "both were given again and have failed again"
    assert main(["train", "resume=runs/study", "seed=3"]) == 2
    assert "would change the jobs" in capsys.readouterr().err


def test_a_job_is_plain_harmless_yaml(tmp_path: Path) -> None:
    file = frozen_jobs(tmp_path, ["seed=0,1"])[0]
    content = yaml.safe_load(file.read_text())
    assert content["verb"] == "train"
    assert content["folder"] == str(tmp_path)
    assert not any(word.startswith(("yes", "preflight", "hydra")) for word in content["overrides"])


def test_a_job_has_a_process_of_its_own(tmp_path: Path) -> None:
    """And does its work in the folder that the sweep was begun in."""
    file = frozen_jobs(tmp_path, ["seed=0,1"])[0]
    done = subprocess.run(
        [sys.executable, "-m", "medseg.config.jobs", str(file)],
        cwd="/", capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_folds_and_seeds_are_of_one_shape_and_networks_are_not(tmp_path: Path) -> None:
    files = frozen_jobs(tmp_path, ["seed=0,1", "fold=0,1", "network=unet,vnet", "plan.batch_size=2,4"])
    assert len(files) == 16
    assert len({shape_of(load(file)) for file in files}) == 4
