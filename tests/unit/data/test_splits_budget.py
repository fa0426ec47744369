"""Label budgets: nested, by patient, never a patient who is validated or tested on."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cohort import bare

from medseg.config.compose import compose
from medseg.data.cohort import Cohort
from medseg.data.label_budget import seeded_order
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import TEST, Split, make_split
from medseg.data.trainable import open_for_training
from medseg.errors import Problems, UserError

cohorts = st.builds(
    lambda n, twice, bare_ones: bare(
        [(f"p{k:02d}", "ABC"[k % 3], True) for k in range(n)]
        + [(f"p{k:02d}", "ABC"[k % 3], k % 2 == 0) for k in range(twice)]
        + [(f"u{k}", None, False) for k in range(bare_ones)]
    ),
    st.integers(16, 30),
    st.integers(0, 10),
    st.integers(0, 3),
)


def keep_theirs(cohort: Cohort, split: Split, fold: int) -> set[str]:
    """The training patients of whom a label can be read."""
    return {case.patient for case in split.cases(cohort, fold, "train") if case.labelled}


@settings(deadline=None, max_examples=40)
@given(cohorts, st.integers(2, 4), st.sampled_from([0.0, 0.2]), st.integers(0, 5), st.booleans())
def test_the_fewer_are_among_the_more_and_none_is_held_out(
    cohort: Cohort, folds: int, share: float, seed: int, stratify: bool
) -> None:
    plain = SplitSettings(folds, share, seed, stratify_centre=stratify)
    whole = make_split(cohort, plain)
    budgets: list[int | float] = [1, 3, 0.5, 6]
    made = [make_split(cohort, replace(plain, labelled=budget)) for budget in budgets]
    assert len({split.hash for split in [whole, *made]}) == len(budgets) + 1
    for fold in range(folds):
        held_out = {p for p, part in whole.patients.items() if part in (fold, TEST)}
        everyone = [case.id for case in whole.cases(cohort, fold, "train")]
        able = keep_theirs(cohort, whole, fold)
        chosen = [keep_theirs(cohort, split, fold) for split in made]
        assert [len(patients) for patients in chosen] == [1, 3, max(1, round(0.5 * len(able))), 6]
        for fewer in chosen:
            assert fewer <= able
            assert not fewer & held_out
        nested = sorted(chosen, key=len)
        assert all(fewer <= more for fewer, more in itertools.pairwise(nested))
        for split, patients in zip(made, chosen, strict=True):
            train = split.cases(cohort, fold, "train")
            assert [case.id for case in train] == everyone, "the others are kept, without labels"
            assert all(
                case.label is None and not case.raters for case in train if case.patient not in patients
            )
            assert split.cases(cohort, fold, "validation") == whole.cases(cohort, fold, "validation")
            assert split.cases(cohort, fold, "test") == whole.cases(cohort, fold, "test")


@settings(deadline=None, max_examples=30)
@given(cohorts, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_same_seed_labels_the_same_patients(cohort: Cohort, seed: int, random) -> None:
    asked = SplitSettings(3, 0.1, seed, labelled=4)
    shuffled = list(cohort.cases)
    random.shuffle(shuffled)
    split = make_split(cohort, asked)
    assert split == make_split(replace(cohort, cases=tuple(shuffled)), asked)
    assert split.budget is not None
    other = make_split(cohort, replace(asked, seed=seed + 1)).budget
    assert other is not None
    assert other.order != split.budget.order


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("AAAAABBC"), min_size=4, max_size=60), st.integers(0, 9))
def test_every_first_few_have_the_shares_of_the_centres(centres: list[str], seed: int) -> None:
    centre_of = {f"p{k}": centre for k, centre in enumerate(centres)}
    order = seeded_order(centre_of, seed, centre_of)
    assert sorted(order) == sorted(centre_of)
    total = Counter(centres)
    for first in range(1, len(order) + 1):
        found = Counter(centre_of[patient] for patient in order[:first])
        for centre, count in total.items():
            assert abs(found[centre] - first * count / len(order)) <= len(total) / 2 + 0.5


def test_a_budget_comes_back_with_its_split_and_an_edited_one_is_refused(tmp_path: Path) -> None:
    cohort = bare([(f"p{n}", None, True) for n in range(10)])
    split = make_split(cohort, SplitSettings(labelled=3))
    path = tmp_path / "split.json"
    split.save(path)
    assert Split.load(path) == split
    content = json.loads(path.read_text())
    assert content["labelled"]["amount"] == 3
    content["labelled"]["amount"] = 4
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not match its hash"):
        Split.load(path)
    for broken in ({"amount": 0, "order": []}, {"amount": 1.5, "order": []}, [], {"amount": 1, "order": [1]}):
        path.write_text(json.dumps(content | {"labelled": broken}))
        with pytest.raises(UserError, match="is not a split of format"):
            Split.load(path)


def test_a_split_of_a_file_takes_a_budget_or_keeps_its_own(tmp_path: Path) -> None:
    cohort = bare([(f"p{n}", None, True) for n in range(10)])
    path = tmp_path / "split.json"
    whole = make_split(cohort, SplitSettings())
    whole.save(path)
    made = make_split(cohort, SplitSettings(file=str(path), labelled=0.25))
    assert made.patients == whole.patients
    assert len(keep_theirs(cohort, made, 0)) == 2
    made.save(path)
    assert make_split(cohort, SplitSettings(file=str(path))) == made
    assert len(keep_theirs(cohort, make_split(cohort, SplitSettings(file=str(path), labelled=5)), 0)) == 5


@pytest.mark.parametrize("form", ["text", "list", "object"])
def test_an_order_of_a_file_is_followed(tmp_path: Path, form: str) -> None:
    cohort = bare([(f"p{n}", None, True) for n in range(12)])
    order = [f"p{n}" for n in (7, 3, 11, 0, 5, 2, 9)]
    path = tmp_path / "order"
    texts = {
        "text": "# who is labelled first\n" + "\n".join(order) + "  # the last\n\n",
        "list": json.dumps(order),
        "object": json.dumps({"train": [], "labelled_order": order}),
    }
    path.write_text(texts[form])
    for amount, wanted in ((1, 1), (3, 3), (0.5, None), (None, None)):
        split = make_split(cohort, SplitSettings(3, labelled=amount, labelled_file=str(path)))
        for fold in range(3):
            among = [patient for patient in order if split.patients[patient] != fold]
            count = wanted or (len(among) if amount is None else max(1, round(len(among) / 2)))
            assert keep_theirs(cohort, split, fold) == set(among[:count])


def test_budgets_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    cohort = bare([(f"p{n}", None, True) for n in range(10)] + [("bare", None, False)])
    with pytest.raises(UserError, match=r"split\.labelled: 9 patients are asked for, 8 .*give at most 8"):
        make_split(cohort, SplitSettings(labelled=9))
    uneven = make_split(bare([(f"p{n}", None, True) for n in range(9)]), SplitSettings(2, labelled=5))
    tight = next(f for f in range(2) if sum(part != f for part in uneven.patients.values()) == 4)
    few = bare([(f"p{n}", None, True) for n in range(9)])
    with pytest.raises(UserError, match="give at most 4"):
        uneven.cases(few, tight, "train")
    assert len(keep_theirs(few, uneven, 1 - tight)) == 5

    path = tmp_path / "order.txt"

    def refused(text: str) -> str:
        path.write_text(text)
        with pytest.raises(UserError) as found:
            make_split(cohort, SplitSettings(labelled=1, labelled_file=str(path)))
        return str(found.value)

    assert "patient p99 is not in the cohort" in refused("p99\np1\n")
    assert "patient bare has no label" in refused("bare\n")
    assert "patient p1 is listed twice" in refused("p1\np2\np1\n")
    assert "names no patient" in refused("# nobody\n")
    assert "no list of patients" in refused('{"train": ["p1"]}')
    assert "no list of patients" in refused("[1, 2]")
    assert "is not JSON" in refused("[")
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        make_split(cohort, SplitSettings(labelled=1, labelled_file=str(path)))


@pytest.mark.parametrize("value", ["0", "1.0", "-3", "0.0", "many", "true"])
def test_the_check_refuses_what_is_no_budget(value: str) -> None:
    (line,) = compose("train", [f"split.labelled={value}"]).problems
    assert line.startswith("split.labelled: ")


def test_labels_beyond_the_budget_may_not_be_looked_for(tmp_path: Path) -> None:
    from small_cohort import on_disk

    cohort = on_disk(tmp_path / "scans", cases=6, modalities=("T1",))
    rows = [
        f"{case.id},{case.patient},{case.images['T1'].name},{case.label.name}"
        for case in cohort.cases
        if case.label is not None
    ]
    (tmp_path / "scans" / "cases.csv").write_text("\n".join(["id,patient,T1,label", *rows]))
    data = DataSettings(root=str(tmp_path / "scans"))
    assert open_cohort(data).scanned
    with pytest.raises(UserError, match=r"beyond the label budget.*declare them"):
        open_for_training(data, SplitSettings(3, labelled=2))
    declared = replace(data, labels={"organ": 1, "lesion": 2})
    assert open_for_training(declared, SplitSettings(3, labelled=2))[1].budget is not None


def test_lists_of_names_are_a_split(tmp_path: Path) -> None:
    cohort = bare([(f"p{n}", None, True) for n in range(8)])
    path = tmp_path / "lists.json"
    lists = {"train": ["p0", "p1", "p2", "p3", "p4"], "val": ["p5", "p6"], "test": ["p7"]}
    path.write_text(json.dumps(lists))
    split = make_split(cohort, SplitSettings(file=str(path)))
    found = {
        part: [c.patient for c in split.cases(cohort, 0, part)] for part in ("train", "validation", "test")
    }
    assert [*found.values()] == [*lists.values()]
    for wrong in ({"val": ["p0"]}, {"val": [5]}, {"test": "p7 p6"}, {"test": 3}):
        path.write_text(json.dumps(lists | wrong))
        with pytest.raises(UserError):
            make_split(cohort, SplitSettings(file=str(path)))
    path.write_text(json.dumps({"train": ["p0"], "val": ["p1"]}))
    with pytest.raises(Problems, match="patient p2 of the cohort is not in it"):
        make_split(cohort, SplitSettings(file=str(path)))


@pytest.mark.real
def test_the_order_of_ssl4mis_for_acdc(shared_data: Path) -> None:
    config = compose("train", ["data=acdc", f"data.root={shared_data / 'acdc'}"]).config["data"]
    cohort = open_cohort(DataSettings(**config))
    path = shared_data / "acdc" / "ssl4mis_split.json"
    lists = json.loads(path.read_text())
    for amount in (1, 3, 7, 14, None):
        asked = SplitSettings(file=str(path), labelled=amount, labelled_file=str(path))
        split = make_split(cohort, asked)
        assert keep_theirs(cohort, split, 0) == set(lists["labelled_order"][:amount])
        assert {case.patient for case in split.cases(cohort, 0, "train")} == set(lists["train"])
        assert {case.patient for case in split.cases(cohort, 0, "validation")} == set(lists["val"])
