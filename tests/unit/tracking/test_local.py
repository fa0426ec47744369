from __future__ import annotations

from pathlib import Path

from medseg.tracking.local import COLUMNS, LocalLogger, read_metrics


def test_rows_are_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    logger = LocalLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"train/loss": 0.5, "validation/dice": 0.25, "epoch": 1}, step=10)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(r["step"], r["epoch"], r["name"], r["value"]) for r in rows] == [
        (11, 1, "train/loss", 0.5),
        (11, 1, "validation/dice", 0.25),
    ]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_rewind_drops_what_was_logged_beyond_the_checkpoint(tmp_path: Path) -> None:
    logger = LocalLogger(tmp_path / "metrics.csv")
    for step in (9, 19, 29):
        logger.log_metrics({"train/loss": float(step), "epoch": step // 10}, step=step)
    again = LocalLogger(tmp_path / "metrics.csv")
    again.rewind(20)
    again.log_metrics({"train/loss": 9.0, "epoch": 3}, step=29)
    assert [(r["step"], r["value"]) for r in read_metrics(tmp_path / "metrics.csv")] == [
        (10, 9.0),
        (20, 19.0),
        (30, 9.0),
    ]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    LocalLogger(path).log_metrics({"train/loss": 1.5, "epoch": 0}, step=1)
    with path.open("a") as target:
        target.write("2,0,0.0")
    assert [row["step"] for row in read_metrics(path)] == [2]


def test_values_keep_all_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    LocalLogger(path).log_metrics({"a": 0.1 + 0.2, "epoch": 0}, step=1)
    assert read_metrics(path)[0]["value"] == 0.1 + 0.2
