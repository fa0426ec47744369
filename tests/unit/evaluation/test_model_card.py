"""The card of a bundle, made from a run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.evaluation.cases import Row, write_cases
from medseg.evaluation.model_card import write_ensemble_card, write_model_card
from medseg.evaluation.model_card_tables import QUARTERS, reference_volumes
from medseg.evaluation.settings import EvaluationSettings

from .conftest import CONFIG, PLAN, RECORD

MANIFEST = {
    "network": {"_target_": "medseg.networks.unet.UNet"},
    "labels": {"names": ["kidney"], "values": [[1]], "overlapping": False, "ignore": None},
    "modalities": ["ct"], "missing_modalities": False, "plan": PLAN, "postprocess": [],
}  # fmt: skip


def value(case: str, metric: str, number: float, centre: str = "") -> Row:
    unit = {"dice": "1", "volume_reference": "ml"}.get(metric, "ml")
    return Row(case, f"Miller, {case}", centre, "validation", "kidney", metric, number, unit, "ok")


def cases() -> list[Row]:
    found = []
    for k in range(8):
        centre = "north" if k % 2 else "south"
        found.append(value(f"c{k}", "dice", 0.5 + 0.05 * k, centre))
        found.append(value(f"c{k}", "volume_reference", 10.0 * (k + 1), centre))
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(RECORD))
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    (folder / "model" / "model.json").write_text(json.dumps(MANIFEST))
    write_cases(folder / "cases.csv", cases())
    return folder


def test_the_card_says_what_for_from_what_and_how_well(run: Path) -> None:
    text = write_model_card(run).read_text()
    assert text.startswith("# kidney, UNet\n\n## What it is for\n\n- Segments: kidney (1)\n")
    assert "- Cases: 72 train, 4 unlabelled, 18 validation\n" in text
    assert "| kidney | 0.675 (" in text
    assert "| north | kidney | 0.700 (" in text
    assert "| kidney | largest quarter, 70 to 80 ml | 0.825 (" in text
    assert [text.count(name) for name in QUARTERS] == [1, 1, 1, 1]
    assert "No test patient was scored" in text
    assert "\n\n\n" not in text


def test_no_patient_and_no_folder_is_on_the_card(run: Path) -> None:
    text = write_model_card(run).read_text()
    assert "Miller" not in text
    assert "c3" not in text
    assert "/scans" not in text


def test_a_run_that_was_not_scored_has_a_card(run: Path) -> None:
    (run / "cases.csv").unlink()
    assert "Nothing has been scored." in write_model_card(run).read_text()


def test_volumes_of_older_runs_come_from_their_errors() -> None:
    rows = [value("a", "volume_error", 5.0), value("a", "relative_volume_error", 0.25)]
    assert reference_volumes(rows) == {"a": 20.0}
    exact = [value("b", "volume_error", 0.0), value("b", "relative_volume_error", 0.0)]
    assert reference_volumes(exact) == {}


def test_the_ensembles_card_says_whose_scores_they_are(run: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "model.json").write_text(json.dumps({"postprocess": [], "temperature": 1.0}))
    path = write_ensemble_card(tmp_path / "both", run, [("Runs", "5")], cases(), EvaluationSettings())
    text = path.read_text()
    assert "ensemble of UNet" in text
    assert "The ensemble itself has seen all of these patients and was not scored." in text
    assert "- Runs: 5\n" in text
