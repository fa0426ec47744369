"""Runs read back from their folders: what is compared, what is refused, and what is said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg.cli import main
from medseg.data.label_budget import Budget
from medseg.errors import UserError
from medseg.evaluation.comparison import Rules
from medseg.training.compare_runs import Asked, Compared, compare_runs

from .finished_runs import patients, split_of, write_run

DYN = {"_target_": "medseg.networks.dynunet.DynUNet", "kernel": 3}
RULES = Rules(resamples=500)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, two seeds, two folds; the second network is better."""
    folder = tmp_path_factory.mktemp("template") / "study"
    for seed in (0, 1):
        for fold in (0, 1):
            write_run(folder, seed, fold, overrides=("network=unet", f"seed={seed}"))
            write_run(folder, seed, fold, network=DYN, shift=0.05, overrides=("network=dynunet",))
    return folder


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(template, tmp_path / "study"))


def compared(*folders: Path, **asked: Any) -> Compared:
    return compare_runs(Asked(folders, metrics=["dice"], rules=RULES, **asked))


def refused(*folders: Path, **asked: Any) -> str:
    with pytest.raises(UserError) as error:
        compared(*folders, **asked)
    (line,) = str(error.value).splitlines()
    return line


def edit(run: Path, **changes: Any) -> None:
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | changes))


def test_runs_of_one_method_differ_in_seed_and_fold_alone(study: Path) -> None:
    found = compared(study, against="unet").comparison
    assert [(m.name, len(m.trainings), m.seeds) for m in found.methods] == [
        ("dynunet, noise 0.05", 4, (0, 1)),
        ("unet, noise 0", 4, (0, 1)),
    ]
    assert (found.cases, found.patients) == (12, 12)
    (pair,) = found.pairs["dice"]
    assert pair.verdict == "better"
    assert pair.p_seeds is not None


def test_vary_says_what_makes_a_method_and_the_rest_is_pooled(study: Path) -> None:
    found = compared(study, vary=["network"], against="network=unet")
    assert [method.name for method in found.comparison.methods] == ["dynunet", "unet"]
    assert [d.reference for d in found.comparison.against["dice"]] == ["unet"]
    assert any("also differ in augmentation.noise" in note for note in found.about.notes)


def test_runs_and_studies_may_be_mixed_and_repeated(study: Path) -> None:
    runs = sorted(study.iterdir())
    assert compared(*runs).comparison.pairs == compared(study, runs[0]).comparison.pairs


def test_unfinished_and_unscored_runs_are_left_out_and_told(study: Path) -> None:
    edit(study / "UNet-0.0-0-0", status="training")
    (study / "DynUNet-0.05-1-1" / "cases.csv").unlink()
    found = compared(study)
    assert sum("is not finished (training)" in note for note in found.about.notes) == 1
    assert sum("was not scored on validation" in note for note in found.about.notes) == 1
    assert sum(len(m.trainings) for m in found.comparison.methods) == 6


def test_other_splits_cohorts_and_labels_are_refused_in_one_line(study: Path) -> None:
    other = write_run(study, 3, 0, split=split_of(3))
    line = refused(study)
    assert line.startswith("runs: their split is not the same (")
    edit(other, cohort="liver")
    assert refused(study).startswith("runs: their cohort is not the same (toy in 8, as ")


def test_label_budgets_of_one_split_are_methods(tmp_path: Path) -> None:
    for budget in (2, 4):
        split = replace(split_of(), budget=Budget(budget, tuple(patients())))
        for fold in (0, 1):
            write_run(
                tmp_path,
                0,
                fold,
                split=split,
                run_id=f"{budget}-{fold}",
                changed={"split": {"labelled": budget}},
            )
    assert {m.name for m in compared(tmp_path).comparison.methods} == {"labelled 2", "labelled 4"}


def test_encoders_of_other_seeds_are_one_method(tmp_path: Path) -> None:
    for seed in (0, 1):
        for objective in ("SimCLR", None):
            given = {"pretrained": f"/somewhere/{objective}-{seed}" if objective else None}
            found = [{"path": "x", "objective": objective}] if objective else []
            changed, name = {"finetuning": given}, f"{objective}-{seed}"
            write_run(tmp_path, seed, 0, run_id=name, changed=changed, record={"pretrained": found})
    methods = compared(tmp_path).comparison.methods
    assert sorted((m.name, m.seeds) for m in methods) == [("SimCLR", (0, 1)), ("pretrained null", (0, 1))]


def test_a_model_that_saw_whom_it_is_scored_on_is_refused(study: Path) -> None:
    write_run(study, 7, 0, seen=("p00", "p01", "p03"))
    line = refused(study)
    assert "UNet-0.0-7-0: its training saw 1 of the 6 patients scored" in line


