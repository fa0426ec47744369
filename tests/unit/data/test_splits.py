from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cohort import bare

from medseg.data.settings import SplitSettings
from medseg.data.splits import TEST, UNLABELLED, Split, cohort_for_training, make_split
from medseg.errors import Problems, UserError

patients = st.integers(10, 60).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.integers(0, n - 1).map("p{:02d}".format), st.sampled_from(["A", "B", "C", None]), st.booleans()
        ),
        min_size=n,
        max_size=3 * n,
    )
)


def one_centre_each(rows):
    """Hypothesis may draw several centres for a patient; the first counts."""
    centre: dict[str, str | None] = {}
    return [(patient, centre.setdefault(patient, c), labelled) for patient, c, labelled in rows]


@settings(deadline=None, max_examples=60)
@given(patients, st.integers(2, 5), st.sampled_from([0.0, 0.2]), st.integers(0, 3))
def test_a_split_is_a_balanced_partition_of_patients(rows, folds, share, seed):
    cohort = bare(one_centre_each(rows))
    labelled = {case.patient for case in cohort.cases if case.labelled}
    try:
        split = make_split(cohort, SplitSettings(folds, share, seed))
    except UserError:
        assert len(labelled) - max(1, round(share * len(labelled))) < folds
        return
    assert set(split.patients) == {case.patient for case in cohort.cases}
    dealt = Counter(dict.fromkeys(range(folds), 0))
    dealt.update(part for part in split.patients.values() if isinstance(part, int))
    assert max(dealt.values()) - min(dealt.values()) <= 1
    centre_of = {case.patient: case.centre for case in cohort.cases}
    for centre in set(centre_of.values()):
        per_fold = Counter(dict.fromkeys(range(folds), 0))
        per_fold.update(f for p, f in split.patients.items() if isinstance(f, int) and centre_of[p] == centre)
        assert max(per_fold.values()) - min(per_fold.values()) <= 1
    assert len(split.test_patients) == (max(1, round(share * len(labelled))) if share and labelled else 0)
    for fold in range(folds):
        parts = {part: split.cases(cohort, fold, part) for part in ("train", "validation", "test")}
        people = {part: {case.patient for case in cases} for part, cases in parts.items()}
        assert not people["train"] & people["validation"]
        assert not people["test"] & (people["train"] | people["validation"])
        assert all(case.labelled for case in parts["validation"])
    seen = [case.id for fold in range(folds) for case in split.cases(cohort, fold, "validation")]
    kept = {case.id for case in cohort.cases if case.labelled and split.patients[case.patient] != TEST}
    assert sorted(seen) == sorted(kept)


