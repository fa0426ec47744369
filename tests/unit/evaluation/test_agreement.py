"""Bland and Altman's own example, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.evaluation.agreement import Agreement, bland_altman
from medseg.evaluation.cases import Row, frame
from medseg.evaluation.scatter import bland_altman_plot
from medseg.evaluation.score import score_case

# Peak expiratory flow by a Wright and a mini meter, first readings: table 1 of Bland and Altman, Lancet 1986.
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)


def rows_of(reference: tuple[float, ...], predicted: tuple[float, ...], label: str = "a") -> list[Row]:
    rows = []
    for k, (before, after) in enumerate(zip(reference, predicted, strict=True)):
        empty = int(before == 0) + int(after == 0)
        status = ("ok", "missed", "nan")[empty]
        for metric, value in (("volume_reference", before), ("volume_difference", after - before)):
            about = (f"c{k}", f"p{k}", "", "test", label, metric)
            rows.append(Row(*about, math.nan if empty == 2 else float(value), "ml", status))  # type: ignore[arg-type]
    return rows


def test_their_example() -> None:
    found = bland_altman(rows_of(MINI, WRIGHT))["a"]
    assert found.n == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.lower, found.upper) == pytest.approx((-78.1, 73.9), abs=0.1)  # the paper rounds 1.96 to 2
    assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    # The paper takes sqrt(3 / n) for the limits' standard error; this one is of 1999: a percent wider.
    assert found.lower_interval == pytest.approx((-112.7, -43.6), abs=0.7)
    assert found.upper_interval == pytest.approx((39.3, 108.4), abs=0.7)
    assert found.points[0].mean == 503.0
    assert found.points[0].difference == -18.0


def test_intervals_of_the_limits_hold_them_as_often_as_they_say() -> None:
    rng = np.random.Generator(np.random.Philox(12))
    held = 0
    for _ in range(400):
        reference = rng.uniform(50, 90, 25)
        found = bland_altman(rows_of(tuple(reference), tuple(reference + rng.normal(2, 5, 25))))["a"]
        assert found.upper_interval is not None
        held += found.upper_interval[0] <= 2 + 1.959964 * 5 <= found.upper_interval[1]
    assert 0.92 <= held / 400 <= 0.98


def test_missed_cases_count_and_empty_ones_do_not() -> None:
    found = bland_altman(rows_of((10, 0, 0, 8), (9, 0, 2, 0)))["a"]
    assert [(p.case, p.difference, p.missed) for p in found.points] == [
        ("c0", -1.0, False),
        ("c2", 2.0, True),
        ("c3", -8.0, True),
    ]
    assert (found.n, found.n_missed, found.patients) == (3, 2, 3)


def test_a_frame_and_a_single_case_will_do() -> None:
    rows = [*rows_of(MINI, WRIGHT), *rows_of((3.0,), (5.0,), "b")]
    assert bland_altman(frame(rows)) == bland_altman(rows)
    alone = bland_altman(rows)["b"]
    assert alone.bias == 2.0
    assert alone.sd is alone.lower is alone.upper_interval is None
    assert bland_altman([]) == {}


@pytest.mark.parametrize("several", [True, False])
def test_plots_hold_every_case(several: bool) -> None:
    found: Agreement = bland_altman(rows_of(*((MINI, WRIGHT) if several else ((0,), (5,)))))["a"]
    drawn = bland_altman_plot(found)
    assert "nan" not in drawn
    assert drawn.count("<title>") == found.n
    assert drawn.count("dashed") == (2 if several else 0)
    assert drawn.count("cross") == (0 if several else 1)


def test_rows_that_do_not_belong_together_are_refused() -> None:
    rows = rows_of(MINI, WRIGHT)
    with pytest.raises(UserError, match="c0: occurs twice"):
        bland_altman([*rows, *rows])
    with pytest.raises(UserError, match="c3: has no volume_difference"):
        bland_altman([row for row in rows if (row.case, row.metric) != ("c3", "volume_difference")])


def test_volumes_are_in_ml_and_signed() -> None:
    reference, prediction = np.zeros((2, 20, 10, 10), np.uint8)
    reference[:10], prediction[:9] = 1, 1
    rows = score_case(reference, prediction, Labels(("a",), ((1,),)), (1.0, 2.0, 0.5))
    found = {row.metric: (row.value, row.unit) for row in rows}
    assert found["volume_reference"] == (1.0, "ml")
    assert found["volume_difference"] == (pytest.approx(-0.1), "ml")
    assert found["volume_error"] == (pytest.approx(0.1), "ml")