def test_post_processing_chosen_on_whom_it_is_scored_on_is_refused(study: Path) -> None:
    run = write_run(study, 7, 0)
    manifest = json.loads((run / "model" / "model.json").read_text())
    seen = json.loads((study / "UNet-0.0-0-1" / "model" / "model.json").read_text())["patients"]
    (run / "model" / "model.json").write_text(json.dumps(manifest | {"tuned_on": seen}))
    assert "its post-processing was chosen on 6 of the 6 patients scored" in refused(study)


def test_other_definitions_and_missing_metrics_are_refused(study: Path) -> None:
    run = study / "UNet-0.0-0-0"
    results = json.loads((run / "record.json").read_text())["results"]
    results["validation"]["receipts"]["dice"]["definition"] = "something else"
    edit(run, results=results)
    assert "its dice is “" in refused(study)
    assert refused(study.parent / "study" / "UNet-0.0-0-1", part="test").startswith(
        "runs: there is none to compare"
    )


def test_other_images_of_the_same_plan_are_refused(study: Path) -> None:
    for k, run in enumerate(sorted(study.glob("*-0"))):
        edit(run, store=f"{min(k, 1)}" * 64)
    line = refused(study)
    assert "its images or labels are not those of" in line
    assert len(line.splitlines()) == 1


def test_two_runs_of_the_same_method_seed_and_fold_are_refused(study: Path) -> None:
    write_run(study, 0, 0, overrides=("network=unet",), run_id="again")
    line = refused(study)
    assert line.startswith("runs: 2 runs have the same settings (unet, noise 0), seed 0 and fold 0")
    assert len(compared(study, vary=["network"]).comparison.methods) == 2


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"against": "vnet"},
            "against: 'vnet' names no method of these runs; give SETTING=VALUE, or one of: ",
        ),
        ({"vary": ["netwerk"]}, "vary: netwerk is no setting of these runs; did you mean network?"),
    ],
)
def test_unknown_names_are_told(study: Path, asked: dict[str, Any], line: str) -> None:
    assert refused(study, **asked).startswith(line)


def test_metrics_without_a_better_side_cannot_be_compared(study: Path) -> None:
    for metric, told in (
        ("dize", "there is no 'dize'"),
        ("volume_reference", "no volume_reference is better"),
    ):
        with pytest.raises(UserError, match=told):
            compare_runs(Asked([study], metrics=[metric]))


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").endswith("is no run and holds none; give runs/NAME or runs/NAME/ID")
    assert refused(tmp_path / "gone").endswith("give runs/NAME for a study or runs/NAME/ID for a run")


def test_costs_are_means_and_dashes_where_a_run_does_not_say(study: Path) -> None:
    for run in study.glob("DynUNet*"):
        edit(run, costs={"train_minutes": 3.0, "gpu_hours": 0.5, "peak_memory_gb": 2.0, "parameters": 10})
    costs = {m.name.split(",")[0]: m.costs for m in compared(study).comparison.methods}
    assert (costs["dynunet"].train_minutes, costs["dynunet"].parameters) == (3.0, 10)
    assert (costs["unet"].train_minutes, costs["unet"].gpu_hours) == (2.0, None)


def test_another_observer_becomes_a_line(study: Path, tmp_path: Path) -> None:
    rater = write_run(tmp_path / "rater", shift=0.2) / "cases.csv"
    line = compared(study, raters=str(rater)).about.rater
    assert line is not None
    assert line.cases == 6
    with pytest.raises(UserError, match="cannot be read"):
        compared(study, raters=str(tmp_path / "none.csv"))


def test_missing_modalities_are_shown_where_they_were_measured(study: Path) -> None:
    run = study / "UNet-0.0-0-0"
    text = (run / "cases.csv").read_text().replace(",validation,", ",T1+T2,")
    (run / "missing").mkdir()
    (run / "missing" / "validation.csv").write_text(text)
    found = compared(study).about.missing
    assert list(found) == ["T1+T2"]
    assert list(found["T1+T2"]) == ["unet, noise 0"]


def test_the_command_takes_folders_as_words(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sorted(map(str, study.iterdir()))
    words = ["metrics=[dice]", "bootstrap=200", f"output={study / 'out put'}", "against=unet"]
    assert main(["compare", *runs, *words]) == 0
    printed = capsys.readouterr().out
    assert "dynunet, noise 0.05 against unet, noise 0: better (Dice +0.05" in printed
    assert (study / "out put" / "leaderboard.html").is_file()
    assert main(["compare", str(study), "metrics=[dice]", "bootstrap=200"]) == 0
    assert (study / "comparison" / "leaderboard.tex").is_file()
    assert main(["compare"]) == 2
    assert capsys.readouterr().err.startswith("runs: there is nothing to compare")
