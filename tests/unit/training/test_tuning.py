"""What is chosen on held-out cases: what helps beyond noise, and nothing that hurts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case
from medseg.evaluation.cases import Row
from medseg.inference.finish import Finish
from medseg.inference.probability_file import write_probabilities
from medseg.inference.review import ReviewLine, write_review
from medseg.training.review_quality import case_dice, note_review, review_quality
from medseg.training.temperature import Doubts
from medseg.training.tuning import Chooser, joined
from medseg.training.tuning_cases import Scorer, TuningCase
from medseg.training.tuning_settings import TuningSettings

CLASSES = Labels(("organ", "lesion"), ((1,), (2,)))
SHAPE = (16, 14, 6)


def made(
    folder: Path, number: int, *, islands: int = 0, sharp: float = 1.0, shift: float = 0.0
) -> TuningCase:
    """A case whose organ is a block and whose lesion lies in it.

    The network sees the block a little noisily, ``islands`` far from it, its lesion by ``shift`` less often,
    and is ``sharp`` times as sure as it ought to be.
    """
    rng = np.random.Generator(np.random.Philox(number))
    truth = np.zeros(SHAPE, np.uint8)
    truth[3:9, 3:9, 1:5] = 1
    truth[5:7, 5:7, 2:4] = 2
    scores = np.zeros((3, *SHAPE))
    for k in range(3):
        scores[k] = 2.0 * (truth == k)
    scores += rng.normal(0, 0.25, scores.shape)
    scores[2] -= shift
    for _ in range(islands):
        i, j, k = 12 + rng.integers(3), rng.integers(2, 12), rng.integers(1, 5)
        scores[1, i, j, k] = 6.0
    scores *= sharp
    probabilities = np.exp(scores) / np.exp(scores).sum(0)
    nib.save(nib.Nifti1Image(truth, np.eye(4)), folder / f"{number}.nii.gz")
    write_probabilities(folder / f"{number}.npz", probabilities.astype(np.float32))
    image = {"MRI": folder / f"{number}.nii.gz"}
    case = Case(f"c{number}", f"p{number // 2}", image, label=folder / f"{number}.nii.gz")
    return TuningCase(case, number % 2, folder / f"{number}.npz", ("MRI",))


def targets(finish: Finish) -> list[str]:
    return [str(step["_target_"]).rpartition(".")[2] for step in finish.postprocess]


def test_islands_are_removed_where_there_are_any(tmp_path):
    cases = [made(tmp_path, n, islands=6) for n in range(10)]
    choice = Chooser(CLASSES, TuningSettings(temperature=False)).choose(cases)
    assert {"LargestComponent", "MinimumSize"} & {*targets(choice.finish)}
    assert choice.gains[0].gain > 2 * choice.gains[0].standard_error
    assert choice.dice["organ"][1] > choice.dice["organ"][0] + 0.01
    assert choice.dice["lesion"][1] >= choice.dice["lesion"][0]
    assert choice.patients == 5


def test_nothing_is_chosen_where_nothing_helps(tmp_path):
    cases = [made(tmp_path, n) for n in range(8)]
    choice = Chooser(CLASSES, TuningSettings(temperature=False)).choose(cases)
    assert choice.finish == Finish()
    assert choice.gains == ()


def test_a_gain_of_few_patients_or_within_noise_is_none(tmp_path):
    """One case in five with islands: the mean rises, and by less than twice its standard error."""
    cases = [made(tmp_path, n, islands=9 if n == 0 else 0) for n in range(10)]
    settings = TuningSettings(("largest_component",), temperature=False, least=0.0)
    assert Chooser(CLASSES, settings).choose(cases).finish == Finish()
    loose = TuningSettings(("largest_component",), temperature=False, noise=0.0, least=0.0)
    assert Chooser(CLASSES, loose).choose(cases).finish != Finish()
    two = [made(tmp_path, n, islands=6) for n in (20, 21, 22, 23)]
    assert Chooser(CLASSES, loose).choose(two).finish == Finish(), "two patients show no noise"


def test_what_helps_one_class_and_hurts_another_is_left(tmp_path):
    """To keep only the largest of both together would take the lesion that lies apart."""
    cases = []
    for n in range(6):
        case = made(tmp_path, n, islands=5)
        truth = np.asarray(nib.load(case.case.label).dataobj).copy()
        truth[13, 2:4, 2:4] = 2
        nib.save(nib.Nifti1Image(truth, np.eye(4)), case.case.label)
        scores = np.load(case.probabilities)["probabilities"].astype(np.float32)
        scores[:, 13, 2:4, 2:4] = np.array([0.05, 0.05, 0.9])[:, None, None]
        write_probabilities(case.probabilities, scores)
        cases.append(case)
    settings = TuningSettings(("largest_component",), temperature=False)
    finish = Chooser(CLASSES, settings).choose(cases).finish
    assert finish.postprocess == (
        {"_target_": "medseg.postprocess.largest_component.LargestComponent", "names": ["organ"]},
    )


def test_a_class_that_is_found_too_rarely_gets_a_lower_threshold(tmp_path):
    cases = [made(tmp_path, n, shift=2.2) for n in range(10)]
    choice = Chooser(CLASSES, TuningSettings(("threshold",), temperature=False)).choose(cases)
    (step,) = choice.finish.postprocess
    assert step["per_name"]["lesion"] < 0.5
    assert choice.dice["lesion"][1] > choice.dice["lesion"][0] + 0.05


def test_thresholds_of_several_classes_are_one_step():
    name = "medseg.postprocess.threshold.Threshold"
    finish = joined(Finish(), {"_target_": name, "per_name": {"organ": 0.3}})
    finish = joined(finish, {"_target_": name, "per_name": {"lesion": 0.6}})
    finish = joined(finish, {"_target_": "medseg.postprocess.fill_holes.FillHoles"})
    assert finish.postprocess[0]["per_name"] == {"organ": 0.3, "lesion": 0.6}
    assert len(finish.postprocess) == 2


@pytest.mark.parametrize("sharp", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_confidence(tmp_path, sharp):
    """Labels are drawn from the probabilities; then the network gets ``sharp`` times as sure."""
    cases = []
    for number in range(3):
        case = made(tmp_path, number)
        rng = np.random.Generator(np.random.Philox(number))
        scores = rng.normal(0, 1.5, size=(3, *SHAPE))
        right = np.exp(scores) / np.exp(scores).sum(0)
        truth = (rng.uniform(size=SHAPE) > right.cumsum(0)[:2]).sum(0).astype(np.uint8)
        nib.save(nib.Nifti1Image(truth, np.eye(4)), case.case.label)
        said = np.exp(sharp * scores) / np.exp(sharp * scores).sum(0)
        write_probabilities(case.probabilities, said.astype(np.float32))
        cases.append(case)
    temperature, before, after = Doubts(CLASSES).fit(cases)
    assert temperature == pytest.approx(sharp, rel=0.1)
    assert after < before or sharp == 1


def test_the_temperature_of_regions(tmp_path):
    labels = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
    case = made(tmp_path, 0)
    rng = np.random.Generator(np.random.Philox(1))
    truth = np.asarray(nib.load(case.case.label).dataobj)
    logits = np.stack([np.where(truth > 0, 1.0, -1.0), np.where(truth == 2, 1.0, -1.0)])
    right = 1 / (1 + np.exp(-1.0))
    flipped = np.where(rng.uniform(size=logits.shape) < right, 1, -1) * logits
    scores = 1 / (1 + np.exp(-4 * flipped))
    write_probabilities(case.probabilities, scores.astype(np.float32))
    temperature, _, _ = Doubts(labels).fit([case])
    assert temperature == pytest.approx(4, rel=0.15)


def test_empty_masks_count_so_that_a_false_object_costs(tmp_path):
    case = made(tmp_path, 0)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), case.case.label)
    scorer = Scorer(CLASSES)
    gone = {"_target_": "medseg.postprocess.minimum_size.MinimumSize", "mm3": 1e6}
    table = scorer.table([case], [Finish(), Finish((gone,))])
    np.testing.assert_array_equal(table[:, 0], [[0, 0], [1, 1]])


def test_folds_choose_without_their_own_cases(tmp_path):
    """Only fold 0 has islands, so only what fold 1 gets from it removes any."""
    cases = [made(tmp_path, n, islands=6 * (n % 2 == 0)) for n in range(20)]
    chooser = Chooser(CLASSES, TuningSettings(("largest_component",), temperature=False))
    by_others = {k: chooser.choose([case for case in cases if case.fold != k]).finish for k in (0, 1)}
    assert by_others[0] == Finish()
    assert by_others[1] != Finish()


def row(case: str, value: float, label: str = "organ", status: str = "ok") -> Row:
    return Row(case, case, "", "test", label, "dice", value, "1", status)  # type: ignore[arg-type]


def test_the_list_is_judged_by_the_cases_it_puts_first():
    real = {f"c{n:02d}": n / 16 for n in range(16)}
    perfect = review_quality(real, real)
    assert (perfect["n"], perfect["bad"], perfect["found_by_chance"]) == (16, 4, 0.25)
    assert perfect["spearman"] == pytest.approx(1)
    assert perfect["auroc"] == perfect["found"] == 1
    assert perfect["error"] == 0
    assert [point["case"] for point in perfect["points"]] == sorted(real)
    wrong = review_quality({case: 1 - value for case, value in real.items()}, real)
    assert wrong["spearman"] == pytest.approx(-1)
    assert wrong["auroc"] == wrong["found"] == 0
    from sklearn.metrics import roc_auc_score

    rng = np.random.Generator(np.random.Philox(0))
    guess = {case: round(float(rng.uniform()), 1) for case in real}
    worst = [value < 0.25 for value in real.values()]
    expected = roc_auc_score(worst, [-guess[case] for case in real])
    assert review_quality(guess, real)["auroc"] == pytest.approx(expected)


def test_few_cases_or_equal_ones_have_no_order():
    few = review_quality({"a": 0.5, "b": 0.7}, {"a": 0.4, "b": 0.6, "c": 0.1})
    assert few["n"] == 2
    assert few["spearman"] is few["auroc"] is few["found"] is None
    assert few["error"] == pytest.approx(0.1)
    same = {f"c{n}": 0.5 for n in range(9)}
    assert review_quality(same, {case: n / 9 for n, case in enumerate(same)})["spearman"] is None
    assert review_quality({}, {})["error"] is None


def test_the_quality_of_each_part_is_kept_for_the_report(tmp_path):
    names = ("organ",)
    for part in ("validation", "test"):
        (tmp_path / part).mkdir()
        lines = [ReviewLine(f"c{n}", {"organ": n / 10}, 0.1, math.nan) for n in range(10)]
        write_review(tmp_path / part / "review.csv", lines, names)
        rows = [row(f"c{n}", n / 12) for n in range(10)]
        note_review(tmp_path, part, tmp_path / part, rows, names)
    found = json.loads((tmp_path / "review.json").read_text())
    assert list(found) == ["validation", "test"]
    assert found["test"]["spearman"] == pytest.approx(1)


def test_a_case_is_the_mean_of_its_labels():
    rows = [
        row("a", 0.4),
        row("a", 0.8, "lesion"),
        row("b", float("nan"), status="nan"),
        row("b", 0, "lesion", "missed"),
    ]
    assert case_dice(rows) == {"a": pytest.approx(0.6), "b": 0}
