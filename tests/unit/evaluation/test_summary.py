"""What rows add up to: statistics, intervals, receipts, files, and the terminal's table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from medseg.errors import UserError
from medseg.evaluation.bootstrap import interval_of_mean
from medseg.evaluation.cases import COLUMNS, Row, frame, read_cases, write_cases
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.settings import METRIC_NAMES, EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import print_table


def row(case: str, value: float, label: str = "a", metric: str = "dice", **more: str) -> Row:
    status = more.pop("status", "nan" if math.isnan(value) else "ok")
    about = {"patient": case, "centre": "", "part": "test", "unit": METRICS[metric].unit} | more
    return Row(case=case, label=label, metric=metric, value=value, status=status, **about)  # type: ignore[arg-type]


ROWS = [
    row("c1", 0.9),
    row("c2", 0.6),
    row("c3", 0.0, status="missed"),
    row("c4", math.nan),
    *[row(f"c{n}", 0.8, label="b") for n in range(1, 5)],
    row("c1", 3.5, metric="hd95"),
]


def test_statistics_count_what_they_leave_out() -> None:
    summary = summarise(ROWS)["test"]
    assert (summary.cases, summary.patients) == (4, 4)
    found = summary.labels["a"]["dice"]
    assert (found.n, found.n_nan, found.n_missed) == (3, 1, 1)
    assert found.mean == pytest.approx(0.5)
    assert found.median == 0.6
    assert found.sd == pytest.approx(np.std([0.9, 0.6, 0.0], ddof=1))
    assert (found.minimum, found.maximum) == (0.0, 0.9)
    assert summary.overall["dice"].mean == pytest.approx((0.5 + 0.8) / 2)
    assert (summary.overall["dice"].n, summary.overall["dice"].n_nan) == (7, 1)


def test_a_label_without_any_number_says_so() -> None:
    summary = summarise([row("c1", math.nan), row("c2", math.nan), row("c1", 0.7, label="b")])["test"]
    assert summary.labels["a"]["dice"].mean is None
    assert summary.overall["dice"].mean == 0.7


def test_parts_are_kept_apart() -> None:
    found = summarise([row("c1", 0.5), row("c2", 0.9, part="validation")])
    assert {part: s.labels["a"]["dice"].mean for part, s in found.items()} == {"test": 0.5, "validation": 0.9}


def test_every_number_has_its_receipt() -> None:
    settings = EvaluationSettings(surface_tolerance_mm=1.5)
    rows = [row("c1", 0.5, metric=name) for name in METRIC_NAMES]
    summary = summarise(rows, settings)["test"]
    assert tuple(summary.receipts) == METRIC_NAMES
    assert "within 1.5 mm" in summary.receipts["surface_dice"].definition
    assert all(r.definition and r.unit and "both empty" in r.empty_policy for r in summary.receipts.values())


def test_the_json_has_no_nan(tmp_path: Path) -> None:
    summary = summarise([row("c1", math.nan), *ROWS[4:]])["test"]
    summary.save(tmp_path / "summary.json")
    loaded = json.loads((tmp_path / "summary.json").read_text())
    assert loaded["labels"]["a"]["dice"] == {
        "mean": None, "interval": None, "median": None, "sd": None, "minimum": None, "maximum": None,
        "n": 0, "n_nan": 1, "n_missed": 0,
    }  # fmt: skip
    assert loaded["receipts"]["dice"]["better"] == "higher"


def test_an_interval_is_that_of_a_plain_loop() -> None:
    rng = np.random.Generator(np.random.Philox(11))
    values = rng.normal(0.8, 0.1, 30)
    pairs = [(f"p{n}", float(value)) for n, value in enumerate(values)]
    found = interval_of_mean({"a": pairs}, 4000, 0.9, seed=0)
    means = [rng.choice(values, 30).mean() for _ in range(4000)]
    assert found == pytest.approx(np.quantile(means, (0.05, 0.95)), abs=0.004)
    assert found == interval_of_mean({"a": pairs[::-1]}, 4000, 0.9, seed=0)


def test_patients_are_drawn_and_not_cases() -> None:
    """Ten equal scans of each patient tell no more than one of each."""
    once = [("p1", 0.2), ("p2", 0.6), ("p3", 1.0)]
    tenfold = [pair for pair in once for _ in range(10)]
    assert interval_of_mean({"a": tenfold}, 500, 0.95, 0) == pytest.approx(
        interval_of_mean({"a": once}, 500, 0.95, 0)
    )


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    hits = 0
    for trial in range(200):
        pairs = [(str(n), float(value)) for n, value in enumerate(rng.normal(0.0, 1.0, 40))]
        low, high = interval_of_mean({"a": pairs}, 400, 0.9, trial) or (1.0, 1.0)
        hits += low <= 0.0 <= high
    assert 0.82 <= hits / 200 <= 0.96


@pytest.mark.parametrize(
    ("values", "resamples"), [([], 100), ([("p1", 0.5)], 100), ([("p1", 0.5), ("p2", 0.6)], 0)]
)
def test_no_interval_where_there_is_none_to_give(values: list, resamples: int) -> None:
    assert interval_of_mean({"a": values}, resamples, 0.95, 0) is None


def test_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [row("c,1", 0.1 + 0.2, label='a "b"'), row("ç2", math.nan), row("c3", 0.0, status="missed")]
    write_cases(tmp_path / "cases.csv", rows)
    found = read_cases(tmp_path / "cases.csv")
    assert repr(found) == repr(rows)  # repr, as not-a-number differs from itself
    table = frame(found)
    assert tuple(table.columns) == COLUMNS
    assert table["value"].isna().sum() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,value\nc1,0.5\n", "lacks the column patient"),
        (",".join(COLUMNS) + "\nc,p,,test,a,dice,much,1,ok\n", "line 2: value is 'much'"),
        (",".join(COLUMNS) + "\nc,p,,test,a,dice,0.5,1,nan\n", "line 2: status 'nan' does not fit"),
        (",".join(COLUMNS) + "\nc,p\n", "line 2: value is None"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_cases(tmp_path / "cases.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_cases(tmp_path / "nothing.csv")


def test_the_terminal_shows_counts_in_eighty_columns() -> None:
    console = Console(width=80, record=True)
    print_table(summarise(ROWS)["test"], console)
    lines = console.export_text().splitlines()
    assert "test: 4 cases, 4 patients" in lines[0]
    line = next(line for line in lines if line.startswith("  a "))
    assert line.split()[1] == "0.500"
    assert line.split()[-3:] == ["3", "1", "1"]


def test_settings_name_every_problem_and_every_metric() -> None:
    assert tuple(METRICS) == METRIC_NAMES
    assert EvaluationSettings().problems() == []
    wrong = EvaluationSettings(
        metrics=["dise"],
        surface_tolerance_mm=-1,
        bootstrap=-1,
        confidence=1.5,
        seed=-1,
        worst_cases=-1,
        workers=0,
    )
    fields = [line.partition(":")[0] for line in wrong.problems()]
    assert fields == [
        "metrics", "surface_tolerance_mm", "bootstrap", "confidence", "seed", "worst_cases", "workers",
    ]  # fmt: skip
    assert EvaluationSettings(metrics=[]).problems() != []
