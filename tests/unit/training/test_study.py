"""The folds of a study as one table and one model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.evaluation.cases import read_cases
from medseg.inference.ensemble_bundle import load_bundles

from .finished_runs import patients, score, split_of, write_run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "study"
    for fold in (0, 1, 2):
        write_run(folder, 0, fold, split=split_of(3))
    return folder


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "study"))


def test_every_patient_is_scored_once_by_a_model_that_did_not_see_it(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"study={study}"]) == 0
    assert "out of fold: 12 cases, 12 patients" in capsys.readouterr().out
    folder = study / "cross-validation"
    rows = read_cases(folder / "cases.csv")
    assert sorted(row.patient for row in rows) == patients()
    assert {row.patient: row.value for row in rows} == {p: score(p, 0, 0.0) for p in patients()}
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary) == ["out of fold", "fold 0", "fold 1", "fold 2"]
    assert summary["out of fold"]["overall"]["dice"]["n"] == 12
    assert summary["fold 1"]["cases"] == 4
    page = (folder / "report.html").read_text()
    assert "src=" not in page
    assert f"{summary['out of fold']['overall']['dice']['mean']:.3f}" in page


def test_the_ensemble_holds_every_fold_and_a_card(study: Path) -> None:
    assert main(["evaluate", f"study={study}"]) == 0
    model = study / "cross-validation" / "model"
    bundles = load_bundles([model])
    assert len(bundles) == 3
    assert all(any(patient in bundle.patients for bundle in bundles) for patient in patients())
    card = (model / "CARD.md").read_text()
    assert "ensemble of UNet" in card
    assert not any(patient in card for patient in patients())
    assert main(["evaluate", f"study={study}"]) == 0, "it can be made again"


def test_seeds_of_a_fold_are_averaged(study: Path) -> None:
    for fold in (0, 1, 2):
        write_run(study, 1, fold, split=split_of(3))
    assert main(["evaluate", f"study={study}", f"output={study / 'both'}"]) == 0
    with (study / "both" / "cases.csv").open() as source:
        found = {row["patient"]: float(row["value"]) for row in csv.DictReader(source)}
    assert found == pytest.approx({p: (score(p, 0, 0.0) + score(p, 1, 0.0)) / 2 for p in patients()})


def test_a_missing_fold_is_refused_by_its_number(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = study / "UNet-0.0-0-2" / "record.json"
    record.write_text(record.read_text().replace('"finished"', '"training"'))
    assert main(["evaluate", f"study={study}"]) == 2
    said = capsys.readouterr()
    assert said.err == "study: all runs: fold 2 is missing; train them: medseg train -m ... fold=2\n"
    assert "is not finished (training)" in said.out


def test_several_methods_are_refused_until_vary_tells_them_apart(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in (0, 1, 2):
        write_run(study, 0, fold, split=split_of(3), shift=0.1)
    assert main(["evaluate", f"study={study}"]) == 2
    assert capsys.readouterr().err.startswith(
        "study: its runs differ in augmentation.noise, not in fold and seed"
    )
    assert main(["evaluate", f"study={study}", "vary=[augmentation.noise]"]) == 0
    folder = study / "cross-validation"
    assert sorted(path.name for path in folder.iterdir()) == ["noise-0", "noise-0.1"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run=a", "study=b"], "run: give one thing to score"),
        (["study=b", "part=test"], "part: the folds of a study are scored on their validation cases"),
        (["run=a", "vary=[loss]"], "vary: tells the methods of a study apart"),
    ],
)
def test_contradictions_are_told(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words]) == 2
    assert capsys.readouterr().err.startswith(line)
