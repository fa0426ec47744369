"""The tables of a comparison as files: CSV for programs, LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.comparison import Comparison, Difference
from medseg.evaluation.leaderboard_words import verdict
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.table import number

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$", "<": "$<$", ">": "$>$",
}  # fmt: skip


@dataclass(frozen=True)
class RaterLine:
    """How well raters agree on the cases that are compared: metric -> mean and interval, and the cases."""

    name: str
    values: dict[str, tuple[float, Interval | None]] = field(default_factory=dict)
    cases: int = 0


def leaderboard_csv(comparison: Comparison) -> str:
    """A row per metric, method and label (empty for their mean)."""
    columns = (
        "metric", "unit", "method", "label", "mean", "low", "high", "n", "n_nan", "n_missed", "seeds",
        "seed_means", "seed_sd", "mean_rank", "rank_low", "rank_high", "first", "runs", "train_minutes",
        "gpu_hours", "peak_memory_gb", "parameters",
    )  # fmt: skip
    rows: list[Sequence[object]] = []
    for metric in comparison.metrics:
        unit = METRICS[metric].unit
        for method in comparison.methods:
            own, costs, rank = comparison.standings[metric][method.name], method.costs, None
            rank = own.rank
            means = " ".join(f"{seed}:{mean!r}" for seed, mean in own.seeds.items())
            sd = own.noise.sd if own.noise else None
            ranks = (rank.mean, *rank.interval, rank.first) if rank else (None,) * 4
            paid = (costs.train_minutes, costs.gpu_hours, costs.peak_memory_gb, costs.parameters)
            counts = (own.n, own.n_nan, own.n_missed, len(method.seeds), means, sd)
            rows.append(
                (metric, unit, method.name, "", own.mean, *_bounds(own.interval), *counts, *ranks,
                 len(method.trainings), *paid)
            )  # fmt: skip
            rows += [
                (metric, unit, method.name, label, mean, *_bounds(interval), *(None,) * 15)
                for label, (mean, interval) in own.labels.items()
            ]
    return _csv(columns, rows)


def comparisons_csv(comparison: Comparison) -> str:
    """A row per comparison: those with the reference, then all pairs."""
    columns = (
        "family", "metric", "unit", "method", "reference", "difference", "low", "high", "low_seeds",
        "high_seeds", "patients", "values", "one_sided", "p_wilcoxon", "p_seeds", "p_holm", "rank_biserial",
        "standardised", "verdict",
    )  # fmt: skip
    rows = [
        (
            family, metric, METRICS[metric].unit, d.method, d.reference, d.mean, *_bounds(d.interval),
            *_bounds(d.interval_seeds), d.patients, d.cells, d.one_sided, d.p_patients, d.p_seeds, d.p_holm,
            d.rank_biserial, d.standardised, verdict(d),
        )
        for family, found in (("reference", comparison.against), ("pairs", comparison.pairs))
        for metric in comparison.metrics
        for d in found[metric]
    ]  # fmt: skip
    return _csv(columns, rows)


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval if interval else (None, None)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in row])
    return target.getvalue()


def leaderboard_latex(comparison: Comparison, rater: RaterLine | None, part: str) -> str:
    r"""A ``booktabs`` table; bold where a method is distinguishable from every other one."""
    heads = []
    for metric in comparison.metrics:
        definition = METRICS[metric]
        arrow = r"$\uparrow$" if definition.better == "higher" else r"$\downarrow$"
        heads.append(
            f"{tex(definition.title)}{'' if definition.unit == '1' else ' [' + definition.unit + ']'} {arrow}"
        )
    against = comparison.against[comparison.metrics[0]]
    title = METRICS[comparison.metrics[0]].title
    names = ["Method", *heads, *([rf"$\Delta$ {title}"] if against else []), r"$\bar{r}$"]
    lines = [
        "% \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(comparison, part, bool(against))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        " & ".join(names) + r" \\",
        r"\midrule",
        *_latex_rows(comparison, against),
    ]
    if rater:
        cells = [
            _latex_cell(*rater.values[m], m, False) if m in rater.values else "--" for m in comparison.metrics
        ]
        blank = ["--"] * (len(names) - 1 - len(cells))
        lines += [r"\midrule", " & ".join([tex(rater.name), *cells, *blank]) + r" \\"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_rows(comparison: Comparison, against: Sequence[Difference]) -> list[str]:
    rows = []
    winners = {metric: comparison.winner(metric) for metric in comparison.metrics}
    for method in comparison.methods:
        cells = [tex(method.name)]
        for metric in comparison.metrics:
            own = comparison.standings[metric][method.name]
            bold = winners[metric] == method.name
            cells.append("--" if own.mean is None else _latex_cell(own.mean, own.interval, metric, bold))
        if against:
            cells.append(next((_latex_difference(d) for d in against if d.method == method.name), "--"))
        rank = comparison.standings[comparison.metrics[0]][method.name].rank
        cells.append(f"{rank.mean:.1f}" if rank else "--")
        rows.append(" & ".join(cells) + r" \\")
    return rows


def _latex_cell(mean: float, interval: Interval | None, metric: str, bold: bool) -> str:
    unit = METRICS[metric].unit
    told = number(mean, unit)
    bounds = f" ({number(interval[0], unit)}--{number(interval[1], unit)})" if interval else ""
    return (rf"\textbf{{{told}}}" if bold else told) + bounds


def _latex_difference(difference: Difference) -> str:
    unit = METRICS[difference.metric].unit

    def one(value: float) -> str:
        return f"${number(value, unit)}$"

    interval = difference.interval_seeds or difference.interval
    bounds = f" ({one(interval[0])} to {one(interval[1])})" if interval else ""
    star = (
        ""
        if difference.verdict == "not distinguishable"
        else "*"
        if difference.p_seeds is not None
        else r"$^\dagger$"
    )
    return one(difference.mean) + star + bounds


def _caption(comparison: Comparison, part: str, against: bool) -> str:
    rules = comparison.rules
    told = (
        f"{comparison.cases} {part} cases of {comparison.patients} patients; mean and "
        f"{100 * rules.confidence:g}\\% interval over patients. Bold: distinguishable from every other "
        f"method (Wilcoxon and seeds, Holm, {rules.alpha:g})."
    )
    if against:
        told += r" $\Delta$: paired, * distinguishable, $^\dagger$ of these trainings alone."
    return told + r" $\bar{r}$: mean rank over resamples."


def tex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
