"""The main job on real files through the command line's own entry point."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medseg.cli import main
from medseg.tracking.local import read_metrics
from medseg.training.waiting import NAME as DATA_WAIT

from .running import kill_at, numbers, same, started, weights


def test_a_run_leaves_everything_it_should(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "id=one", "split.test_share=0.2", "evaluation.surface_tolerance_mm=1.0"]) == 0
    printed = capsys.readouterr().out.splitlines()
    run = tmp_path / "runs" / "balls" / "one"
    for name in (
        "config.yaml", "overrides.txt", "record.json", "split.json", "plan.yaml", "metrics.csv", "cases.csv",
        "summary.json", "report.html", "reproduce.sh", "model/model.json", "model/weights.safetensors",
    ):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["steps"] == 6
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert "http://" not in (run / "report.html").read_text().replace("http://www.w3.org", "")
    waited = record["data_wait"]
    assert 0 <= waited["share"] < 1
    assert 0 <= waited["seconds"] < waited["of_seconds"]
    assert waited["first_batch_seconds"] > 0
    assert [line for line in printed if line.startswith("the step waited ")] == [waited["advice"]]
    assert "of the training time; first batch after" in (run / "report.html").read_text()
    logged = [row for row in read_metrics(run / "metrics.csv") if row["name"] == DATA_WAIT]
    assert [row["step"] for row in logged] == [2, 4, 6]
    assert all(0 <= row["value"] < 1 for row in logged)
    names = {name for _, name, _ in numbers(run)}
    assert {
        "train/loss",
        "validation/dice",
        "validation_volume/dice",
        "validation_volume/dice/small",
    } <= names

    predicted = {path.name for path in (run / "predictions" / "validation").glob("*.nii.gz")}
    patients = json.loads((run / "split.json").read_text())["patients"]
    assert predicted == {f"{patient}.nii.gz" for patient, part in patients.items() if part == 0}

    assert main(["evaluate", f"run={run}", "part=test"]) == 0
    assert {row.split(",")[3] for row in (run / "cases.csv").read_text().splitlines()[1:]} == {
        "validation",
        "test",
    }
    assert main(["evaluate", f"run={run}", "part=train"]) == 2
    results = json.loads((run / "summary.json").read_text())
    definitions = {part: results[part]["receipts"]["surface_dice"]["definition"] for part in results}
    assert definitions["validation"] == definitions["test"]
    assert "1 mm" in definitions["test"], "the test is scored as the run was"


def test_one_seed_gives_the_same_bits_with_any_number_of_workers(words: list[str], tmp_path: Path) -> None:
    runs = []
    for workers in (0, 1, 2):
        assert main([*words, f"id=w{workers}", f"training.workers={workers}"]) == 0
        runs.append(tmp_path / "runs" / "balls" / f"w{workers}")
    for run in runs[1:]:
        assert same(weights(run), weights(runs[0]))
        assert numbers(run) == numbers(runs[0])
        assert (run / "cases.csv").read_bytes() == (runs[0] / "cases.csv").read_bytes()


def test_another_seed_gives_other_bits(words: list[str], tmp_path: Path) -> None:
    for seed in (0, 1):
        assert main([*words, f"id=s{seed}", f"seed={seed}", "training.steps=2"]) == 0
    runs = [tmp_path / "runs" / "balls" / f"s{seed}" for seed in (0, 1)]
    assert not same(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize(("checkpoints", "threads"), [(1, "1"), (2, "1"), (2, "3")])
def test_a_killed_run_goes_on_to_the_same_bits(
    words: list[str], tmp_path: Path, checkpoints: int, threads: str
) -> None:
    """Also where it goes on in surroundings in which torch would choose another number of threads."""
    assert started([*words, "id=whole"], threads).wait() == 0
    whole, killed = (tmp_path / "runs" / "balls" / name for name in ("whole", "killed"))
    kill_at([*words, "id=killed"], killed, checkpoints, threads)
    assert not (killed / "model").exists()
    assert main([*words, "id=killed"]) == 0
    assert same(weights(whole), weights(killed))
    assert numbers(whole) == numbers(killed)
    assert main([*words, "id=killed"]) == 0, "a finished run is left as it is"


def test_training_in_two_parts_equals_training_in_one(words: list[str], tmp_path: Path) -> None:
    """The older checkpoint of a finished run, gone on from, leads to the same end."""
    assert main([*words, "id=whole"]) == 0
    whole, parts = (tmp_path / "runs" / "balls" / name for name in ("whole", "parts"))
    shutil.copytree(whole, parts)
    newest = max((parts / "checkpoints").glob("*.ckpt"))
    newest.unlink()
    shutil.rmtree(parts / "model")
    record = json.loads((parts / "record.json").read_text())
    (parts / "record.json").write_text(json.dumps(record | {"status": "training"}))
    config = (parts / "config.yaml").read_text()
    (parts / "config.yaml").write_text(config.replace("id: whole", "id: parts"))
    assert main([*words, "id=parts"]) == 0
    assert same(weights(whole), weights(parts))
    assert numbers(whole) == numbers(parts)
    assert {path.name[:8] for path in (parts / "checkpoints").glob("*.ckpt")} == {"00000004", "00000006"}


def test_training_does_not_need_the_labels_of_test_patients(
    words: list[str], balls: Path, tmp_path: Path
) -> None:
    assert main([*words, "id=first", "split.test_share=0.2"]) == 0
    split = json.loads((tmp_path / "runs" / "balls" / "first" / "split.json").read_text())
    hidden = [patient for patient, part in split["patients"].items() if part == "test"]
    assert hidden
    moved = tmp_path / "cohort"
    shutil.copytree(balls, moved)
    for patient in hidden:
        (moved / "labelsTr" / f"{patient}.nii.gz").write_bytes(b"not for you")
    again = [word for word in words if not word.startswith("data.root=")]
    assert main([*again, f"data.root={moved}", "id=second", "split.test_share=0.2"]) == 0
    first, second = (tmp_path / "runs" / "balls" / name for name in ("first", "second"))
    assert same(weights(first), weights(second))


def test_a_loss_that_is_no_number_names_the_cases(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "id=wild", "optimizer.lr=1e30", "training.steps=40", "training.clip_norm=0"]) == 2
    told = capsys.readouterr().err.strip()
    assert "the loss is" in told
    assert "case_" in told
    assert "Traceback" not in told


def test_a_broken_cohort_is_refused_before_training(
    words: list[str], balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(balls, broken)
    file = broken / "imagesTr" / "case_03_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:500])
    again = [word for word in words if not word.startswith("data.root=")]
    assert main([*again, f"data.root={broken}", "id=broken"]) == 2
    told = capsys.readouterr().err
    assert "case_03_0000.nii.gz" in told
    assert "Traceback" not in told
    assert not (tmp_path / "runs" / "balls" / "broken" / "model").exists()


def test_a_run_can_be_reproduced_from_its_folder(words: list[str], tmp_path: Path) -> None:
    assert main([*words, "id=first"]) == 0
    script = tmp_path / "runs" / "balls" / "first" / "reproduce.sh"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(script), "second"],
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "runs" / "balls" / name for name in ("first", "second"))
    assert numbers(first) == numbers(second)
    assert (first / "cases.csv").read_bytes() == (second / "cases.csv").read_bytes()


def test_another_configuration_may_not_use_the_same_folder(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "id=mine", "training.steps=2"]) == 0
    assert main([*words, "id=mine", "training.steps=4"]) == 2
    assert "training.steps" in capsys.readouterr().err
