"""The batch scripts of ``slurm/`` on a real SLURM."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from medseg.cli import main
from smoke.running import numbers, same, weights

from .conftest import ROOT, Slurm

pytestmark = pytest.mark.slow


def submit(script: str, flags: list[str], words: list[str], folder: Path) -> None:
    """Hands a script to sbatch in ``folder``."""
    command = ["sbatch", *flags, str(ROOT / "slurm" / script), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("medseg-*.log")))


def test_two_tasks_of_one_node_train_one_run(slurm: Slurm, small: list[str], tmp_path: Path) -> None:
    flags = ["--ntasks-per-node=2", "--cpus-per-task=1", "--mem=4G", "--time=30"]
    submit("train.sbatch", flags, [*small, "id=two", "training.devices=2"], tmp_path)
    slurm.wait()
    record = json.loads((tmp_path / "runs" / "balls" / "two" / "record.json").read_text())
    assert (record["status"], record["ranks"]) == ("finished", 2), logs(tmp_path)
    assert main(["train", *small, "id=one"]) == 0
    one, two = (numbers(tmp_path / "runs" / "balls" / name) for name in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two], "each number once"


def test_a_task_on_each_of_two_nodes(slurm: Slurm, small: list[str], tmp_path: Path) -> None:
    flags = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=4G", "--time=30"]
    submit("train-nodes.sbatch", flags, [*small, "id=nodes"], tmp_path)
    slurm.wait()
    record = json.loads((tmp_path / "runs" / "balls" / "nodes" / "record.json").read_text())
    assert (record["status"], record["ranks"]) == ("finished", 2), logs(tmp_path)


def test_two_time_limits_change_no_bit(
    slurm: Slurm, small: list[str], signalling: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job reaches its real time limit; SLURM signals up to a minute before the time that it was told."""
    monkeypatch.setenv("SLOWLY", "4")
    words = [*small, *signalling, "training.steps=80", "training.epoch_steps=30"]
    words = [word for word in words if word not in ("training.steps=6", "training.epoch_steps=2")]
    submit(
        "train.sbatch", ["--time=3", "--signal=USR1@30", "--cpus-per-task=1", "--mem=2G"],
        [*words, "id=limited"], tmp_path,
    )  # fmt: skip
    assert slurm.wait(1800) >= 2, logs(tmp_path)
    monkeypatch.setenv("SLOWLY", "0")
    assert main(["train", *words, "id=whole"]) == 0
    limited, whole = (tmp_path / "runs" / "balls" / name for name in ("limited", "whole"))
    assert same(weights(limited), weights(whole))
    assert numbers(limited) == numbers(whole)
    assert logs(tmp_path).count("stopped by SIGUSR1 after step") >= 2


def test_arrays_preprocess_and_predict(
    slurm: Slurm, small: list[str], balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("data=", "data.root=")
    data = [word for word in small if word.startswith(chosen)]
    cache = f"data.cache={tmp_path / 'cache'}"
    plan = [word for word in small if word.startswith("plan.")]
    assert main(["plan", *data, *plan, f"output={tmp_path / 'plan.yaml'}"]) == 0
    flags = ["--array=0-2", "--cpus-per-task=1", "--mem=2G", "--time=30"]
    file = f"plan.file={tmp_path / 'plan.yaml'}"
    submit("preprocess.sbatch", flags, [*data, cache, file], tmp_path)
    slurm.wait()
    made = sorted(path for path in (tmp_path / "cache" / "folder" / "cases").iterdir())
    assert len(made) == 12, logs(tmp_path)
    stamps = [path.stat().st_mtime_ns for path in made]

    kept = [word for word in small if not word.startswith(("plan.", "data.cache", *chosen))]
    assert main(["train", *data, cache, file, *kept, "id=one"]) == 0
    assert [path.stat().st_mtime_ns for path in made] == stamps, "the training made none again"

    whole, shares = tmp_path / "whole", tmp_path / "shares"
    model = f"model={tmp_path / 'runs' / 'balls' / 'one'}"
    scans = f"input={balls / 'imagesTr'}"
    assert main(["predict", model, scans, f"output={whole}"]) == 0
    submit("predict.sbatch", flags, [model, scans, f"output={shares}"], tmp_path)
    slurm.wait()
    files = sorted(path.name for path in whole.glob("*.nii.gz"))
    assert len(files) == 12
    assert sorted(path.name for path in shares.glob("*.nii.gz")) == files, logs(tmp_path)
    for name in files:
        assert (shares / name).read_bytes() == (whole / name).read_bytes()
    receipts = [json.loads((folder / "prediction.json").read_text()) for folder in (whole, shares)]
    assert receipts[0]["files"] == receipts[1]["files"]

    (shares / files[0]).unlink()
    before = {name: os.stat(shares / name).st_mtime_ns for name in files[1:]}
    submit("predict.sbatch", flags, [model, scans, f"output={shares}"], tmp_path)
    slurm.wait()
    assert (shares / files[0]).exists()
    assert {name: os.stat(shares / name).st_mtime_ns for name in files[1:]} == before
