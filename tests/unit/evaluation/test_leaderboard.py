"""The page and the tables of a comparison, read back as a reader or a program would."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import pytest

from medseg.evaluation.compare import compare
from medseg.evaluation.comparison import Comparison, Rules
from medseg.evaluation.leaderboard import About, write_leaderboard
from medseg.evaluation.leaderboard_tables import RaterLine, tex
from medseg.evaluation.leaderboard_terminal import board, verdicts
from medseg.evaluation.leaderboard_text import headline
from medseg.evaluation.methods import Costs

from .methods_of import method
from .test_compare import scores

RATER = RaterLine("second rater", {"dice": (0.81, (0.78, 0.84))}, 20)
NASTY = "<b>u_net & 50 %</b>"


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Two that are equal, one with a nasty name that is far behind."""
    methods = [
        method("early", scores(0.05, seed=1), scores(0.05, seed=2), costs=Costs(1.5, 0.2, 3.0, 1_200_000)),
        method("mid", scores(0.045, seed=3), scores(0.05, seed=4), costs=Costs(2.5, 0.3, 4.0, 2_400_000)),
        method(NASTY, scores(-0.1, seed=5), scores(-0.1, seed=6)),
    ]
    return compare(
        methods, ["dice"], Rules(resamples=1000), lambda m: None if m is methods[0] else methods[0]
    )


@pytest.fixture(scope="module")
def folder(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("board")
    about = About(
        "a study", "validation", [("Cohort", "toy")], (), ["Left out: run x."], RATER, {}, "medseg compare"
    )
    write_leaderboard(found, about, target)
    return target


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def test_the_page_stands_alone(folder: Path) -> None:
    page = (folder / "leaderboard.html").read_text()
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", page)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert NASTY not in page
    assert NASTY in html.unescape(page)


def test_the_page_says_what_was_found(folder: Path, found: Comparison) -> None:
    text = " ".join(text_of((folder / "leaderboard.html").read_text()).split())
    assert "not distinguishable" in text
    assert "second rater 0.810 0.780–0.840" in text
    assert "Left out: run x." in text
    for own in found.standings["dice"].values():
        assert f"{own.mean:.3f}" in text
    assert "1.20 M" in text
    assert "worse" in text


def test_the_same_comparison_writes_the_same_files(found: Comparison, folder: Path, tmp_path: Path) -> None:
    about = About(
        "a study", "validation", [("Cohort", "toy")], (), ["Left out: run x."], RATER, {}, "medseg compare"
    )
    for path in write_leaderboard(found, about, tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}


def test_the_csv_has_every_digit(folder: Path, found: Comparison) -> None:
    rows = list(csv.DictReader((folder / "leaderboard.csv").open(encoding="utf-8")))
    overall = {row["method"]: row for row in rows if not row["label"]}
    for name, own in found.standings["dice"].items():
        assert float(overall[name]["mean"]) == own.mean
        assert int(overall[name]["n"]) == 20
    assert overall[NASTY]["parameters"] == ""
    pairs = list(csv.DictReader((folder / "comparisons.csv").open(encoding="utf-8")))
    assert [row["family"] for row in pairs] == ["reference"] * 2 + ["pairs"] * 3
    assert float(pairs[0]["p_holm"]) == found.against["dice"][0].p_holm


def test_latex_is_bold_only_where_a_method_is_apart_from_all(folder: Path, found: Comparison) -> None:
    text = (folder / "leaderboard.tex").read_text()
    assert found.winner("dice") is None
    assert "textbf" not in text
    assert r"$<$b$>$u\_net \& 50 \%$<$/b$>$" in text
    assert text.count(r"\\") == 5, "a head, three methods and the raters"
    assert all(f"\\{rule}rule" in text for rule in ("top", "mid", "bottom"))
    alone = compare([*found.methods[1:]], ["dice"], Rules(resamples=1000))
    assert alone.winner("dice") is not None
    folder = folder / "alone"
    write_leaderboard(alone, About("two", "test"), folder)
    assert (folder / "leaderboard.tex").read_text().count("textbf") == 1


def test_special_letters_of_latex() -> None:
    assert tex(r"a_b \ 5 % {x} #1") == r"a\_b \textbackslash{} 5 \% \{x\} \#1"


def test_the_headline_does_not_promise_more_than_was_found(found: Comparison) -> None:
    best = found.methods[0].name
    assert (
        headline(found)[0]
        == f"{best} has the best mean Dice; it is not distinguishable from {found.methods[1].name}."
    )
    one = compare([method("x", scores(0.1)), method("y", scores(0, seed=3))], ["dice"], Rules(resamples=500))
    assert "of these trainings" in headline(one)[0]
    assert headline(compare([method("x", scores(0.1))], ["dice"], Rules(resamples=500))) == []


def test_the_terminal_has_a_row_per_method_and_the_raters(found: Comparison) -> None:
    table = board(found, RATER)
    assert [str(cell) for cell in table.columns[0].cells] == [
        *(m.name for m in found.methods),
        "second rater",
    ]
    assert any(line.startswith(f"{NASTY} against early: worse (Dice −0.1") for line in verdicts(found))
