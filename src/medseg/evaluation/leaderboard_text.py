"""The sentences of a comparison: what it found, by which rule, and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.evaluation.comparison import Comparison
from medseg.evaluation.leaderboard_words import share
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.table import plural


def headline(comparison: Comparison) -> list[str]:
    """What a reader should know first, by the first metric."""
    metric = comparison.metrics[0]
    title = METRICS[metric].title
    if len(comparison.methods) < 2:
        return []
    best = comparison.methods[0].name
    tied = _not_apart_from(best, comparison)
    if comparison.winner(metric):
        told = [f"{best} has a better {title} than every other method."]
    elif tied:
        told = [f"{best} has the best mean {title}; it is not distinguishable from {listed(tied)}."]
    else:
        told = [
            f"{best} has the best mean {title}, of these trainings. Whether another seed would turn that "
            "around is unknown: methods were trained once per fold."
        ]
    rank = comparison.standings[metric][best].rank
    if rank:
        told.append(f"It is first in {share(rank.first)} of {comparison.rules.resamples:,} resamples.")
    return told


def _not_apart_from(best: str, comparison: Comparison) -> list[str]:
    metric = comparison.metrics[0]
    others = [method.name for method in comparison.methods if method.name != best]
    found = {name: comparison.difference(metric, best, name) for name in others}
    return [name for name, d in found.items() if d is None or d.verdict == "not distinguishable"]


def listed(names: Sequence[str]) -> str:
    """``a, b and c``; quoted where a name has a comma itself."""
    shown = [f"“{name}”" for name in names] if any("," in name for name in names) else list(names)
    return " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else shown[0]


def rule(comparison: Comparison) -> list[str]:
    """How the verdicts were reached."""
    rules = comparison.rules
    return [
        f"Better or worse, at {rules.alpha:g} for all comparisons of a table together: the Wilcoxon "
        "signed-rank test over the patients rejects, and so does Student's t over patients and seeds, where "
        "both methods have two seeds or more (the larger p counts, adjusted by Holm); and the "
        f"{rules.confidence:.0%} intervals leave zero out. Everything else is not distinguishable, which is "
        "not the same as equal.",
        "A patient's value is the mean over his cases and labels; that of a case the mean over its "
        "trainings. A case and label counts for a comparison where both methods give a number.",
        f"Intervals: whole patients drawn again {rules.resamples:,} times. The family of a p-value is its "
        "table: the comparisons with the reference, or all pairs. Each metric is a family of its own, and "
        "the first one decides the order.",
        "Effect sizes: the rank-biserial correlation, from -1 to 1, and the mean difference over the "
        "standard deviation of the patients' differences (d).",
        "Ranks: made again with patients, and the trainings of each method, drawn anew. With few seeds that "
        "understates what other seeds would change; the verdicts do not.",
        "Seeds: the standard deviation of a score over seeds, and how many times its standard error a "
        "difference is.",
    ]


def limits(comparison: Comparison, part: str) -> list[str]:
    """What a reader must not conclude."""
    first = comparison.metrics[0]
    told = []
    unknown = [m.name for m in comparison.methods if comparison.standings[first][m.name].noise is None]
    if unknown:
        whose = "any method" if len(unknown) == len(comparison.methods) > 1 else listed(unknown)
        told.append(
            f"The noise of training is not in the numbers of {whose}: it takes two seeds per fold. A verdict "
            "“of these trainings” tells the trained networks apart and not the methods behind them."
        )
    if part == "validation":
        told.append(
            "Validation patients guided the trainings (early stopping, choices of the user): their numbers "
            "are optimistic. Only a test part that nothing was chosen on is not."
        )
    if comparison.patients < 20:
        who = plural(comparison.patients, "patient")
        told.append(f"{who}: bootstrap intervals of so few are too narrow, and small differences unseen.")
    if comparison.left_out:
        told.append(f"{plural(comparison.left_out, 'case')} that only some methods scored: left out.")
    one_sided = sum(difference.one_sided for difference in comparison.pairs[first])
    if one_sided:
        told.append(
            f"{plural(one_sided, 'value')}, over all pairs, left out where one method rightly found nothing "
            "(not a number) and the other raised a false alarm: the column missed counts those."
        )
    told.append("Intervals of single labels are not adjusted, and no verdict is given on them.")
    return told