@settings(deadline=None, max_examples=30)
@given(patients, st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(rows, random):
    cohort = bare([(p, c, True) for p, c, _ in one_centre_each(rows)])
    shuffled = list(cohort.cases)
    random.shuffle(shuffled)
    try:
        split = make_split(cohort, SplitSettings(3, 0.1))
    except UserError:
        return
    assert split == make_split(replace(cohort, cases=tuple(shuffled)), SplitSettings(3, 0.1))


def test_another_seed_is_another_split_and_the_same_seed_the_same():
    cohort = bare([(f"p{n}", None, True) for n in range(30)])
    first, again, other = (make_split(cohort, SplitSettings(seed=seed)) for seed in (0, 0, 1))
    assert first.hash == again.hash != other.hash


def test_patients_without_a_label_are_trained_on_without_one():
    cohort = bare([(f"p{n}", None, n < 10) for n in range(14)])
    split = make_split(cohort, SplitSettings(5, 0.2))
    assert [split.patients[f"p{n}"] for n in range(10, 14)] == [UNLABELLED] * 4
    for fold in range(5):
        train = split.cases(cohort, fold, "train")
        assert sum(not case.labelled for case in train) == 4


def test_an_unlabelled_scan_of_a_validation_patient_is_not_trained_on():
    rows = [(f"p{n}", None, True) for n in range(6)] + [("p0", None, False)]
    cohort = bare(rows)
    split = make_split(cohort, SplitSettings(3))
    fold = split.patients["p0"]
    assert isinstance(fold, int)
    assert "p0" not in {case.patient for case in split.cases(cohort, fold, "train")}
    assert all(case.labelled for case in split.cases(cohort, fold, "validation"))
    assert cohort.cases[-1] in split.cases(cohort, (fold + 1) % 3, "train")


def test_folds_of_a_table_are_kept_and_the_rest_is_dealt():
    rows = [(f"p{n}", None, True) for n in range(12)]
    given_folds = {"p0": 2, "p1": 2, "p2": 2, "p3": -1}
    split = make_split(bare(rows, given_folds), SplitSettings(3))
    assert [split.patients[p] for p in given_folds] == [2, 2, 2, TEST]
    sizes = Counter(part for part in split.patients.values() if part != TEST)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    every = {f"p{n}": n % 4 for n in range(12)}
    assert make_split(bare(rows, every), SplitSettings(5)).patients == every


def test_a_patient_in_two_folds_is_refused():
    cohort = bare([("p0", None, True), ("p0", None, True), ("p1", None, True)])
    cases = tuple(replace(case, fold=number) for number, case in enumerate(cohort.cases))
    with pytest.raises(Problems, match="patient p0 is in folds 0 and 1"):
        make_split(replace(cohort, cases=cases), SplitSettings(3))


def test_too_few_patients_are_refused():
    with pytest.raises(UserError, match="5 folds cannot be filled by 3 patients"):
        make_split(bare([(f"p{n}", None, True) for n in range(3)]), SplitSettings(5))


def test_a_file_comes_back_and_an_edited_one_is_refused(tmp_path: Path):
    cohort = bare([(f"p{n}", None, True) for n in range(10)])
    split = make_split(cohort, SplitSettings())
    path = tmp_path / "split.json"
    split.save(path)
    assert Split.load(path) == split
    assert make_split(cohort, SplitSettings(file=str(path), seed=7)) == split
    content = json.loads(path.read_text())
    content["patients"]["p3"] = TEST
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not match its hash"):
        Split.load(path)
    for broken in ("", "[]", '{"format": 1}', '{"format": 1, "seed": 0, "folds": 2, "patients": []}'):
        path.write_text(broken)
        with pytest.raises(UserError):
            Split.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        Split.load(tmp_path / "none.json")


def test_a_split_of_another_cohort_is_refused():
    split = make_split(bare([(f"p{n}", None, True) for n in range(10)]), SplitSettings())
    with pytest.raises(Problems) as found:
        split.validate(bare([(f"p{n}", None, True) for n in range(1, 11)]))
    assert len(found.value.lines) == 2
    with pytest.raises(UserError, match="take 0 to 4"):
        split.cases(bare([(f"p{n}", None, True) for n in range(10)]), 5, "train")


def test_a_training_cannot_read_the_labels_of_test_patients():
    cohort = bare([(f"p{n}", None, True) for n in range(10)])
    split = make_split(cohort, SplitSettings(3, test_share=0.3))
    safe = cohort_for_training(cohort, split)
    hidden = {case.patient for case in safe.cases if not case.labelled}
    assert hidden == set(split.test_patients)
    assert len(hidden) == 3
    assert split.cases(safe, 0, "train") == split.cases(cohort, 0, "train")


def test_the_folds_of_a_table_hold_without_labels_too():
    rows = [(f"p{n}", None, n >= 3) for n in range(12)]
    given_folds = {"p0": -1, "p1": 0, "p3": 0}
    cohort = bare(rows, given_folds)
    split = make_split(cohort, SplitSettings(3))
    assert [split.patients[p] for p in ("p0", "p1", "p2", "p3")] == [TEST, 0, UNLABELLED, 0]
    assert {case.patient for case in split.cases(cohort, 0, "train")} >= {"p2"}
    assert not {"p0", "p1"} & {case.patient for case in split.cases(cohort, 0, "train")}
    dealt = Counter(split.patients[f"p{n}"] for n in range(3, 12))
    assert dealt == {0: 3, 1: 3, 2: 3}  # unlabelled patients of a fold take no one's place


def test_a_fold_of_unlabelled_patients_alone_is_not_filled():
    rows = [("p0", None, True), ("p1", None, True), ("p2", None, False)]
    with pytest.raises(UserError, match="3 folds cannot be filled by 2 patients"):
        make_split(bare(rows, {"p0": 0, "p1": 1, "p2": 2}), SplitSettings(5))
    with pytest.raises(UserError, match="the table has fold 7"):
        make_split(bare(rows, {"p2": 7}), SplitSettings(2))
