"""Runs as one table: from folders, and from what W&B keeps of the very same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import medseg.tracking
from medseg.errors import UserError
from medseg.tracking.run_table import COLUMNS, part_name, row_of_folder
from medseg.tracking.wandb_runs import row_of_wandb

CONFIG: dict[str, Any] = {
    "seed": 3, "fold": 1,
    "network": {"_target_": "medseg.networks.smp_unet.SmpUNet", "encoder_name": "resnet50"},
    "fusion": {"_target_": "medseg.fusion.early.EarlyFusion"},
    "objective": {"_target_": "medseg.objectives.supervised.Supervised"},
    "loss": {"_target_": "medseg.losses.dice_ce.DiceCE"},
}  # fmt: skip
COSTS = {"train_minutes": 12.5, "gpu_hours": 0.2, "peak_memory_gb": 3.5, "parameters": 1234}


def means(**values: float | None) -> dict[str, Any]:
    by = {metric: {"mean": mean} for metric, mean in values.items()}
    return {"overall": by, "labels": {"organ": by}}


def write(run: Path, **changes: Any) -> Path:
    run.mkdir(parents=True)
    record = {
        "name": run.parent.name, "id": run.name, "seed": 3, "fold": 1, "status": "finished", "steps": 500,
        "minutes": 12.4, "costs": COSTS,
        "results": {"validation": means(dice=0.8, hd95=4.0, ece=None), "test": means(dice=0.75)},
    }  # fmt: skip
    (run / "record.json").write_text(json.dumps(record | changes))
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return run


@pytest.mark.parametrize("level", [".", "one", "one/a"])
def test_folders_of_all_levels_give_the_same_columns(tmp_path: Path, level: str) -> None:
    write(tmp_path / "one" / "a")
    frame = medseg.tracking.runs(tmp_path / level)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    row = frame.iloc[0]
    assert (row.id, row.study, row.seed, row.fold, row.status) == ("a", "one", 3, 1, "finished")
    assert (row.network, row.fusion, row.objective, row.loss) == (
        "SmpUNet resnet50", "EarlyFusion", "Supervised", "DiceCE",
    )  # fmt: skip
    assert (row.steps, row.train_minutes, row.parameters) == (500, 12.5, 1234)
    assert (row.validation_dice, row.validation_hd95, row.test_dice) == (0.8, 4.0, 0.75)
    assert frame.test_hd95.isna().all()


def test_a_study_is_chosen_and_a_run_is_told_once(tmp_path: Path) -> None:
    for study in ("one", "two"):
        write(tmp_path / study / "a")
    assert list(medseg.tracking.runs(tmp_path).study) == ["one", "two"]
    assert list(medseg.tracking.runs(tmp_path, study="two").study) == ["two"]
    assert len(medseg.tracking.runs([tmp_path, tmp_path / "one"])) == 2


def test_runs_that_are_not_done_have_gaps(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a", costs=None, results=None, minutes=None, status="training", steps=None)
    row = medseg.tracking.runs(tmp_path).iloc[0]
    assert row.status == "training"
    assert row[["steps", "train_minutes", "parameters", "validation_dice"]].isna().all()


def test_an_empty_folder_gives_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    frame = medseg.tracking.runs(tmp_path)
    assert len(frame) == 0
    assert {*COLUMNS, "validation_dice"} <= {*frame.columns}


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        medseg.tracking.runs(tmp_path / "gone")
    run = write(tmp_path / "one" / "a")
    (run / "record.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        medseg.tracking.runs(tmp_path)


def test_parts_have_the_name_of_their_class() -> None:
    assert part_name({"_target_": "a.b.C"}) == "C"
    assert part_name(None) is None


SEND = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.wandb_scores import send_scores
from medseg.tracking.weights_and_biases import build_wandb, finish_wandb
NAN, run = float("nan"), Path(sys.argv[1])
config = json.loads(sys.argv[2])
build_wandb(TrackingSettings(), run, run.name, run.parent.name, config).experiment.log({"train/loss": 0.5})
finish_wandb()
rows = [SimpleNamespace(case=c, label="organ", metric="dice", value=v, status=s)
        for c, v, s in (("Miller_1", 0.8, "ok"), ("Miller_2", 0.0, "missed"), ("Miller_3", NAN, "nan"))]
send_scores(TrackingSettings(), run, json.loads((run / "record.json").read_text()), "validation", rows)
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training and scores went to W&B, offline."""
    run = write(tmp_path_factory.mktemp("runs") / "study" / "abc123")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", SEND, str(run), json.dumps(CONFIG)],
        env=environment | {"HOME": str(run.parent)}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run


def inspected(log: Path, *flags: str) -> str:
    words = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", *flags, str(log)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=100).stdout


def test_wandb_and_the_folder_give_the_same_row(offline: Path) -> None:
    """As the server does, the later of two logs of one run adds to the earlier one."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for log in sorted(offline.glob("wandb/offline-run-*/*.wandb")):
        found = json.loads(inspected(log, "--summary"))
        config |= found["config"]
        summary |= found["summary"]
    row = row_of_wandb(offline.name, offline.parent.name, "finished", config, summary)
    assert row == row_of_folder(offline)


def test_what_is_sent_names_no_case(offline: Path) -> None:
    files = [path for path in offline.glob("wandb/offline-run-*/**/*") if path.is_file()]
    tables = [path for path in files if path.name.endswith(".table.json")]
    assert len(tables) == 1
    table = json.loads(tables[0].read_text())
    assert table["columns"] == ["case", "label", "note", "dice"]
    assert sorted((line[2], line[3]) for line in table["data"] if line[3] is not None) == [
        ("", 0.8),
        ("missed", 0.0),
    ]
    assert all(line[0].startswith("case-") for line in table["data"])
    assert not [path for path in files if b"Miller" in path.read_bytes()]


def test_the_study_groups_its_runs(offline: Path) -> None:
    for log in sorted(offline.glob("wandb/offline-run-*/*.wandb")):
        records = [json.loads(line) for line in inspected(log).splitlines()]
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        assert (run["run_id"], run["run_group"], run["host"]) == ("abc123", "study", "undisclosed")
        assert not [record for record in records if record["type"] == "environment"]
