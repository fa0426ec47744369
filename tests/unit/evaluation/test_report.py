"""The page of a run: self-contained, complete, and safe whatever the names are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.evaluation.box_plot import Spread, box_plot
from medseg.evaluation.cases import Row, read_cases, write_cases
from medseg.evaluation.charts import Series, line_chart, ticks
from medseg.evaluation.pictures import CasePicture, cases_to_show, draw
from medseg.evaluation.report import write_report
from medseg.evaluation.report_header import facts
from medseg.evaluation.run_files import thin
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

VOID = {"meta", "img", "br", "line", "rect", "circle", "path", "link", "input"}


class Page(HTMLParser):
    """Collects tags and attributes, and whether every tag that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(sample_run: tuple[Path, dict[str, CasePicture]]) -> str:
    run, pictures = sample_run
    return write_report(run, pictures).read_text(encoding="utf-8")


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    for tag, attributes in parsed.tags:
        assert tag not in ("script", "link", "iframe")
        assert "href" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_page_says_what_ran_and_what_came_out(page: str) -> None:
    told = re.sub(r"<[^>]+>|\s+", " ", page)
    for text in (
        "kidney-unet", "fold 0, 5d41402abc4b", "UNet, EarlyFusion, Supervised, DiceCE", "torch 2.11.0",
        "30.2 min, 3000 steps", "23 % of the training time; first batch after 3.46 s",
        "medseg train data=kidney data.root=/scans/kidney", "validation, 18 cases of 9 patients", "3 missed",
        "Learning curves", "harbour clinic", "second worst", "median", "96 × 96 × 32",
        "holds the median kidney", "within 2 mm", "optimistic", "Agreement of volumes", "Lower limit",
        "26-connected", "F1, mean of cases", "Reliability", "Brier score",
    ):  # fmt: skip
        assert text in told, text


def test_sections_are_left_out_where_nothing_was_measured(tmp_path: Path) -> None:
    rows = [Row(f"c{n}", f"p{n}", "", "test", "a", "dice", n / 4, "1", "ok") for n in range(4)]
    write_cases(tmp_path / "cases.csv", rows)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    for heading in ("Agreement of volumes", "<h3>Lesions", "Calibration", "Reliability"):
        assert heading not in text


def test_lesions_alone_have_a_page_too(tmp_path: Path) -> None:
    blank, lesion = np.zeros((6, 6, 4), np.uint8), np.zeros((6, 6, 4), np.uint8)
    lesion[1:3, 1:3, 1:3] = 1
    chosen, labels = EvaluationSettings(metrics=["lesions"]), Labels(("lesion",), ((1,),))
    pairs = {"a": (lesion, lesion), "b": (lesion, blank), "c": (blank, lesion), "d": (blank, blank)}
    rows = [
        row for case, pair in pairs.items() for row in score_case(*pair, labels, (1, 1, 1), chosen, case=case)
    ]
    write_cases(tmp_path / "cases.csv", rows)
    told = re.sub(r"<[^>]+>|\s+", " ", write_report(tmp_path).read_text(encoding="utf-8"))
    assert re.search(r"lesion +2 +2 +1 +0\.500 +0\.500 +0\.500", told)


def test_the_worst_cases_and_the_median_one_are_drawn(
    page: str, sample_run: tuple[Path, dict[str, CasePicture]]
) -> None:
    shown = [shown.case for shown in cases_to_show(read_cases(sample_run[0] / "cases.csv"), 3)]
    images = [attributes["alt"] or "" for tag, attributes in Page(page).tags if tag == "img"]
    assert [alt.partition(":")[0] for alt in images] == shown
    assert len(shown) == 4


def test_the_same_files_give_the_same_page(
    page: str, sample_run: tuple[Path, dict[str, CasePicture]]
) -> None:
    run, pictures = sample_run
    assert write_report(run, pictures).read_text(encoding="utf-8") == page


def test_a_bare_folder_still_has_a_page(tmp_path: Path) -> None:
    text = write_report(tmp_path / "run-1").read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "run-1" in text
    assert "No cases have been scored yet" in text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"share": 0.004, "first_batch_seconds": None}, "0.4 % of the training time"),
        ({"share": None, "first_batch_seconds": 2.0}, ""),
        ("much", ""),
    ],
)
def test_the_wait_for_data_is_told_as_far_as_it_is_known(found: object, told: str) -> None:
    lines = dict(facts({"data_wait": found}))
    assert lines.get("Waiting for data", "") == told


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    rows = [Row(f"{evil}{n}", "p", evil, evil, evil, "dice", 0.5, "1", "ok") for n in range(2)]
    write_cases(tmp_path / "cases.csv", [*rows, Row("c", "q", "there", evil, "b", "dice", 0.7, "1", "ok")])
    (tmp_path / "record.json").write_text('{"name": "<script>1</script>", "hardware": "</style><script>"}')
    (tmp_path / "metrics.csv").write_text(
        f"step,epoch,minutes,name,value\n1,0,1,validation/dice/<script>,0.5\n2,0,2,validation/dice/<script>,0.6\n{evil}\n"
    )
    text = write_report(tmp_path).read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.open == []
    assert not [tag for tag, _ in parsed.tags if tag == "script"]


@pytest.mark.parametrize(("name", "text"), [("record.json", "{"), ("plan.yaml", "a: [")])
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        write_report(tmp_path)


def rows_of(values: dict[str, float], metric: str = "dice") -> list[Row]:
    return [Row(case, case, "", "", "a", metric, value, "1", "ok") for case, value in values.items()]


def test_cases_are_ranked_by_what_is_bad() -> None:
    values = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7, "e": 0.95}
    found = [(shown.case, shown.why) for shown in cases_to_show(rows_of(values), 2)]
    assert found == [("b", "worst"), ("c", "second worst"), ("d", "median")]
    assert [shown.case for shown in cases_to_show(rows_of(values, "hd95"), 1)] == ["e", "d"]
    assert cases_to_show([], 3) == []


def test_a_picture_of_a_2d_case_and_of_a_perfect_one_can_be_drawn() -> None:
    image, label = np.zeros((20, 16, 1)), np.zeros((20, 16, 1), np.uint8)
    label[4:9, 4:9] = 1
    assert draw(CasePicture(image, (1.0, 1.0, 1.0), label, label)).startswith(b"\x89PNG")
    empty = np.zeros_like(label)
    assert draw(CasePicture(image, (1.0, 1.0, 1.0), empty, empty)).startswith(b"\x89PNG")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.31, 0.87), (-3.2, 140.0), (5.0, 5.0), (1e-9, 2e-9)])
def test_ticks_cover_the_range_in_round_steps(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])


def test_charts_stand_single_values() -> None:
    assert "circle" in line_chart([Series("a", ((1.0, 0.5),))], "x", "y", mark_best=True)
    drawn = box_plot([Spread("a", (("c", 0.0, True),)), Spread("b", ())], "Dice", True, True)
    assert drawn.count("cross") == 1
    assert "nan" not in drawn


def test_thinning_keeps_the_mean() -> None:
    points = [(float(x), float(x % 7)) for x in range(1000)]
    found = thin(points, 100)
    assert len(found) == 100
    assert np.mean([y for _, y in found]) == pytest.approx(np.mean([y for _, y in points]))
