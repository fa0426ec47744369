"""The verbs between the configuration and the rooms, on phantoms of a few voxels."""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.config.check import bind
from medseg.config.compose import compose
from medseg.config.verbs import VERBS
from medseg.data.source import open_cohort
from medseg.files import write_json
from medseg.inference.patients import SeenPatients
from medseg.inference.receipt import RECEIPT

SMALL = [
    "data.phantom.cases=6", "data.phantom.repeats=0", "data.phantom.unlabelled=0", "data.phantom.empty=0",
    "data.phantom.missing=0", "data.phantom.shape=[24,24,16]", "split.folds=2",
]  # fmt: skip
EVALUATED = [word for word in SMALL if word.startswith("data.")]
NEEDED = {"predict": ["model=m", "input=i", "output=o"], "evaluate": ["run=r"]}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "train"])
def test_the_function_takes_what_is_bound(verb: str) -> None:
    module, _, name = VERBS[verb].function.partition(":")
    bound = bind(verb, compose(verb, NEEDED.get(verb, [])).config)
    inspect.signature(getattr(importlib.import_module(module), name)).bind(**bound)


def test_train_takes_what_is_bound() -> None:
    from medseg.training.recipe import Recipe

    recipe = Recipe(**bind("train", compose("train").config), config={}, overrides=[])
    assert recipe.name == "phantom"


def test_check_writes_its_page_and_finds_nothing(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *SMALL]) == 0
    assert "6 cases, 0 errors" in capsys.readouterr().out
    assert (own_folder / "checks" / "phantom" / "check.html").is_file()


def test_check_fails_on_a_broken_file(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL]) == 0  # makes the phantoms
    broken = next(file for file in (own_folder.parent / "cache").rglob("*.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:200])
    capsys.readouterr()
    assert main(["check", f"data.root={broken.parents[1]}", "split.folds=2"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(broken.name in line and line.startswith("error: ") for line in said), said


def test_preprocess_fills_the_store(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", *SMALL, "workers=1"]) == 0
    assert "6 cases in " in capsys.readouterr().out
    assert not list(own_folder.iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict", "model=nowhere", "input=x", "output=y"], "model: there is no model in nowhere"),
        (["evaluate", "run=nowhere"], "run: nowhere is not a run's folder"),
        (["download", "data=phantom"], "data: phantom is made here"),
        (["check", "data.root=nowhere"], "data.root: there is no folder nowhere"),
    ],
)
def test_what_is_not_there_is_told(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(line)


def predictions_of_the_phantoms(folder: Path, cache: Path) -> Path:
    """The references themselves, named as predictions."""
    folder.mkdir()
    for label in (cache / "cache").rglob("labels/*.nii.gz"):
        shutil.copy(label, folder / label.name)
    return folder


def test_evaluate_says_that_a_training_on_these_patients_cannot_be_ruled_out(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *SMALL]) == 0  # makes the phantoms
    predictions_of_the_phantoms(own_folder / "out", own_folder.parent)
    capsys.readouterr()
    assert main(["evaluate", "predictions=out", *EVALUATED]) == 0
    said = capsys.readouterr().out.splitlines()
    assert (
        sum("whether the model was trained on these patients cannot be checked" in line for line in said) == 1
    )


@pytest.mark.parametrize(("patient", "code"), [("nobody", 0), ("one of them", 2)])
def test_evaluate_refuses_patients_that_a_model_was_trained_on(
    own_folder: Path, capsys: pytest.CaptureFixture[str], patient: str, code: int
) -> None:
    assert main(["plan", *SMALL]) == 0
    folder = predictions_of_the_phantoms(own_folder / "out", own_folder.parent)
    cohort = open_cohort(bind("plan", compose("plan", SMALL).config)["data"])
    name = cohort.cases[0].patient if code else patient
    models = [{"patients": SeenPatients.of(names).to_dict()} for names in (["else"], [name])]
    write_json(folder / RECEIPT, {"models": models, "files": {}})
    capsys.readouterr()
    assert main(["evaluate", "predictions=out", *EVALUATED]) == code
    said = capsys.readouterr()
    assert "cannot be checked" not in said.out
    lines = said.err.splitlines()
    assert [f"was trained on its patient {name}" in line for line in lines] == [True] * (1 if code else 0)


def test_evaluate_with_a_damaged_receipt_is_one_line(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "out").mkdir()
    (own_folder / "out" / RECEIPT).write_text("{")
    assert main(["evaluate", "predictions=out", *EVALUATED]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prediction.json: cannot be read as JSON" in line
