"""What a report of a study at W&B holds; the server itself cannot be had here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from wandb_workspaces.expr import expr_to_filters, filters_tree_to_v2

from medseg.cli import main
from medseg.errors import UserError
from medseg.tracking.wandb_report import study_report

BOARD = "| method | Dice |\n|---|---|\n| UNet | 0.81 (0.78 to 0.84) |\n"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two runs that differ in their network, and their comparison."""
    for run, network in (("a", "unet.UNet"), ("b", "vnet.VNet")):
        folder = tmp_path / "livers" / run
        folder.mkdir(parents=True)
        results = {"validation": {"overall": {"dice": {"mean": 0.8}}, "labels": {}}}
        record = {"name": "livers", "id": run, "seed": 0, "fold": 0, "status": "finished", "results": results}
        (folder / "record.json").write_text(json.dumps(record))
        config = {
            "network": {"_target_": f"medseg.networks.{network}"},
            "fusion": {"_target_": "medseg.fusion.early.EarlyFusion"},
            "tracking": {"wandb": "offline", "project": "hospital", "entity": "team", "tags": []},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "livers" / "comparison").mkdir()
    (tmp_path / "livers" / "comparison" / "leaderboard.md").write_text(BOARD)
    return tmp_path / "livers"


def test_the_leaderboard_the_group_and_what_varies(study: Path) -> None:
    report = study_report(study, None, None)
    assert (report.entity, report.project, report.title) == ("team", "hospital", "livers")
    board, _, grid = report.blocks
    assert board.text == BOARD
    (runs,) = grid.runsets
    assert (runs.entity, runs.project, runs.name) == ("team", "hospital", "livers")
    (condition,) = filters_tree_to_v2(expr_to_filters(runs.filters))["filters"]
    assert (condition["key"], condition["op"], condition["value"]) == (
        {"section": "run", "name": "group"}, "=", "livers",
    )  # fmt: skip
    assert runs.groupby == ["config.network._target_"]
    drawn = [panel._to_model().model_dump_json() for panel in grid.panels]
    told = "".join(drawn)
    assert "scores/validation/dice" in told
    assert "train/loss" in told
    assert "scores/test/dice" not in told, "no run has such a score"


def test_it_goes_where_one_says(study: Path) -> None:
    report = study_report(study, "others", "else")
    assert (report.entity, report.project) == ("others", "else")


@pytest.mark.parametrize(
    ("level", "told"),
    [("..", "of one study"), ("a", "of one study"), ("comparison", "no run")],
)
def test_other_folders_are_refused(study: Path, level: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        study_report(study / level, None, None)


def test_without_a_comparison_nothing_is_sent(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "comparison" / "leaderboard.md").unlink()
    assert main(["sync", str(study), "report=true"]) == 2
    said = capsys.readouterr()
    assert "run medseg compare" in said.err
    assert said.out == ""
    assert main(["sync", str(study), str(study), "report=true"]) == 2
    assert "of one study" in capsys.readouterr().err
