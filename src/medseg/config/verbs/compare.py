"""``medseg compare``: finished runs as methods, held against one another."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from medseg.evaluation.comparison import Rules
from medseg.training.compare_runs import Asked, compare_runs, print_comparison, write_comparison


def compare_verb(
    *,
    runs: list[str],
    part: str,
    metrics: list[str],
    vary: list[str] | None,
    against: str | None,
    raters: str | None,
    alpha: float,
    bootstrap: int,
    seed: int,
    output: str | None,
) -> None:
    """Compares the runs, prints what was found and writes the page with its tables.

    Raises:
        UserError: there is nothing to compare, or the runs do not belong in one table.
    """
    folders = [Path(folder) for folder in runs]
    rules = Rules(alpha, bootstrap, seed)
    console = Console(highlight=False)
    asked = Asked(folders, part, metrics, vary, against, raters, rules)
    found = compare_runs(asked, _command(runs, part, metrics, vary, against))
    print_comparison(found, console)
    paths = write_comparison(found, Path(output) if output else _usual(folders))
    console.print(f"page {paths[0]}", markup=False, soft_wrap=True)


def _usual(folders: list[Path]) -> Path:
    """Inside of a study where that is all; a run's own folder is left alone."""
    study = len(folders) == 1 and not (folders[0] / "config.yaml").is_file()
    return folders[0] / "comparison" if study else Path("comparison")


def _command(
    runs: list[str], part: str, metrics: list[str], vary: list[str] | None, against: str | None
) -> str:
    """What makes the page again, without folders above the runs': those are of one machine."""
    words = ["medseg", "compare", *("/".join(Path(run).parts[-2:]) for run in runs)]
    words += [f"part={part}"] if part != "validation" else []
    words += [f"metrics=[{','.join(metrics)}]"] if metrics != ["dice", "hd95"] else []
    words += [f"vary=[{','.join(vary)}]"] if vary else []
    words += [f"against={against}"] if against else []
    return shlex.join(words)
