"""Every subset of the modalities, the table of what each is worth, and who may not be scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from medseg.data.cohort import Case
from medseg.errors import UserError
from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.summary import Summary, summarise
from medseg.evaluation.table import missing_table
from medseg.inference.finish import Finish
from medseg.inference.patients import SeenPatients
from medseg.training.assess import scorable
from medseg.training.missing_matrix import subsets

NAMES = st.lists(st.text("abc+ ", min_size=1, max_size=3), min_size=1, max_size=5, unique=True)


@settings(deadline=None, max_examples=40)
@given(NAMES)
def test_every_subset_once_the_largest_first(names: list[str]) -> None:
    found = subsets(names)
    assert len(found) == len({*found}) == 2 ** len(names) - 1
    assert [len(chosen) for chosen in found] == sorted((len(chosen) for chosen in found), reverse=True)
    assert all(chosen in combinations(names, len(chosen)) for chosen in found)


def summary(values: dict[tuple[str, str], list[float]]) -> Summary:
    """Of (label, metric) -> the values of the cases."""
    rows = [
        Row(f"c{n}", f"p{n}", "", "", label, metric, value, METRICS[metric].unit,
            "nan" if math.isnan(value) else "ok")
        for (label, metric), several in values.items()
        for n, value in enumerate(several)
    ]  # fmt: skip
    return summarise(rows)[""]


def shown(summaries: dict[tuple[str, ...], Summary], modalities: tuple[str, ...]) -> list[list[str]]:
    """The table's cells, row by row, the head first."""
    table = missing_table(summaries, modalities, trained=True)
    console = Console(width=200)
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    with console.capture():
        console.print(table)
    return [list(row) for row in zip(*columns, strict=True)]


def test_a_row_tells_what_is_there_and_what_it_is_worth() -> None:
    both = {("a", "dice"): [0.8, 0.6], ("b", "dice"): [0.5, math.nan],
            ("a", "hd95"): [2.0, 4.0], ("b", "hd95"): [5.0, math.nan]}  # fmt: skip
    one = {key: [value / 2 for value in values] for key, values in both.items()}
    head, first, second = shown({("t1+c", "t2"): summary(both), ("t1+c",): summary(one)}, ("t1+c", "t2"))
    assert head[:5] == ["t1+c", "t2", "a", "b", "mean"]
    assert first[:5] == ["●", "●", "0.700", "0.500", "0.600"]
    assert second[:5] == ["●", "·", "0.350", "0.250", "0.300"]
    assert head[6:] == ["n", "nan", "missed", f"{METRICS['hd95'].title} mm"]
    assert first[6:] == ["3", "1", "0", "4.00"]


@pytest.mark.parametrize(
    ("metric", "value", "cell"),
    [("surface_dice", 0.25, "0.250"), ("hd95", 3.0, "3.00"), ("iou", 0.5, "0.500")],
)
def test_without_dice_the_first_metric_there_is_shown(metric: str, value: float, cell: str) -> None:
    head, row = shown({("t1",): summary({("a", metric): [value, value]})}, ("t1", "t2"))
    assert head[:3] == ["t1", "t2", "a"]
    assert row[:3] == ["●", "·", cell]
    assert head[-1] == "missed"
    title = missing_table({("t1",): summary({("a", metric): [value]})}, ("t1",), False).title
    assert str(title).startswith(METRICS[metric].title)


@dataclass
class Trained:
    """What a bundle knows of its patients."""

    patients: SeenPatients
    finish: Finish = field(default_factory=Finish)

    def saw(self, patient: str) -> bool:
        return patient in self.patients


def test_a_patient_that_was_trained_on_is_refused_before_anything_is_predicted() -> None:
    bundle = Trained(SeenPatients.of(["p1", "p2"]))
    cases = [Case(f"c{n}", f"p{n}", {}, Path("label.nii")) for n in (3, 4)]
    bare = Case("c5", "p5", {})
    assert scorable(bundle, [*cases, bare], "test") == cases  # type: ignore[arg-type]
    with pytest.raises(UserError, match="trained on 1 of its patients"):
        scorable(bundle, [*cases, Case("c1", "p1", {}, Path("label.nii"))], "test")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="part: test has no labelled case"):
        scorable(bundle, [bare], "test")  # type: ignore[arg-type]
